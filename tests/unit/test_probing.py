"""Probing: figures by their formulas, honest splits, and what is left out."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas
import pytest
from drugs import SMILES
from rdkit import Chem
from rdkit.Chem import Crippen, Descriptors
from sklearn.metrics import r2_score, root_mean_squared_error

from molvae.errors import ConfigError, DataError
from molvae.generation.model import Model
from molvae.uses.probing import Labelled, descriptors, probe, read_labelled, scores

LOGP = [Crippen.MolLogP(Chem.MolFromSmiles(text)) for text in SMILES]


def labelled(values: list[float] = LOGP) -> Labelled:
    return Labelled([Chem.CanonSmiles(text) for text in SMILES], np.array(values), Counter())


def test_scores_are_those_of_scikit_learn() -> None:
    y, f = np.random.default_rng(0).standard_normal((2, 50))
    assert scores(y, f) == pytest.approx((r2_score(y, f), root_mean_squared_error(y, f)))


def test_descriptors_are_rdkits() -> None:
    table = descriptors(SMILES[:3])
    names = [name for name, _ in Descriptors.descList]
    assert table.shape == (3, len(names))
    for row, text in zip(table, SMILES[:3], strict=True):
        mol = Chem.MolFromSmiles(text)
        assert row[names.index("MolLogP")] == pytest.approx(Crippen.MolLogP(mol))
        assert row[names.index("MolWt")] == pytest.approx(Descriptors.MolWt(mol))


def test_every_representation_regressor_and_split_once(small_model: Model) -> None:
    results = probe(labelled(), model=small_model, seeds=2, gp_rows=40)
    assert len(results) == len({(one.representation, one.regressor, one.split) for one in results}) == 2 * 7
    by_name = {(one.representation, one.regressor, one.split): one for one in results}
    for one in results:
        assert len(one.r2) == len(one.rmse) == 2
        assert one.n_test <= round(0.2 * len(SMILES)) and one.n_train + one.n_test <= len(SMILES)
        assert one.regressor != "gp" or one.n_train == 40
    # logP is among the descriptors; the mean of other rows never explains anything. (87 rows to learn from.)
    assert min(by_name["descriptors", "ridge", "random"].r2) > 0.8
    assert max(by_name["mean", "-", "random"].r2) <= 0
    again = probe(labelled(), model=small_model, seeds=2, gp_rows=40)
    assert again == results


def test_nothing_is_learned_from_shuffled_values(small_model: Model) -> None:
    shuffled = np.random.default_rng(5).permutation(LOGP).tolist()
    for one in probe(labelled(shuffled), model=small_model, seeds=3, gp_rows=0, splits=["random"]):
        assert np.mean(one.r2) < 0.25, one


def test_no_scaffold_is_on_both_sides(small_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from rdkit.Chem.Scaffolds import MurckoScaffold

    from molvae.uses import probing

    seen = []
    monkeypatch.setattr(probing, "_predict", lambda *a: (seen.append(a[4]), (np.zeros(int(a[4].sum())), 1))[1])
    probe(labelled(), model=small_model, seeds=2, gp_rows=0, splits=["scaffold"])
    frames = np.array([MurckoScaffold.MurckoScaffoldSmiles(text) for text in SMILES])
    assert seen
    for chosen in seen:
        assert not set(frames[chosen]) & set(frames[~chosen])


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
def test_a_table_is_read_and_what_is_left_out_is_counted(tmp_path: Path, ending: str) -> None:
    rows = [("CCO", "1.5"), ("OCC", "2.5"), ("C1CC", "3"), ("CCN", ""), ("CCC", "high"), ("CCCC", "inf"), ("CCS", "-2e-1")]
    frame = pandas.DataFrame(rows, columns=["smiles", "y"])
    path = tmp_path / f"table{ending}"
    frame.to_parquet(path) if ending == ".parquet" else frame.to_csv(
        path, sep="\t" if ending == ".tsv" else ",", index=False
    )
    found = read_labelled(path, "y")
    assert found.smiles == ["CCO", "CCS"]
    assert found.values.tolist() == [1.5, -0.2]
    assert found.left_out == {
        "no number in the target's column": 3, "not a valid SMILES": 1, "a molecule that was there before": 1,
    }  # fmt: skip


def test_mistakes_are_sentences(small_model: Model, tmp_path: Path) -> None:
    few = Labelled(["CCO", "CCN"], np.array([1.0, 2.0]), Counter())
    with pytest.raises(DataError, match="only 2 molecules have a value"):
        probe(few, model=small_model)
    with pytest.raises(DataError, match="all 109 values of the target are 1: there is nothing to predict"):
        probe(labelled([1.0] * len(SMILES)), model=small_model)
    with pytest.raises(ConfigError, match="no split 'scafold'"):
        probe(labelled(), model=small_model, splits=["scafold"])
    with pytest.raises(ConfigError, match="seeds is 0"):
        probe(labelled(), model=small_model, seeds=0)
