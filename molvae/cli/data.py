"""`molvae prepare`, and `molvae data list` and `molvae data fetch`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from molvae.cli.generation import Seed
from molvae.cli.running import n_cores
from molvae.cli.terminal import Verbs, plain_table, progress_bar, say

app = typer.Typer(cls=Verbs, no_args_is_help=True, rich_markup_mode=None, help="Public data sets: list them, fetch one.")


def prepare(
    data: Annotated[Path, typer.Argument(help="Molecules: .smi, .csv, .tsv, .sdf (each optionally .gz) or .parquet.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the data set, for `molvae train`.")],
    smiles_col: Annotated[
        str | None, typer.Option(help="The SMILES column by name or number; by default molvae looks at the file.")
    ] = None,
    split: Annotated[str, typer.Option(help="random, scaffold, none, or a .json of row numbers from 0.")] = "random",
    validation: Annotated[str, typer.Option(help="Share of the split for validation, or a file of its molecules.")] = "0.05",
    test: Annotated[str, typer.Option(help="Share of the split for testing, or a file of its molecules.")] = "0.05",
    dedup: Annotated[str, typer.Option(help="What makes two rows one molecule: smiles, inchikey or none.")] = "smiles",
    neutralise: Annotated[bool, typer.Option("--neutralise", help="Remove charges where protons can.")] = False,
    tautomer: Annotated[bool, typer.Option("--tautomer", help="Write the canonical tautomer; slow.")] = False,
    stereo: Annotated[str, typer.Option(help="keep or drop.")] = "keep",
    words: Annotated[int, typer.Option(help="SELFIES words to learn.")] = 400,
    spelling: Annotated[str, typer.Option(help="How SELFIES are spelled: marks or selfies.")] = "marks",
    seed: Seed = 0,
    workers: Annotated[int | None, typer.Option(help="Processes; by default one a core.")] = None,
) -> None:
    """Make a data set for training from a file of molecules.

    Salts lose their counter-ions, duplicates go, rows that cannot be used are listed in rejected.csv with line and reason.
    """
    from molvae.data.building import prepare as run
    from molvae.data.files import REJECTED

    with ExitStack() as stack:
        bars: dict[str, object] = {}

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                stack.close()
                bars[stage] = stack.enter_context(progress_bar(stage))
            bars[stage](done, max(done, total))  # type: ignore[operator]

        dataset = run(
            data,
            out,
            column=smiles_col,
            split=split,
            validation=_share(validation),
            test=_share(test),
            dedup=dedup,
            neutralise=neutralise,
            tautomer=tautomer,
            stereo=stereo,
            words=words,
            spelling=spelling,
            seed=seed,
            workers=n_cores() if workers is None else workers,
            progress=progress,
            announce=say,
        )
    card = dataset.card
    say(f"{card['molecules']:,} molecules of {card['rows']:,} rows, {len(dataset.vocabulary):,} tokens.")
    say(", ".join(f"{name} {count:,}" for name, count in card["split"].items()) + ".")
    for reason, count in list(card["rejected"].items())[:5]:
        say(f"{count:,} rejected: {reason}")
    if card["rejected"]:
        say(f"Every rejected row is in {out / REJECTED}.")
    say(f"Data set: {out}   (molvae train {out} -o run)")


def _share(text: str) -> float | str:
    """A number, or else the path of a file."""
    try:
        return float(text)
    except ValueError:
        return text


@app.command("list")
def list_data(
    folder: Annotated[Path | None, typer.Option("--out", "-o", help="Where to look; by default the cache folder.")] = None,
) -> None:
    """List the public data sets, and whether they are here."""
    from molvae.data.fetching import CATALOGUE, cache_folder

    rows = []
    for name, data in CATALOGUE.items():
        place = folder or cache_folder() / name
        here = sum((place / file.name).is_file() for file in data.files)
        rows.append([name, f"{here} of {len(data.files)}", data.reference, data.description])
    print(plain_table(["name", "files here", "reference", "what"], rows, left=(0, 2)))


@app.command("fetch")
def fetch_data(
    name: Annotated[str, typer.Argument(help="zinc250k, moses or guacamol.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to; by default the cache folder.")] = None,
    from_file: Annotated[
        Path | None, typer.Option("--from-file", help="A copy that you have: one of its files, or a folder. Stays offline.")
    ] = None,
) -> None:
    """Fetch a public data set, checked, and print the paths of its files.

    A stopped download is continued. MOLVAE_CACHE names the cache folder; MOLVAE_OFFLINE=1 forbids connections.
    """
    from molvae.data.fetching import fetch

    with progress_bar(f"bytes of {name}") as progress:
        paths = fetch(name, out, from_file=from_file, progress=progress)
    for path in paths:
        print(path)
    say(f"Next: molvae prepare {paths[0]} -o dataset")
