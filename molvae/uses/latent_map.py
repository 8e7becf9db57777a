"""A map of molecules: their latents in two dimensions, coloured by a property; as a picture, or a page to look around in.

pca   the two directions in which posterior means vary most; their shares of the variance are on the axes
tsne  t-SNE (van der Maaten & Hinton, J. Mach. Learn. Res. 9:2579, 2008): what is near stays near; large gaps mean little
"""

from __future__ import annotations

import io
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from molvae.chem import PROPERTIES, Mol, canonical, parse, properties, property_named
from molvae.data.tables import read_rows, stated_layout
from molvae.errors import ConfigError, UnknownName, nearest
from molvae.generation.model import Model, load
from molvae.uses.encoded import encoded
from molvae.uses.probing import number

METHODS = ("pca", "tsne")
FEWEST = 5  # molecules of a map
_DRAWN = 20_000  # molecules that a page draws when pointed at; of more, it would be too large to open


@dataclass(frozen=True)
class LatentMap:
    """Molecules in the plane.

    points: (N, 2) float64.  smiles: canonical.  ids: their names.  values: (N,) float64, NaN where there is none.
    label: what the values are.  axes: the names of the two axes.  left_out: why other molecules are not there.
    """

    points: np.ndarray
    smiles: list[str]
    ids: list[str]
    values: np.ndarray
    label: str
    axes: tuple[str, str]
    left_out: Counter[str]


def latent_map(
    smiles: Sequence[str],
    *,
    color: str | Sequence[float] = "logP",
    label: str = "",
    ids: Sequence[str] | None = None,
    model: str | os.PathLike[str] | Model = "zinc250k",
    method: str = "pca",
    seed: int = 0,
) -> LatentMap:
    """Put molecules on a map.

    color: a property of `molvae.chem`, or a number for each molecule, which `label` names.  seed: of t-SNE.
    Raises ConfigError for an unknown method or property, DataError if fewer than 5 molecules can be encoded.
    """
    if method not in METHODS:
        raise ConfigError(f"no method {method!r}.{nearest(method, METHODS)} Use {' or '.join(METHODS)}.")
    if isinstance(color, str):
        unit = property_named(color).unit
        label = label or (color if "to" in unit else f"{color} ({unit})")
    elif len(color) != len(smiles):
        raise ConfigError(f"there are {len(color)} values for {len(smiles)} molecules. Give one each.")
    model = model if isinstance(model, Model) else load(model)
    z, known, left_out = encoded(model, smiles, FEWEST)
    points, axes = flat(z, method, seed)
    written = [canonical(smiles[i]) or "" for i in known]
    if isinstance(color, str):
        values = [properties(mol, [color])[color] for mol in map(parse, written) if mol is not None]
    else:
        values = [float(color[i]) for i in known]
    names = [str(ids[i]) if ids is not None else str(i + 1) for i in known]
    return LatentMap(points, written, names, np.array(values), label, axes, left_out)


def colour_column(path: str | os.PathLike[str], color: str, column: str | None = None) -> list[float] | None:
    """The numbers of a table's column `color`, NaN where there is none; None if `color` is a property, to be computed.

    A row for each molecule of `read_molecules`. Raises UnknownName if it is neither a property nor a column.
    """
    layout = stated_layout(path, column) if str(path) != "-" else None
    if layout is None or layout.header is None or color not in layout.header:
        names = [*PROPERTIES, *(layout.header or () if layout else ())]
        if color not in PROPERTIES:
            raise UnknownName(
                f"no property or column {color!r} to colour by.{nearest(color, names)} Properties: {', '.join(PROPERTIES)}."
            )
        return None
    rows = read_rows(path, replace(layout, names=layout.header.index(color)))
    return [number(row.name) for row in rows if row.text]


