"""`molvae suggest`: what a laboratory should measure next."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from molvae.cli.generation import Filters, ModelName, Out, Seed, SmilesColumn
from molvae.cli.running import load_model, write_columns
from molvae.cli.terminal import MISTAKE, progress_bar, say
from molvae.errors import ConfigError

if TYPE_CHECKING:
    from molvae.search.suggestion import Suggestions


def suggest(
    measured: Annotated[
        list[Path],
        typer.Argument(help="What has been measured, in order: tables (.csv, .tsv, .parquet) with a column of SMILES."),
    ],
    maximize: Annotated[
        list[str] | None, typer.Option(help='Maximise a column: [name=][weight*]column[@transform(...)], e.g. "pIC50".')
    ] = None,
    minimize: Annotated[list[str] | None, typer.Option(help="Minimise a column, written likewise.")] = None,
    constraint: Annotated[list[str] | None, typer.Option(help='A bound that comes first: "hERG<=5".')] = None,
    n: Annotated[int, typer.Option("-n", help="Molecules to suggest.")] = 10,
    keep: Annotated[str, typer.Option(help="A core that every molecule must hold, as SMILES or SMARTS.")] = "",
    filter_: Filters = None,
    strategy: Annotated[str, typer.Option(help="How to choose molecules: a name, or mine.py:choose.")] = "default",
    set_: Annotated[list[str] | None, typer.Option("--set", help="A setting of the strategy: --set active=500.")] = None,
    model: ModelName = "zinc250k",
    seed: Seed = 0,
    smiles_col: SmilesColumn = None,
    out: Out = "-",
    picture: Annotated[Path | None, typer.Option(help="Also draw them, as PNG to this file.")] = None,
) -> None:
    """What to measure next.

    From tables of what a laboratory has measured so far: molecules to make, with an empty column for their values. Fill it
    in, and give the table with the others the next time. A cell that is empty is not measured yet; text is no value.
    """
    from molvae.chem import Core
    from molvae.config import override
    from molvae.data.tables import format_of
    from molvae.search.suggestion import suggest as run

    if out != "-":
        if format_of(out) in (".smi", ".txt", ".sdf"):
            raise ConfigError(f"{out} has no columns to fill values in. Give -o NAME.csv, .tsv or .parquet.")
        if Path(out).exists():
            raise ConfigError(f"{out} is there already, and may hold measurements. Give another name with -o.")
    if picture is not None and picture.suffix.lower() != ".png":
        raise ConfigError(f"the picture is a PNG, and {picture} does not end so. Give --picture NAME.png.")
    loaded = load_model(model)
    core = Core(keep) if keep else None
    if core:
        say(f"Every molecule keeps {keep} (read as {core.language}).")
    with progress_bar("molecules") as progress:
        made = run(
            measured,
            n=n,
            maximise=maximize or [],
            minimise=minimize or [],
            constraints=constraint or [],
            keep=keep,
            filters=filter_ or [],
            strategy=strategy,
            settings=override({}, set_ or []),
            model=loaded,
            seed=seed,
            smiles_col=smiles_col,
            progress=progress,
        )
    for sentence in _told(made, len(measured)):
        say(sentence)
    write_columns(out, made.columns)
    if picture is not None:
        _draw(made, picture, core)
    if out != "-":
        say(f"{len(made)} molecules in {out}. Fill in their values, and give it after the other tables the next time.")
    if made.refused and not made.statement:
        say(f"Beside these, {made.refused}.")
    if made.statement:
        say(f"molvae: {made.statement}")
        raise typer.Exit(MISTAKE)


def _told(made: Suggestions, n_tables: int) -> list[str]:
    """What the tables held, and how far the surrogate is to be trusted."""
    failed, n_waiting = made.failed, len(made.waiting)
    n_valued = len(made.known) - len(failed) - n_waiting
    tables = f"{n_tables} tables" if n_tables > 1 else "the table"
    told = [
        f"{len(made.known)} molecules in {tables}: {n_valued} with a value, {n_waiting} not measured yet, "
        f"{len(failed)} without a value."
    ]
    told += [f"  {count} without: {reason}" for reason, count in Counter(e.reason for e in failed).most_common(5)]
    left_out = made.measured.left_out
    told += [f"  left out: {why}" for why in left_out[:5]] + [f"  and {len(left_out) - 5} more"] * (len(left_out) > 5)
    if made.measured.repeated:
        told.append(f"  rows of a molecule that was there before: {made.measured.repeated}; its values are averaged.")
    if made.computed:
        told.append(f"Computed, and not read from {tables}: {', '.join(made.computed)}.")
    if not n_valued:
        told.append("Nothing is known yet, so these are draws from the model.")
    elif made.check is None:
        told.append("There are too few values to say what is expected.")
    else:
        check = made.check
        told.append(
            f"The surrogate of {check.of}, each of {check.n} molecules told from the others: rank correlation "
            f"{check.rank_correlation:.2f}, error {check.error:.3g} (their mean: {check.error_of_mean:.3g})."
        )
        if not check.error < check.error_of_mean:
            told.append("It knows no more than their mean does: take what it expects for nothing yet.")
    return told


def _draw(made: Suggestions, path: Path, core: object) -> None:
    from molvae.report.page import write_bytes
    from molvae.report.pictures import grid_png

    texts = [
        f"{i}" if math.isnan(value) else f"{i}: {value:.3g} (sd {sd:.2g})"
        for i, (value, sd) in enumerate(zip(made.columns["expected"], made.columns["sd"], strict=True), 1)
    ]
    write_bytes(path, grid_png(made.smiles, texts, core=core))
