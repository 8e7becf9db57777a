"""The command line: typer verbs without logic. Torch, RDKit and pandas are imported inside the verbs that need them."""

from __future__ import annotations

from typing import Annotated

import typer

import molvae
from molvae.cli import benchmark, data, evaluation, generation, laboratory, models, oracles, search, uses, viewing
from molvae.cli.terminal import Verbs, show_warnings

app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich would take half of the time that it may take
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Design molecules: generate them, and optimize them with few measurements.",
)


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False
) -> None:
    if version:
        print(molvae.__version__)
        raise typer.Exit
    show_warnings()


for verb in (
    generation.generate,
    search.optimize,
    search.report,
    laboratory.suggest,
    viewing.view,
    generation.reconstruct,
    generation.interpolate,
    generation.neighbours,
    generation.encode,
    generation.decode,
    data.prepare,
    models.train,
    models.fit_prior,
    evaluation.evaluate,
    uses.compress,
    uses.decompress,
    uses.probe,
    uses.augment,
    uses.disentangle,
    models.doctor,
):
    app.command()(verb)
app.command("map")(uses.map_)
app.add_typer(uses.ood, name="ood")
app.add_typer(oracles.app, name="oracle")
app.add_typer(data.app, name="data")
app.add_typer(benchmark.app, name="benchmark")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line on `arguments` (those of the process by default); ends with SystemExit."""
    app(args=arguments, prog_name="molvae")
