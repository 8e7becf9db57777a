"""`molvae optimize` and `molvae report`: a search in a run directory, its comparison with random screening, its report."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from molvae.cli.generation import Filters
from molvae.cli.terminal import plain_table, say
from molvae.errors import ConfigError, MolvaeError

if TYPE_CHECKING:
    from molvae.objective import Objective
    from molvae.search.loop import RoundReport

SHOWN = 10


def optimize(
    task: Annotated[
        list[str] | None, typer.Argument(help="Oracles to maximise, by name: osimertinib_mpo (molvae oracle list).")
    ] = None,
    *,
    budget: Annotated[int, typer.Option("--budget", "-n", help="Oracle calls to spend, at most.")],
    oracle: Annotated[
        list[str] | None, typer.Option(help="Your own score to maximise: my.py:score, or cmd:./program.")
    ] = None,
    maximize: Annotated[
        list[str] | None, typer.Option(help='Maximise [name=][weight*]oracle[@transform(...)], e.g. "2*QED".')
    ] = None,
    minimize: Annotated[list[str] | None, typer.Option(help="Minimise, written likewise: dock=dock.py:score.")] = None,
    constraint: Annotated[list[str] | None, typer.Option(help='A bound that comes first: "SA<=4".')] = None,
    start: Annotated[Path | None, typer.Option(help="Molecules to start from: .smi, .csv, .tsv, .sdf or .parquet.")] = None,
    smiles_col: Annotated[str | None, typer.Option(help="SMILES column of --start.")] = None,
    keep: Annotated[
        str, typer.Option(help="A core that every molecule must hold, as SMILES or SMARTS; those of --start hold it.")
    ] = "",
    filter_: Filters = None,
    strategy: Annotated[str, typer.Option(help="How to choose molecules: a name, or mine.py:choose.")] = "default",
    model: Annotated[str, typer.Option(help="A shipped model, or the path of a trained one.")] = "zinc250k",
    seed: Annotated[int, typer.Option(help="The same seed gives the same run.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes that measure; 0 measures in this one.")] = 0,
    time_limit: Annotated[float | None, typer.Option(help="Seconds a molecule may take before it counts as failed.")] = None,
    ahead: Annotated[
        bool, typer.Option("--ahead", help="Choose the next molecules while the workers measure: for slow oracles.")
    ] = False,
    target: Annotated[float | None, typer.Option(help="Stop as soon as a molecule has this score.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A setting of the strategy: --set batch=10.")] = None,
    floor: Annotated[
        bool,
        typer.Option(
            "--floor/--no-floor", help="Measure random screening beside the search (built-in oracles only: they are free)."
        ),
    ] = True,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The run directory. By default runs/TASK-....")] = None,
) -> None:
    """Search for molecules that score high.

    The same command continues a run that was stopped; a larger --budget extends one that has finished.
    """
    from molvae.chem import Core
    from molvae.config import override
    from molvae.objective import Objective
    from molvae.report.page import write_report
    from molvae.search.run import optimize as run_search
    from molvae.search.run import slug

    wanted = [*(task or []), *(oracle or []), *(maximize or [])]
    if not wanted and not minimize:
        raise ConfigError(
            "there is nothing to optimize. Name an oracle (`molvae oracle list` shows them), "
            "or give your own with --oracle my.py:score."
        )
    objective = Objective.from_specs(maximise=wanted, minimise=minimize or [], constraints=constraint or [])
    names = "-".join(term.name for term in objective.terms)
    directory = out or Path("runs") / f"{slug(names)}-{slug(strategy)}-{seed}"
    leads = _start_molecules(start, smiles_col)
    shared: dict[str, Any] = {"budget": budget, "start": leads, "model": model, "seed": seed, "filters": filter_ or []}
    began = time.perf_counter()
    say(f"{directory}: {_goal(objective)}, {budget} oracle calls, strategy {strategy}, model {model}")
    if keep:
        say(f"Every molecule keeps {keep} (read as {Core(keep).language}).")
    result = run_search(
        objective,
        strategy=strategy,
        settings=override({}, set_ or []),
        keep=keep,
        out=directory,
        workers=workers,
        time_limit=time_limit,
        ahead=ahead,
        target=target,
        progress=lambda report: say(_round_line(report, time.perf_counter() - began)),
        **shared,
    )
    if result.stopped == "target":
        say(f"A molecule has reached {target:g}: the search stops. Without --target, the same command goes on.")
    if result.stopped == "stalled":
        say("The search has converged: it finds no new molecules any more, and stops before the budget is spent.")
    if result.refused:
        say(f"Without a call, {result.refused}.")
    if floor and keep:
        say("Random screening is not measured beside the search: draws from the model hardly ever hold the core.")
    elif floor:
        _screen_at_random(objective, directory, shared)
    page = write_report(directory)
    _show_result(directory)
    say(f"Report: {page} (with molecules.csv, progress.png and best.png beside it)")


def report(
    run: Annotated[Path, typer.Argument(help="The run directory of a search, finished or not.")],
    picture: Annotated[
        Path | None, typer.Option(help="Also write progress and best molecules as one PNG to this file.")
    ] = None,
) -> None:
    """Write the plots and the page of a search.

    progress.png, best.png and report.html, from its files alone; says what it found.
    """
    from molvae.report.page import write_report

    page = write_report(run, picture)
    _show_result(run)
    say(f"Report: {page}")


def _round_line(report: RoundReport, seconds: float) -> str:
    best = f"{report.best.score:.4f}" if report.best else "none"
    failed = f"  failed {report.n_failed}" if report.n_failed else ""
    return (
        f"round {report.round:3d}  calls {report.calls}/{report.budget}  best {best}  top-10 {report.top_10:.4f}  "
        f"{seconds:.1f} s{failed}{'  *' if report.improved else ''}"
    )


def _screen_at_random(objective: Objective, directory: Path, options: dict[str, Any]) -> None:
    """Measure as many molecules from the prior as the search had calls, if that costs the user nothing."""
    from molvae.oracles import ORACLES
    from molvae.report.run_files import FLOOR
    from molvae.search.run import optimize as run_search

    specs = [part.spec for part in (*objective.terms, *objective.constraints)]
    if not all(re.match(r"\w+", spec).group() in ORACLES if re.match(r"\w+(\(.*\))?$", spec) else False for spec in specs):
        say("Random screening is not measured beside the search: it would cost calls of your own oracle.")
        return
    say(f"Measuring {options['budget']} molecules of random screening, for comparison (--no-floor leaves it out) ...")
    try:
        run_search(objective, strategy="random", out=directory / FLOOR, **options)
    except MolvaeError as error:
        if type(error).__name__ == "Interrupted":
            raise type(error)(
                f"stopped in the random screening; the search itself is complete and saved in {directory}. "
                "Run the same command to continue, with --no-floor to leave the screening out."
            ) from error
        raise


def _show_result(directory: Path) -> None:
    """The best molecules on stdout, the summary on stderr."""
    from molvae.report.run_files import read_run
    from molvae.report.summary import summarise, written
    from molvae.report.tradeoffs import trade_offs

    run = read_run(directory)
    rows = [[str(rank), written(e.score), str(e.call), e.source, e.smiles] for rank, e in enumerate(run.best(SHOWN), 1)]
    if rows:
        print(plain_table(["no", "score", "call", "source", "smiles"], rows, left=(3,)), flush=True)
    for sentence in summarise(run).sentences():
        say(sentence)
    if traded := trade_offs(run):
        say(f"{traded.sentence()} They are in {directory / 'pareto.csv'}.")


def _start_molecules(path: Path | None, column: str | None) -> list[str]:
    if path is None:
        return []
    from molvae.data.tables import read_molecules
    from molvae.errors import DataError

    molecules = read_molecules(path, column)
    unreadable = [name for smiles, name in zip(molecules.smiles, molecules.ids, strict=True) if not smiles]
    if unreadable:
        raise DataError(f"RDKit cannot read record {unreadable[0]!r} of {path}. Correct it or remove it.")
    return molecules.smiles


def _goal(objective: Objective) -> str:
    terms = [f"{term.direction} {term.name}" for term in objective.terms]
    bounds = [str(constraint) for constraint in objective.constraints]
    return ", ".join(terms) + (f", subject to {', '.join(bounds)}" if bounds else "")
