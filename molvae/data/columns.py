"""Everything that a file says of its molecules: the other columns of a table, the data items of SDF records."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain

from molvae.data.tables import block_smiles, read_rows, stated_layout


def read_columns(path: str | os.PathLike[str], column: str | None = None) -> tuple[list[str], dict[str, list[str]]]:
    """The SMILES of a file, as written, and everything else that it says: columns of text by name, "" for an empty cell.

    The id of a SMILES line or SDF record is the column "id"; the data items of records are columns.
    column, and the errors: as in `read_molecules`. Rows without a molecule are left in.
    """
    layout = stated_layout(path, column)
    if layout.header is not None:
        names: dict[str, int] = {}
        for at, name in enumerate(layout.header):
            if at != layout.column:
                names[_unused(name, names)] = at
        rows = list(read_rows(path, replace(layout, others=tuple(names.values()))))
        return [row.text for row in rows], {name: [row.others[i] for row in rows] for i, name in enumerate(names)}
    rows = list(read_rows(path, layout))
    columns = {"id": [row.name for row in rows]} if any(row.name for row in rows) else {}
    if layout.ending != ".sdf":
        return [row.text for row in rows], columns
    items = [_data_items(row.text) for row in rows]
    columns |= {name: [one.get(name, "") for one in items] for name in dict.fromkeys(chain.from_iterable(items))}
    return [block_smiles(row.text) for row in rows], columns


def _unused(name: str, names: Mapping[str, int]) -> str:
    """The name of a column, numbered if there is one of that name: score, score (2)."""
    same = 1 + sum(one == name or one.startswith(f"{name} (") for one in names)
    return name if name not in names else f"{name} ({same})"


def _data_items(record: str) -> dict[str, str]:
    """The data items of an SDF record: after a line "> <name>", what stands before the next empty line."""
    items: dict[str, str] = {}
    name = ""
    for line in record.partition("\nM  END")[2].splitlines():
        if line.startswith(">") and "<" in line:
            name = line[line.index("<") + 1 :].rpartition(">")[0]
            items[name] = ""
        elif name and line.strip():
            items[name] += ("\n" if items[name] else "") + line
        else:
            name = ""
    return items