def flat(z: np.ndarray, method: str, seed: int) -> tuple[np.ndarray, tuple[str, str]]:
    """(N, D) -> (N, 2) and the names of the axes. Directions are signed so that their largest weight is positive."""
    centred = z - z.mean(0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    directions *= np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(1)])[:, None]
    if method == "pca":
        shares = np.square(sizes) / max(np.square(sizes).sum(), 1e-300)
        return centred @ directions[:2].T, (f"PC 1, {shares[0]:.1%} of the variance", f"PC 2, {shares[1]:.1%}")
    from sklearn.manifold import TSNE

    reduced = centred @ directions[:50].T  # as its authors do
    perplexity = min(30.0, (len(z) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced), ("t-SNE 1", "t-SNE 2")


def map_png(drawn: LatentMap) -> bytes:
    """The map as a PNG: a dot a molecule, grey where there is no value; colours span the middle 96 % of the values."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from molvae.report.plots import DPI, INK, QUIET

    figure = Figure(figsize=(7.2, 6.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes, known = figure.add_subplot(), np.isfinite(drawn.values)
    size = float(np.clip(30_000 / len(drawn.points), 2, 30))
    axes.scatter(*drawn.points[~known].T, s=size, color="#c9cfd5", linewidths=0)
    low, high = limits(drawn.values)
    dots = axes.scatter(
        *drawn.points[known].T, s=size, c=drawn.values[known], vmin=low, vmax=high, cmap="viridis", linewidths=0, alpha=0.8
    )
    figure.colorbar(dots, ax=axes, label=drawn.label, shrink=0.8)
    axes.set_xlabel(drawn.axes[0], color=INK)
    axes.set_ylabel(drawn.axes[1], color=INK)
    axes.set_title(f"{len(drawn.points):,} molecules", loc="left", fontsize=11, color=INK)
    axes.tick_params(colors=QUIET, labelcolor=INK, length=3)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def map_html(drawn: LatentMap) -> str:
    """The map as one page that loads nothing: zoom, pan, and the molecule under the pointer is drawn.

    Names and labels are data to the page, never markup.
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    from molvae.report.templates import render, script_data

    low, high = limits(drawn.values)
    data = {
        "x": [round(value, 4) for value in drawn.points[:, 0].tolist()],
        "y": [round(value, 4) for value in drawn.points[:, 1].tolist()],
        "values": [round(value, 4) if math.isfinite(value) else None for value in drawn.values.tolist()],
        "smiles": drawn.smiles,
        "ids": drawn.ids,
        "drawings": [drawing(text) for text in drawn.smiles] if len(drawn.smiles) <= _DRAWN else [],
        "label": drawn.label,
        "axes": drawn.axes,
        "low": low,
        "high": high,
        "colours": [to_hex(colormaps["viridis"](i / 63)) for i in range(64)],
    }
    return render("map.html.j2", data=script_data(data), title=f"{len(drawn.smiles):,} molecules by {drawn.label}")


def limits(values: np.ndarray) -> tuple[float, float]:
    """The values at the ends of the colours: a few outliers must not take all of them."""
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0, 1.0
    low, high = np.quantile(known, (0.02, 0.98)).tolist()
    return (low, high) if high > low else (float(known.min()), float(known.max()) + 1e-9)


def drawing(smiles: str) -> list[list[list[float | int | str]]]:
    """A molecule as lines: atoms [x, y, label], label "" for a plain carbon, and bonds [from, to, order]."""
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDepictor

    mol = parse(smiles)
    if mol is None:
        return [[], []]
    with rdBase.BlockLogs():
        Chem.Kekulize(mol)
        rdDepictor.Compute2DCoords(mol)
    places = mol.GetConformer().GetPositions()
    atoms: list[list[float | int | str]] = [
        [round(float(place[0]), 2), round(float(place[1]), 2), _label(atom)]
        for place, atom in zip(places, mol.GetAtoms(), strict=True)
    ]
    bonds: list[list[float | int | str]] = [
        [bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), int(bond.GetBondTypeAsDouble())] for bond in mol.GetBonds()
    ]
    return [atoms, bonds]


def _label(atom: Mol) -> str:
    """What is written at an atom: nothing for a carbon among others, else element, hydrogens and charge."""
    charge, hydrogens = atom.GetFormalCharge(), atom.GetTotalNumHs()
    if atom.GetAtomicNum() == 6 and not charge and atom.GetDegree():
        return ""
    sign = "" if not charge else ("+" if charge > 0 else "\u2212") + (str(abs(charge)) if abs(charge) > 1 else "")
    return atom.GetSymbol() + ("" if not hydrogens else "H" if hydrogens == 1 else f"H{hydrogens}") + sign
