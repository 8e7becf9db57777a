"""`molvae view`: look at molecules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from molvae.cli.generation import SmilesColumn
from molvae.cli.terminal import progress_bar, say
from molvae.errors import ConfigError, DataError

TOP = {".html": 500, ".png": 50}  # molecules that a page, or a picture, can bear


def view(
    data: Annotated[str, typer.Argument(help="Molecules: .smi, .csv, .tsv, .sdf, .parquet (text also with .gz).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A .html page to sort and choose on, or a .png picture.")],
    sort: Annotated[str, typer.Option(help="A column, or a property (QED, SA, logP, ...), smallest first.")] = "",
    descending: Annotated[bool, typer.Option("--descending", help="Largest first.")] = False,
    top: Annotated[
        int | None, typer.Option(help="Show so many at most [default: 500 on a page, 50 in a picture].", min=1)
    ] = None,
    leads: Annotated[
        str | None,
        typer.Option(help="A file of molecules: each is set beside the most similar one, and what differs is marked."),
    ] = None,
    keep: Annotated[
        str | None, typer.Option(help="A core (SMILES or SMARTS) to mark, and to draw the same way everywhere.")
    ] = None,
    smiles_col: SmilesColumn = None,
) -> None:
    """Look at molecules.

    The pictures of a table, with its columns, properties, and what a chemist would object to. The page loads nothing.
    """
    from molvae.chem import Core
    from molvae.data.columns import read_columns
    from molvae.data.tables import read_molecules
    from molvae.files import write_text
    from molvae.report.gallery import MOST_IN_A_PICTURE, gallery
    from molvae.report.page import write_bytes

    ending = out.suffix.lower()
    if ending not in TOP:
        raise ConfigError(
            f"molecules are shown on a .html page or in a .png picture, and {out} is neither. Give -o NAME.html."
        )
    if descending and not sort:
        raise ConfigError("--descending needs a column or property to sort by. Give --sort NAME too.")
    if ending == ".png" and (top or 0) > MOST_IN_A_PICTURE:
        raise ConfigError(f"a picture holds {MOST_IN_A_PICTURE} molecules at most, not {top}. Give -o NAME.html.")
    smiles, columns = read_columns(data, smiles_col)
    if not any(smiles):
        raise DataError(f"{data} holds no molecules. Give a file with one molecule a row.")
    known = read_molecules(leads) if leads else None
    with progress_bar("molecules") as progress:
        shown = gallery(
            smiles,
            columns,
            sort=sort,
            descending=descending,
            top=top or TOP[ending],
            leads=known.smiles if known else (),
            # A row number would say less than the SMILES that stands in its place.
            lead_ids=["" if name.isdecimal() else name for name in known.ids] if known else (),
            core=Core(keep) if keep else None,
            progress=progress,
        )
    if ending == ".png":
        write_bytes(out, shown.png())
    else:
        write_text(out, shown.html(Path(data).name))
    for sentence in shown.left_out[:5]:
        say(f"left out: {sentence}")
    if len(shown.left_out) > 5:
        say(f"left out: {len(shown.left_out) - 5:,} more rows")
    more = "" if len(shown.molecules) == shown.rows else f" of {shown.rows:,}; --top shows more"
    say(f"{len(shown.molecules):,} molecules in {out}{more}.")
