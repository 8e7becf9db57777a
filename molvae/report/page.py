"""The report of a search: progress.png, best.png and one self-contained page, written into its run directory."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

from markupsafe import Markup

from molvae.chem import Core, parse
from molvae.config import to_toml
from molvae.data.tables import write_table
from molvae.files import atomic_path, write_text
from molvae.history import Evaluation
from molvae.report.gallery import described, remarks
from molvae.report.pictures import grid_png, molecule_svg
from molvae.report.plots import overview_png, progress_png, trade_offs_png
from molvae.report.run_files import Run, read_run
from molvae.report.summary import summarise, written
from molvae.report.templates import render
from molvae.report.tradeoffs import trade_offs

SHOWN = 30  # molecules on the page
IN_GRID = 20  # molecules in best.png


def write_report(directory: str | os.PathLike[str], picture: str | os.PathLike[str] | None = None) -> Path:
    """Write the plots and the page of a search from its files, and return the path of the page.

    A goal of several terms also has its undominated molecules in pareto.csv.
    picture: also write the progress and the best molecules as one PNG to this path. Raises RunError.
    """
    run = read_run(directory)
    progress = progress_png(run)
    best = run.best(IN_GRID)
    write_bytes(run.directory / "progress.png", progress)
    if best:
        texts = [f"{rank}.  {written(e.score)}" for rank, e in enumerate(best, 1)]
        write_bytes(run.directory / "best.png", grid_png([e.smiles for e in best], texts, core=run.core))
    if traded := trade_offs(run):
        write_table(run.directory / "pareto.csv", traded.columns())
    if picture is not None:
        write_bytes(picture, overview_png(run))
    write_text(run.directory / "report.html", page(run, progress))
    return run.directory / "report.html"


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace `path` by `content` atomically."""
    with atomic_path(path) as partial:
        partial.write_bytes(content)


def page(run: Run, progress: bytes) -> str:
    """The HTML of a run: nothing is loaded from elsewhere, and every text from the run's files is escaped."""
    choosing, measuring = run.seconds()
    components = list(dict.fromkeys(name for e in run.best(SHOWN) for name in e.components))
    traded = trade_offs(run)
    return render(
        "run.html.j2",
        score=lambda value: written(value) if value is not None else "",
        title=run.title,
        goal=run.goal,
        directory=run.directory.name,
        summary=summarise(run),
        sentences=summarise(run).sentences(),
        progress=_encoded(progress),
        traded=traded,
        trade_plot=_encoded(trade_offs_png(traded)) if traded else "",
        n_shown=SHOWN,
        molecules=[_described(e, run.core) for e in run.best(SHOWN)],
        components=components,
        failures=run.failures()[:10],
        choosing=choosing,
        measuring=measuring,
        settings=to_toml({k: v for k, v in run.config.items() if k != "start"}),
        n_start=len(run.config.get("start", [])),
    )


def _encoded(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def _described(evaluation: Evaluation, core: Core | None) -> dict[str, Any]:
    """What the page says about one molecule."""
    mol = parse(evaluation.smiles)
    assert mol is not None, "the ledger holds valid molecules only"
    return {
        "evaluation": evaluation,
        "svg": Markup(molecule_svg(evaluation.smiles, core=core)),  # RDKit's own drawing, no text of ours inside
        "descriptors": described(mol),
        "remarks": remarks(mol),
    }
