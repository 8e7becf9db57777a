"""Reports are made from a run's files alone, say what the files say, and escape whatever is in them."""

import base64
import math
import re
import sqlite3
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas
import pytest
from fakes import FakeModel
from matplotlib.image import imread

from molvae.chem import Core
from molvae.errors import RunError
from molvae.history import Evaluation
from molvae.objective import Objective
from molvae.report.page import write_report
from molvae.report.pictures import grid_png, molecule_svg
from molvae.report.run_files import FLOOR, Run, best_so_far, read_run, top_so_far
from molvae.report.summary import summarise, written
from molvae.search.run import optimize, write_molecules


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small search for QED under a bound, with random screening beside it."""
    directory = tmp_path_factory.mktemp("runs") / "qed"
    objective = Objective.from_specs(maximise=["QED"], constraints=["SA<=3"])
    common = {"budget": 30, "model": FakeModel(), "seed": 1}
    optimize(objective, strategy="genetic", settings={"initial": 10, "batch": 10}, out=directory, **common)
    optimize(objective, strategy="random", out=directory / FLOOR, **common)
    return directory


def made_up(scores: list[float], sources: list[str] | None = None, floor: list[float] | None = None) -> Run:
    evaluations = [
        Evaluation(i, "C" * i, score, reason="no pose" if math.isnan(score) else "", source=source)
        for i, (score, source) in enumerate(zip(scores, sources or ["prior"] * len(scores), strict=True), 1)
    ]
    return Run(Path("run"), {"budget": len(scores)}, evaluations, [], None if floor is None else np.array(floor))


def test_curves_by_hand() -> None:
    scores = np.array([math.nan, 1.0, 3.0, math.nan, 2.0, 5.0])
    np.testing.assert_array_equal(best_so_far(scores), [math.nan, 1, 3, 3, 3, 5])
    np.testing.assert_array_equal(top_so_far(scores, 2), [math.nan, 1, 2, 2, 2.5, 4])


def test_the_summary_by_hand() -> None:
    search = [0.1 * i for i in range(1, 21)]  # 0.1 ... 2.0: after n calls the best ten have the mean 0.1 (n - 4.5)
    sources = ["prior"] * 12 + ["graph"] * 8
    summary = summarise(made_up([*search, math.nan], [*sources, "graph"], floor=[1.0] * 9 + [1.01, 0.5]))
    assert (summary.calls, summary.failed, summary.best) == (21, 1, 2.0)
    assert summary.top == pytest.approx(1.55)
    assert (summary.floor_calls, summary.floor_best) == (11, 1.01)
    assert summary.floor_top == pytest.approx(1.001)
    assert summary.overtaken == 15, "0.1 (15 - 4.5) = 1.05 is the first mean of at least 1.001"
    assert [(s.source, s.calls, s.failed, s.in_top) for s in summary.sources] == [("graph", 9, 1, 8), ("prior", 12, 0, 2)]
    assert summary.sources[1].mean == pytest.approx(0.65)
    sentences = " ".join(summary.sentences())
    assert "21 oracle calls, 1 of them failed. Best score 2.0000, mean of the best 10: 1.5500." in sentences
    assert "the search passed that after 15 calls" in sentences
    assert "The best 10 came from: graph 8, prior 2." in sentences


def test_a_search_that_loses_to_random_screening_says_so() -> None:
    assert "the search did not reach that" in " ".join(summarise(made_up([0.1] * 20, floor=[0.2] * 20)).sentences())
    # Two good values are not ten: their mean is not compared.
    assert summarise(made_up([1.0, 1.0] + [0.0] * 18, floor=[0.5] * 20)).overtaken is None


def test_a_search_in_which_everything_failed_has_no_figures() -> None:
    summary = summarise(made_up([math.nan] * 3))
    assert math.isnan(summary.best) and math.isnan(summary.top) and summary.failed == 3
    assert [written(v) for v in (summary.best, 0.8, -12.3456789, 123456.7)] == ["", "0.8000", "-12.346", "1.2346e+05"]


class Page(HTMLParser):
    """Collects what a browser would fetch, the text, and whether tags are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.images: list[bytes] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("src", "href") and value:
                if value.startswith("data:image/png;base64,"):
                    self.images.append(base64.b64decode(value.split(",", 1)[1]))
                else:
                    self.fetched.append(value)
        assert tag not in ("script", "iframe", "link")
        if tag not in ("meta", "img", "br", "path", "rect", "ellipse"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                raise AssertionError(f"<{tag}> is closed in the wrong place")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_stands_alone_and_agrees_with_the_files(finished: Path) -> None:
    path = write_report(finished, finished / "pictures" / "overview.png")
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.fetched == [], "nothing is loaded from elsewhere"
    assert page.open == []
    assert imread(BytesIO(page.images[0])).shape[1] > 800
    run = read_run(finished)
    text = re.sub(r"\s+", " ", " ".join(page.text))
    for evaluation in run.best(30):
        assert evaluation.smiles in text
    assert written(run.best(1)[0].score) in text
    assert "maximise QED, subject to SA<=3" in text
    assert 'strategy = "genetic"' in text or 'name = "genetic"' in text
    for picture in (finished / "progress.png", finished / "best.png", finished / "pictures" / "overview.png"):
        pixels = imread(picture)
        assert pixels.shape[0] > 300
        assert pixels.std() > 0.01, "it is not blank"


def test_a_report_is_the_same_every_time_and_changes_nothing_else(finished: Path) -> None:
    write_report(finished)
    names = ("progress.png", "best.png", "report.html", "molecules.csv", "config.toml", "events.jsonl")
    before = {name: (finished / name).read_bytes() for name in names}
    write_report(finished)
    assert {name: (finished / name).read_bytes() for name in names} == before
    assert not list(finished.glob("ledger.sqlite-*")), "readers clear away what SQLite needed"


def test_text_from_a_run_is_escaped(finished: Path, tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>"
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.toml", "events.jsonl", "ledger.sqlite"):
        (run / name).write_bytes((finished / name).read_bytes())
    with sqlite3.connect(run / "ledger.sqlite") as database:
        database.execute("UPDATE evaluations SET source = ?", (evil,))
        database.execute("UPDATE evaluations SET score = NULL, reason = ? WHERE call = 1", (evil,))
    database.close()
    (run / "config.toml").write_text((run / "config.toml").read_text().replace('model = "', f'model = "{evil}'))
    text = write_report(run).read_text(encoding="utf-8")
    assert evil not in text
    assert text.count("&lt;script&gt;") >= 3


def test_a_run_without_random_screening_says_that_it_was_not_measured(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.toml", "ledger.sqlite"):
        (run / name).write_bytes((finished / name).read_bytes())
    assert read_run(run).floor is None
    assert "Random screening of the same budget was not measured." in write_report(run).read_text(encoding="utf-8")


def test_what_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run directory"):
        read_run(tmp_path / "absent")
    with pytest.raises(RunError, match="not the run directory of a search"):
        read_run(tmp_path)
    (tmp_path / "config.toml").write_text("")
    (tmp_path / "ledger.sqlite").write_text("this is no database, but long enough to be mistaken for one" * 20)
    with pytest.raises(RunError, match="cannot be read as a molvae ledger"):
        read_run(tmp_path)


def test_drawings_of_odd_molecules() -> None:
    assert molecule_svg("c1ccccc1").startswith("<svg")
    plain, marked = molecule_svg("Cc1ccncc1"), molecule_svg("Cc1ccncc1", core=Core("c1ccncc1"))
    assert "#A8D6F7" in marked and "#A8D6F7" not in plain, "an aromatic core is marked"
    assert "#A8D6F7" not in molecule_svg("CCO", core=Core("c1ccncc1"))
    assert molecule_svg("not a molecule") == ""
    picture = imread(
        BytesIO(grid_png(["CCO", "not a molecule", "[Na+].[Cl-]"], ["a", "b", "c"], columns=2, cell=(200, 150)))
    )
    assert picture.shape[:2] == (300, 400)


def test_a_term_called_score_has_a_column_of_its_own(tmp_path: Path) -> None:
    """As every user's function of that name has: two headings of one name would be one to whoever reads the table."""
    evaluations = [Evaluation(1, "C", 4.0, "", {"score": 2.0, "SA": 1.0}, "prior", 0)]
    write_molecules(tmp_path / "molecules.csv", evaluations)
    table = pandas.read_csv(tmp_path / "molecules.csv")
    assert table["score"][0] == 4.0 and table["score (term)"][0] == 2.0 and table["SA"][0] == 1.0
