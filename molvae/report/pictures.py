"""Drawings of molecules: one as SVG for a page, many as a PNG grid with a line of text under each.

A core is marked, and lies the same way in every molecule.
"""

from __future__ import annotations

from collections.abc import Sequence

from rdkit.Chem import rdDepictor
from rdkit.Chem.Draw import rdMolDraw2D

from molvae.chem import Core, Mol, parse

MARK = (0.66, 0.84, 0.97)  # pale blue: no atom has this colour


def molecule_svg(
    smiles: str, size: tuple[int, int] = (260, 190), core: Core | None = None, marked: Sequence[int] | None = None
) -> str:
    """An `<svg>` element of the molecule without background; "" for an invalid one. marked: atoms, by default the core's."""
    laid_out = _laid_out(smiles, core)
    if laid_out is None:
        return ""
    mol, in_core = laid_out
    drawing = rdMolDraw2D.MolDraw2DSVG(*size)
    options = drawing.drawOptions()
    options.clearBackground = False
    options.padding = 0.06
    options.setHighlightColour(MARK)
    rdMolDraw2D.PrepareAndDrawMolecule(drawing, mol, highlightAtoms=in_core if marked is None else marked)
    drawing.FinishDrawing()
    text = drawing.GetDrawingText()
    return text[text.index("<svg") :]


def grid_png(
    smiles: Sequence[str],
    texts: Sequence[str],
    *,
    columns: int = 5,
    cell: tuple[int, int] = (300, 250),
    core: Core | None = None,
    marked: Sequence[Sequence[int]] | None = None,
) -> bytes:
    """A PNG of molecules in rows of `columns`, each with its text below; an invalid molecule leaves its cell empty.

    marked: atoms of each, by default the core's.
    """
    width, height = cell
    rows = max(1, -(-len(smiles) // columns))
    drawing = rdMolDraw2D.MolDraw2DCairo(width * min(columns, max(len(smiles), 1)), height * rows, width, height)
    options = drawing.drawOptions()
    options.legendFontSize = height // 11
    options.padding = 0.05
    options.setHighlightColour(MARK)
    laid_out = [_laid_out(one, core) or (Mol(), ()) for one in smiles]
    drawing.DrawMolecules(
        [mol for mol, _ in laid_out],
        legends=list(texts),
        highlightAtoms=[in_core for _, in_core in laid_out] if marked is None else [list(atoms) for atoms in marked],
    )
    drawing.FinishDrawing()
    return drawing.GetDrawingText()


def _laid_out(smiles: str, core: Core | None = None) -> tuple[Mol, tuple[int, ...]] | None:
    """The molecule ready to draw, straightened or with the core as `_template` has it, and the atoms of the core."""
    mol = parse(smiles)
    if mol is None:
        return None
    marked = core.atoms(mol) if core else ()  # before the rings are drawn as Kekule's, in which no aromatic core is found
    if core and marked:
        rdDepictor.GenerateDepictionMatching2DStructure(mol, _template(core), list(enumerate(marked)))
        return rdMolDraw2D.PrepareMolForDrawing(mol), marked
    prepared = rdMolDraw2D.PrepareMolForDrawing(mol)
    rdDepictor.StraightenDepiction(prepared)
    return prepared, marked


def _template(core: Core) -> Mol:
    """The core as it lies in every drawing."""
    template = Mol(core.query)
    template.UpdatePropertyCache(strict=False)
    rdDepictor.Compute2DCoords(template)
    rdDepictor.StraightenDepiction(template)
    return template
