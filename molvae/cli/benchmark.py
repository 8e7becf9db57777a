"""`molvae benchmark`: a strategy on the tasks of PMO, run by run, and its table beside published scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from molvae.cli.terminal import MISTAKE, Verbs, progress_bar, say
from molvae.errors import ConfigError

if TYPE_CHECKING:
    from molvae.benchmark.runs import Run

app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Compare search strategies on the tasks of the PMO benchmark.",
)


@app.command()
def pmo(
    strategy: Annotated[str, typer.Option(help="How to choose molecules: a name, or mine.py:choose.")] = "default",
    seeds: Annotated[int, typer.Option(help="Searches of each task, with seeds from --first-seed on.")] = 3,
    first_seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    budget: Annotated[int, typer.Option("--budget", "-n", help="Oracle calls of each search.")] = 10_000,
    tasks: Annotated[str | None, typer.Option(help="Some of the 20 tasks, with commas: zaleplon_mpo,qed.")] = None,
    extra: Annotated[
        bool, typer.Option("--extra", help="Also gsk3b and jnk3, with classifiers of our own; they are in no sum.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Searches side by side, a process each; 0 for one after the other.")] = 0,
    model: Annotated[str, typer.Option(help="A shipped model, or the path of a trained one.")] = "zinc250k",
    set_: Annotated[list[str] | None, typer.Option("--set", help="A setting of the strategy: --set batch=10.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The folder. By default runs/pmo-STRATEGY.")] = None,
) -> None:
    """Search on the 20 tasks of PMO that need only RDKit.

    One run directory for each task and seed; the same command goes on where it was stopped, and a larger --budget extends.
    Writes runs.csv and tasks.csv into the folder; prints the table.
    """
    from molvae.benchmark.pmo import pmo_runs
    from molvae.benchmark.results import run_rows, task_rows
    from molvae.benchmark.runs import make_runs
    from molvae.benchmark.tabulate import write_csv
    from molvae.config import override
    from molvae.search.run import slug

    folder = out or Path("runs") / f"pmo-{slug(strategy)}"
    names = [name.strip() for name in tasks.split(",") if name.strip()] if tasks else None
    runs = pmo_runs(
        folder,
        strategy,
        tasks=names,
        extra=extra,
        seeds=range(first_seed, first_seed + seeds),
        budget=budget,
        settings=override({}, set_ or []),
        model=model,
    )
    n_done = sum(run.is_done for run in runs)
    say(f"{folder}: {len(runs)} runs of {budget} calls, strategy {strategy}; {n_done} are done.")

    def ended(run: Run) -> None:
        nonlocal n_done
        n_done += 1
        say(f"{run.folder.name} has ended, {n_done} of {len(runs)}")

    with progress_bar("oracle calls") as progress:
        failures = make_runs(runs, workers, progress=progress, ended=ended)
    rows = run_rows(folder, budget)
    write_csv(folder / "runs.csv", rows)
    write_csv(folder / "tasks.csv", task_rows(rows))
    if rows:
        _show([folder], budget)
    say(f"Tables: {folder / 'runs.csv'}, a row a run, and {folder / 'tasks.csv'}, a row a task")
    for failure in failures:
        say(f"molvae: {failure.run.folder.name} failed: {failure.reason}")
    if failures:
        say(f"molvae: {len(failures)} of {len(runs)} runs failed. The same command tries them again.")
        raise typer.Exit(MISTAKE)


@app.command()
def table(
    folders: Annotated[list[Path], typer.Argument(help="Folders of `molvae benchmark pmo`, one a column.")],
    budget: Annotated[
        int | None,
        typer.Option("--budget", "-n", help="Look at the first calls only. By default all that every folder has."),
    ] = None,
    all_published: Annotated[bool, typer.Option("--all-published", help="Every published method that is known.")] = False,
) -> None:
    """Print finished benchmarks beside published scores, in Markdown.

    AUC top-10 by task; then what each benchmark is, cost, and found.
    """
    if budget is not None and budget < 1:
        raise ConfigError(f"budget is {budget}; give a number of oracle calls, at least 1.")
    _show(folders, budget, all_published)


def _show(folders: list[Path], budget: int | None, all_published: bool = False) -> None:
    from molvae.benchmark.results import (
        about_table,
        extra_table,
        read_benchmark,
        score_table,
        sources_of_published,
        whole_budget,
    )

    budget = budget or min(whole_budget(folder) for folder in folders)
    benchmarks = [read_benchmark(folder, budget) for folder in folders]
    scores, extra = score_table(benchmarks, all_published=all_published), extra_table(benchmarks)
    of_others = "; published methods: of 10,000 calls; * scored 250,000 molecules before" if scores else ""
    sources = sources_of_published(all_published) if scores else ""
    parts = [f"AUC top-10 of {budget:,} calls{of_others}.", scores, about_table(benchmarks), extra, sources]
    print("\n\n".join(filter(None, parts)), flush=True)
