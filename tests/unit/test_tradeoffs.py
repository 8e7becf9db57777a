"""Trade-offs: the Pareto set by its definition, and what the report of a search says of it."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeModel
from rdkit import Chem
from rdkit.Chem import QED, Descriptors

from molvae.history import Evaluation
from molvae.objective import Objective
from molvae.report.page import write_report
from molvae.report.run_files import Run
from molvae.report.tradeoffs import trade_offs, undominated
from molvae.search.run import optimize


def by_definition(values: np.ndarray) -> list[int]:
    """Each row beside each other one."""
    return [
        i for i, row in enumerate(values)
        if not any((other >= row).all() and (other > row).any() for other in values)
    ]  # fmt: skip


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_the_pareto_set_by_its_definition(k: int) -> None:
    rng = np.random.default_rng(k)
    for values in (rng.normal(size=(80, k)), rng.integers(0, 4, size=(80, k)).astype(float)):
        assert undominated(values) == by_definition(values)
    assert undominated([[1.0, 2.0], [1.0, 2.0], [0.0, 3.0], [1.0, 1.0]]) == [0, 1, 2], "equal rows all stay"
    assert undominated(np.zeros((0, 2))) == []
    assert undominated([[0.9, 1e-20], [0.9, 2e-20]]) == [1] and undominated([[1e17, 0], [1e17, 1]]) == [1], "sums are equal"


def test_a_term_may_have_the_name_of_another_column() -> None:
    term = {"direction": "maximise", "weight": 1.0}
    run = made_up(
        [{"score": 0.2, "SA": 2.0}, {"score": 0.1, "SA": 3.0}], [{**term, "name": n} for n in ("score", "SA")], [9, 8]
    )
    columns = trade_offs(run).columns()
    assert list(columns) == ["smiles", "score (term)", "SA", "score", "call", "source"]
    assert columns["score (term)"] == [0.2, 0.1] and columns["score"] == [9, 8]


def made_up(components: list[dict[str, float]], terms: list[dict], scores: list[float] | None = None) -> Run:
    scores = scores or [0.0] * len(components)
    evaluations = [
        Evaluation(i, "C" * i, score, components=parts)
        for i, (score, parts) in enumerate(zip(scores, components, strict=True), 1)
    ]
    return Run(Path("run"), {"objective": {"terms": terms}}, evaluations, [])


def test_directions_transforms_and_bounds_count_and_weights_do_not() -> None:
    up, down = {"name": "a", "weight": 100.0, "direction": "maximise"}, {"name": "b", "direction": "minimise"}
    parts = [{"a": 1, "b": 1}, {"a": 2, "b": 2}, {"a": 1, "b": 2}, {"a": 3, "b": 0.0, "violation": 0.5}, {"a": 9}]
    found = trade_offs(made_up(parts, [up, down], [0.1, 0.9, 0.0, 0.0, math.nan]))
    assert found is not None
    assert [e.call for e in found.undominated] == [2, 1], "the highest score first"
    assert [e.call for e in found.compared] == [1, 2, 3]
    assert found.columns()["b"] == [2, 1] and "2 of 3 molecules are undominated" in found.sentence()
    # With a target value for a, 2.0 is better than 3.0.
    target = {"name": "a", "direction": "maximise", "transform": {"name": "gaussian", "mu": 2.0, "sigma": 1.0}}
    found = trade_offs(made_up([{"a": 2.0, "b": 1.0}, {"a": 3.0, "b": 1.0}], [target, down]))
    assert found is not None and [e.call for e in found.undominated] == [1]
    assert trade_offs(made_up([{"a": 1.0}], [up])) is None, "one term has no trade-off"
    assert trade_offs(made_up([{"a": 1.0, "b": 1.0, "violation": 1.0}], [up, down])) is None


def test_the_report_of_a_search_has_them(tmp_path: Path) -> None:
    objective = Objective.from_specs(maximise=["QED"], minimise=["MW"])
    settings = {"initial": 10, "batch": 10}
    optimize(objective, strategy="genetic", settings=settings, out=tmp_path / "run", budget=30, model=FakeModel(), seed=1)
    page = write_report(tmp_path / "run").read_text()
    lines = (tmp_path / "run" / "pareto.csv").read_text().splitlines()
    assert lines[0] == "smiles,QED,MW,score,call,source" and "<h2>Trade-offs</h2>" in page
    assert f"{len(lines) - 1} of 30 molecules are undominated" in page
    with (tmp_path / "run" / "molecules.csv").open(newline="") as stream:
        mols = [Chem.MolFromSmiles(row["smiles"]) for row in csv.DictReader(stream)]
    values = np.array([[QED.qed(mol), -Descriptors.MolWt(mol)] for mol in mols])
    best = {Chem.MolToSmiles(mols[i]) for i in by_definition(values)}
    assert {Chem.CanonSmiles(line.split(",")[0]) for line in lines[1:]} == best
