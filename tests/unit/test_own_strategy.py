"""A search method in a user's file: what it is asked, what it may answer, and how its faults are told."""

import json
import logging
import math
import textwrap
from pathlib import Path

import pytest
from fakes import FakeModel, Similarity, molecule
from rdkit import Chem

import molvae
from molvae.errors import ConfigError, RunError
from molvae.objective import Objective
from molvae.search.strategies.base import STRATEGIES
from molvae.search.suggestion import suggest

LEADS = [molecule((0, 0, 0, 0)), molecule((1, 1, 1, 1)), molecule((2, 2, 2, 2))]
MINE = """
    import json

    def choose(smiles, scores, n, seed, *, elite=3, label="x"):
        with open("asked.jsonl", "a") as stream:
            print(json.dumps([smiles, scores, n, seed, elite, label]), file=stream)
        best = sorted([pair for pair in zip(scores, smiles) if pair[0] == pair[0]], reverse=True)[:elite]
        return [parent[:at] + mark + parent[at:] for _, parent in best for at in range(len(parent) + 1) for mark in "CF"]
"""


def failing_on_fluorine(smiles: list[str]) -> list[float | None]:
    return [None if "F" in one else m.value for one, m in zip(smiles, Similarity().measure(smiles), strict=True)]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write mine.py into the working directory; gives its path."""
    monkeypatch.chdir(tmp_path)

    def written(body: str) -> Path:
        Path("mine.py").write_text(textwrap.dedent(body))
        return Path("mine.py")

    return written


def searched(name: str = "choose", budget: int = 40, **options):
    goal = Objective.from_specs(maximise=[failing_on_fluorine])
    return molvae.optimize(goal, budget=budget, strategy=f"mine.py:{name}", model=FakeModel(), out="run", **options)


def asked() -> list[list]:
    return [json.loads(line) for line in Path("asked.jsonl").read_text().splitlines()]


def test_it_sees_all_that_was_measured_and_chooses_the_rest(write) -> None:
    write(MINE)
    result = searched(start=LEADS, settings={"batch": 5, "elite": 9})
    assert [e.smiles for e in result.evaluations[:3]] == LEADS and len(result.evaluations) == 40
    assert {e.source for e in result.evaluations[3:]} == {"choose"}
    calls = asked()
    assert [len(smiles) for smiles, *_ in calls] == list(range(3, 40, 5)), "five a round"
    for smiles, scores, n, _, elite, label in calls:
        assert smiles == [e.smiles for e in result.evaluations[: len(smiles)]]
        assert [math.isnan(score) for score in scores] == ["F" in one for one in smiles], (
            "NaN where nothing could be measured"
        )
        assert (n, elite, label) == (5, 9, "x")
    assert len({seed for *_, seed, _, _ in calls}) == len(calls), "every round has a seed of its own"
    assert result.counters.invalid > 0, "a carbon in the middle of a mark is no molecule; it is counted, and free"
    assert len({e.smiles for e in result.evaluations}) == 40, "what is known is not measured again"


def test_a_search_that_stopped_goes_on_as_if_it_had_not(write) -> None:
    write(MINE)
    whole = searched(start=LEADS)
    Path("run").rename("whole")
    searched(start=LEADS, budget=17)
    assert [e.smiles for e in searched(start=LEADS).evaluations] == [e.smiles for e in whole.evaluations]


def test_without_leads_it_begins_with_draws_from_the_prior(write) -> None:
    write(MINE)
    result = searched(settings={"initial": 12})
    assert [e.source for e in result.evaluations][:13] == ["prior"] * 12 + ["choose"]


def test_only_what_the_user_demands_is_measured(write) -> None:
    write(MINE)
    result = searched(start=LEADS, filters=["heavy_atoms<=10"], budget=12)
    assert all(Chem.MolFromSmiles(e.smiles).GetNumHeavyAtoms() <= 10 for e in result.evaluations[3:])
    assert "heavy_atoms" in result.refused


def test_a_class_may_use_the_model(write) -> None:
    write("""
        from molvae.history import Proposal
        from molvae.search.strategies.base import Strategy

        class Mine(Strategy):
            def __init__(self, space, *, initial: int = 4, batch: int = 3, temperature: float = 1.0):
                super().__init__(space, initial=initial, batch=batch)
                self.temperature = temperature

            def choose(self, history, n, seed):
                drawn = self.space.model.sample(n, seed=seed, temperature=self.temperature)
                return [Proposal(one.smiles, "mine") for one in drawn]
    """)
    result = searched("Mine", budget=10)
    assert [e.source for e in result.evaluations] == ["prior"] * 4 + ["mine"] * 6
    assert STRATEGIES.defaults("mine.py:Mine") == {"initial": 4, "batch": 3, "temperature": 1.0}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "def choose(smiles, scores, n, seed):\n    x = 0\n    return 1 / x\n",
            r"line 3: choose raised ZeroDiv",
        ),
        ("def choose(smiles, scores, n, seed):\n    raise SystemExit(3)\n", r"line 2: choose raised SystemExit: 3"),
        ("def choose(smiles, scores, n, seed):\n    return 'CCO'\n", r"choose returned a str, not a list of SMILES"),
        ("def choose(smiles, scores, n, seed):\n    return None\n", r"choose returned a NoneType"),
        ("def choose(smiles, scores, n, seed):\n    return ['CCO', None]\n", r"returned a NoneType among the SMILES"),
    ],
)
def test_a_fault_while_it_runs_is_a_sentence_and_nothing_is_lost(write, body: str, said: str) -> None:
    write(body)
    with pytest.raises(RunError, match=said):
        searched(start=LEADS)
    write("def choose(smiles, scores, n, seed):\n    return ['C' * len(smiles)]\n")
    repaired = searched(start=LEADS, budget=6)
    assert [e.smiles for e in repaired.evaluations] == [*LEADS, "CCC", "CCCC", "CCCCC"]


@pytest.mark.parametrize(
    ("body", "spec", "said"),
    [
        (
            "def choose(smiles):\n    return []\n",
            "mine.py:choose",
            r"cannot be called with smiles, scores.*def choose",
        ),
        ("class Mine:\n    pass\n", "mine.py:Mine", "Mine is a class, but no molvae.search.strategies.base.Strategy"),
        (
            "def choose(smiles, scores, n, seed):\n    pass\n",
            "mine.py:chose",
            r"no search strategy 'chose'. Did you mean",
        ),
        ("import nothing_of_this_name\n", "mine.py:choose", "cannot be imported: ModuleNotFoundError"),
        ("", "other.py:choose", "there is no file"),
        ("", "mine.py", "write it as mine.py:choose"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_before_anything_is_measured(write, body: str, spec: str, said: str) -> None:
    write(body)
    with pytest.raises(ConfigError, match=said):
        molvae.optimize("qed", budget=5, strategy=spec, model=FakeModel(), out="run")
    assert not Path("run").exists()


def test_settings_are_those_of_the_function(write) -> None:
    write(MINE)
    assert STRATEGIES.defaults("mine.py:choose") == {"initial": 50, "batch": 10, "elite": 3, "label": "x"}
    with pytest.raises(ConfigError, match=r"no setting 'elit'. Did you mean 'elite'"):
        searched(settings={"elit": 2})
    with pytest.raises(ConfigError, match="elite must be a whole number"):
        searched(settings={"elite": "two"})


def test_a_file_that_changes_under_a_run_is_told_of(write, caplog: pytest.LogCaptureFixture) -> None:
    write(MINE)
    searched(start=LEADS, budget=10)
    with caplog.at_level(logging.WARNING):
        searched(start=LEADS, budget=12)
    assert not caplog.records
    write(MINE.replace('"CF"', '"O"'))
    with caplog.at_level(logging.WARNING):
        searched(start=LEADS, budget=14)
    assert "the strategy's file has changed" in caplog.text


def test_suggestions_by_it_are_new_molecules_only(write) -> None:
    write("""
        def choose(smiles, scores, n, seed):
            return ["no molecule", smiles[0], "OCC", "CCO", "C1CC1N"]
    """)
    rows = [f"{s},{m.value}" for s, m in zip(LEADS, Similarity().measure(LEADS), strict=True)]
    Path("measured.csv").write_text("smiles,activity\n" + "\n".join(rows) + "\n")
    found = suggest("measured.csv", n=4, maximise=["activity"], model=FakeModel(), strategy="mine.py:choose")
    assert found.columns["smiles"] == ["CCO", "NC1CC1"]
