"""`molvae evaluate`: the figures of a library, or of a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from molvae.cli.generation import Seed, SmilesColumn
from molvae.cli.running import n_cores
from molvae.cli.terminal import plain_table, say, stages
from molvae.errors import ConfigError


def evaluate(
    subject: Annotated[str, typer.Argument(help="A file of molecules (- for stdin), or a model: its name or its path.")],
    reference: Annotated[Path | None, typer.Option(help="The training set, a file of molecules.")] = None,
    test: Annotated[
        Path | None, typer.Option("--test", "--data", help="Molecules that no training saw; a model reconstructs them.")
    ] = None,
    smiles_col: SmilesColumn = None,
    n: Annotated[int, typer.Option("-n", help="Molecules to draw from a model.")] = 10_000,
    seed: Seed = 0,
    prior: Annotated[str | None, typer.Option(help="The model's prior to draw from; its best one by default.")] = None,
    sample: Annotated[int, typer.Option(help="Molecules of each set for the KL score and the FCD.")] = 10_000,
    fcd: Annotated[bool, typer.Option("--fcd/--no-fcd", help="The Frechet ChemNet distance, the slowest figure.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout in place of the table.")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the figures to this file, as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the distributions of properties: a .png file.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    workers: Annotated[int | None, typer.Option(help="Processes for the RDKit work; by default one a core.")] = None,
) -> None:
    """Measure a library, or what a model can do.

    The figures of MOSES and GuacaMol beside a training and a test set; of a model's samples, and its reconstruction.
    """
    if plot is not None and plot.suffix.lower() != ".png":
        raise ConfigError(f"the plot is a PNG file, and {plot} does not end so. Give --plot NAME.png.")
    if out is not None and out.suffix.lower() != ".json":
        raise ConfigError(f"the figures are written as JSON, and {out} does not end so. Give -o NAME.json.")
    import molvae
    from molvae.files import write_json

    with stages() as progress:
        card = molvae.evaluate(
            subject,
            reference=reference,
            test=test,
            column=smiles_col,
            n=n,
            seed=seed,
            prior=prior,
            sample=sample,
            fcd=fcd,
            device=device,
            workers=n_cores() if workers is None else workers,
            progress=progress,
        )
    if plot is not None:
        from molvae.report.page import write_bytes
        from molvae.report.plots import distributions_png

        write_bytes(plot, distributions_png(card.properties))
        say(f"Plot: {plot}")
    if out is not None:
        write_json(out, card.to_dict())
        say(f"Figures: {out}")
    if as_json:
        print(json.dumps(card.to_dict(), indent=2))
    elif out is None:
        print(plain_table(["figure", "value", "what it is"], card.rows(), left=(0,)))
        for reason, count in card.faults.most_common(8):
            say(f"  {count:,} of {card.about['library']:,} {reason}")
