"""A table of molecules as pictures: one page that sorts, filters and hands out what was chosen, or a PNG.

With leads, each molecule stands beside the most similar one of them, and the atoms that differ are marked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup

from molvae.chem import (
    PROPERTIES,
    Core,
    Mol,
    alerts,
    canonical,
    changed_atoms,
    parse,
    problems,
    properties,
    sparse_counts,
    tanimoto,
)
from molvae.errors import DataError, UnknownName, nearest
from molvae.report.pictures import grid_png, molecule_svg
from molvae.report.templates import render, script_data

COMPUTED = {"QED": ".2f", "SA": ".1f", "logP": ".1f", "MW": ".0f"}  # with the digits that they deserve
SIMILARITY, LEAD = "similarity", "lead"
MOST_IN_A_PICTURE = 650  # molecules, five in a row of 250 pixels: the library that draws ends at 32,767

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Shown:
    """A molecule of a gallery.

    smiles: as it was written.  id: "" if it has none.  cells: what its table says, by column, and what was computed.
    marked: its atoms in a core, or those in which it differs from its lead.  remarks: structural problems and alerts.
    """

    smiles: str
    id: str
    cells: dict[str, str]
    marked: tuple[int, ...] = ()
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Gallery:
    """Molecules to look at, in order.

    columns: the names of their cells.  rows: how many molecules there were to choose from.  left_out: a sentence for each
    row that is no molecule.  leads: whether they are compared with leads.  core: what lies the same way in every picture.
    """

    molecules: list[Shown]
    columns: list[str]
    rows: int
    left_out: list[str]
    leads: bool = False
    core: Core | None = None

    def html(self, title: str) -> str:
        """One page that loads nothing. Names and cells are text to it, never markup."""
        data = {
            "columns": self.columns,
            "rows": [{"smiles": one.smiles, "id": one.id, **one.cells} for one in self.molecules],
        }
        drawn = [(one, Markup(molecule_svg(one.smiles, core=self.core, marked=one.marked))) for one in self.molecules]
        return render("gallery.html.j2", title=title, gallery=self, drawn=drawn, data=script_data(data), short=short)

    def png(self, columns: int = 5) -> bytes:
        """The pictures, `columns` in a row, each with its id and its first two cells."""
        texts = []
        for one in self.molecules:
            cells = [f"{name} {short(one.cells[name])}" for name in self.columns if one.cells[name]][:2]
            texts.append("  ".join([one.id, *cells] if one.id else cells))
        smiles, marked = [one.smiles for one in self.molecules], [one.marked for one in self.molecules]
        return grid_png(smiles, texts, columns=columns, core=self.core, marked=marked)


def gallery(
    smiles: Sequence[str],
    columns: Mapping[str, Sequence[Any]] | None = None,
    *,
    sort: str = "",
    descending: bool = False,
    top: int | None = None,
    leads: Sequence[str] = (),
    lead_ids: Sequence[str] = (),
    core: Core | None = None,
    progress: Progress = lambda done, total: None,
) -> Gallery:
    """Prepare molecules to be looked at; rows that are none are left out.

    columns: what is known of each, by name; QED, SA, logP and MW are computed where there is no such column.
    sort: a column, or a property of `molvae.chem`; rows without a number come last.  top: how many are shown, at most.
    leads: SMILES; each molecule is set beside the most similar one (Tanimoto of count ECFP4), which is told by its entry in
    lead_ids, or by its SMILES.
    Raises UnknownName for an unknown name to sort by, DataError if there is no molecule, or a lead is none.
    """
    table = {name: [_text(value) for value in values] for name, values in (columns or {}).items()}
    if "smiles" in table and [*table["smiles"]] != [text.strip() for text in smiles]:
        table["smiles (table)"] = table["smiles"]
    table.pop("smiles", None)
    for name in (SIMILARITY, LEAD) if leads else ():
        if name in table:  # what is computed here has the name
            table = {f"{one} (table)" if one == name else one: cells for one, cells in table.items()}
    mols = [parse(text) for text in smiles]
    here = [i for i, mol in enumerate(mols) if mol is not None]
    left_out = [f"{smiles[i]!r} in row {i + 1} is not a valid SMILES" for i, mol in enumerate(mols) if mol is None]
    if not here:
        raise DataError("there is no molecule to show. Give a table with one molecule a row.")
    if sort:
        keys = _numbers(sort, table, mols)
        if all(math.isnan(key) for key in keys) and sort in table:
            texts = [cell.casefold() for cell in table[sort]]
            here.sort(key=lambda i: texts[i], reverse=descending)
            here.sort(key=lambda i: not texts[i])
        else:
            # Stable, so that equals stay in the order of the table; NaN last in either direction.
            here.sort(key=lambda i: (math.isnan(keys[i]), -keys[i] if descending else keys[i]))
        if sort not in table and sort not in COMPUTED:
            table[sort] = [_text(value) for value in keys]
    names = [name for name in table if name != "id"]
    computed = [name for name in COMPUTED if name not in table]
    compare = _Leads(leads, lead_ids)
    shown = []
    for done, i in enumerate(here[:top], 1):
        cells = {name: table[name][i] for name in names} | described(mols[i], computed)
        marked: tuple[int, ...] = ()
        if leads:
            lead, similarity, marked = compare(mols[i])
            cells = {SIMILARITY: f"{similarity:.2f}", LEAD: lead} | cells
        elif core:
            marked = core.atoms(mols[i])
        shown.append(Shown(smiles[i], table["id"][i] if "id" in table else "", cells, marked, remarks(mols[i])))
        progress(done, len(here[:top]))
    return Gallery(shown, list(shown[0].cells), len(here), left_out, bool(leads), core)


def described(mol: Mol, names: Sequence[str] = tuple(COMPUTED)) -> dict[str, str]:
    """Properties of a molecule, written with the digits that they deserve."""
    return {name: format(value, COMPUTED[name]) for name, value in properties(mol, names).items()}


def remarks(mol: Mol) -> list[str]:
    """Structural problems and alerts, each named once with its catalogue."""
    return [*problems(mol), *dict.fromkeys(f"{alert.name} ({alert.catalogue})" for alert in alerts(mol))]


class _Leads:
    """The lead that a molecule is most similar to."""

    def __init__(self, leads: Sequence[str], ids: Sequence[str]) -> None:
        self.mols = [parse(lead) for lead in leads]
        if None in self.mols:
            raise DataError(f"the lead {leads[self.mols.index(None)]!r} is not a valid SMILES.")
        self.names = [name or canonical(lead) or lead for lead, name in zip(leads, ids or leads, strict=True)]
        self.counts = [sparse_counts(mol, "morgan2") for mol in self.mols]

    def __call__(self, mol: Mol) -> tuple[str, float, tuple[int, ...]]:
        """Its name, how similar they are, and the atoms of `mol` that differ."""
        own = sparse_counts(mol, "morgan2")
        similarities = [tanimoto(own, counts) for counts in self.counts]
        best = int(np.argmax(similarities))
        return self.names[best], similarities[best], changed_atoms(mol, self.mols[best])


def _numbers(name: str, table: Mapping[str, Sequence[str]], mols: Sequence[Mol | None]) -> list[float]:
    """A column as numbers, NaN where a cell is none; or a property, computed."""
    if name in table:
        return [_number(cell) for cell in table[name]]
    if name not in PROPERTIES:
        known = [*table, *PROPERTIES]
        raise UnknownName(
            f"no column or property {name!r} to sort by.{nearest(name, known)} Columns: {', '.join(table) or 'none'}; "
            f"properties: {', '.join(PROPERTIES)}."
        )
    return [math.nan if mol is None else properties(mol, [name])[name] for mol in mols]


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _text(value: Any) -> str:
    """A cell as it stands in the table, "" for what is missing."""
    text = "" if value is None or value != value else str(value).strip()
    return "" if text.lower() == "nan" else text


def short(text: str) -> str:
    """A cell for a reader: five digits of a decimal number with more. What may be an identifier stays as it is."""
    number = _number(text)
    is_decimal = "." in text or "e" in text.lower()
    return f"{number:.5g}" if is_decimal and len(text) > 7 and abs(number) < 1e5 else text
