"""`molvae ood`: what is foreign to a set of molecules."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from molvae.cli.generation import ModelName, Out, Seed, SmilesColumn, leave_room, n_cores
from molvae.cli.terminal import Verbs, progress_bar, say

ood = typer.Typer(
    cls=Verbs, no_args_is_help=True, rich_markup_mode=None, help="Tell molecules that are foreign to a set of molecules."
)

File = Annotated[str, typer.Argument(help="Molecules: .smi, .csv, .tsv, .sdf, .parquet, or - for SMILES on stdin.")]
MANY = 2000  # molecules from which on worker processes are worth their start
UNUSUAL = 0.05  # a p-value below which a molecule is counted as foreign


@ood.command("fit")
def fit(
    reference: File,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the detector.")],
    model: ModelName = "zinc250k",
    neighbour: Annotated[int, typer.Option("--neighbour", "-k", help="Which nearest neighbour's distance counts.")] = 10,
    smiles_col: SmilesColumn = None,
    seed: Seed = 0,
) -> None:
    """Learn what is usual.

    From molecules that are usual; a fifth of them is held out, for p-values.
    """
    from molvae.files import writable_folder
    from molvae.tables import read_molecules
    from molvae.uses.ood import fit_detector

    molecules = read_molecules(reference, smiles_col)
    writable_folder(out)
    loaded = load_model(model, len(molecules))
    with progress_bar("molecules") as progress:
        detector = fit_detector(molecules.smiles, model=loaded, k=neighbour, seed=seed, progress=progress)
    detector.about["model"] = model
    detector.save(out)
    about = detector.about
    say(f"Detector: {out}   (molvae ood score {out} FILE)")
    say(f"{about['reference']:,} molecules; {about['held_out']:,} held out, {about['unencodable']:,} cannot be encoded.")


@ood.command("score")
def score(
    detector: Annotated[Path, typer.Argument(help="A folder that `molvae ood fit` wrote.")],
    data: File,
    out: Out = "-",
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The detector's model, if it is not where it was.")
    ] = None,
    smiles_col: SmilesColumn = None,
) -> None:
    """How foreign molecules are.

    Four scores each, larger is more foreign, and their p-values; a molecule that cannot be encoded has none, and a reason.
    """
    from molvae.tables import format_of, read_molecules
    from molvae.uses.ood import METHODS, load_detector

    if out != "-":
        format_of(out)
    fitted = load_detector(detector)
    molecules = read_molecules(data, smiles_col)
    loaded = load_model(str(fitted.about["model"]) if model is None else model, len(molecules))
    with progress_bar("molecules") as progress:
        found = fitted.score(molecules.smiles, loaded, progress)
    columns: dict[str, list[Any]] = {"smiles": molecules.smiles, "id": molecules.ids}
    for method in METHODS:
        columns[method] = [round(float(value), 4) for value in found.scores[method]]
        columns[f"{method}_p"] = [round(float(value), 5) for value in found.p_values[method]]
    write(out, columns | {"reason": found.reasons})
    n_known = sum(not reason for reason in found.reasons)
    counts = ", ".join(f"{method} {int((found.p_values[method] < UNUSUAL).sum()):,}" for method in METHODS)
    say(f"p < {UNUSUAL} for so many of {n_known:,}: {counts}.")
    for reason, count in Counter(reason for reason in found.reasons if reason).most_common(5):
        say(f"  {count:,} of {len(molecules):,} without a score: {reason}")


def load_model(model: str, n: int) -> Any:
    """The model, with worker processes if there are many molecules."""
    import molvae

    workers = n_cores() if n > MANY else 0
    leave_room(workers)
    return molvae.load(model, workers=workers)


def write(out: str, columns: dict[str, list[Any]]) -> None:
    """A table to a file, or as CSV to standard output."""
    from molvae.tables import write_csv, write_table

    if out == "-":
        write_csv(sys.stdout, columns)
    else:
        write_table(out, columns)
