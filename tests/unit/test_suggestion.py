"""Suggestions for a laboratory, and the tables that they are made from. The truth is the toy similarity of `fakes`."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from fakes import FakeModel, Similarity, molecule, positions
from rdkit import Chem
from rdkit.Chem import Crippen, rdMolDescriptors

from molvae.errors import ConfigError, DataError, UnknownName
from molvae.search.measured import WAITING, read_measured
from molvae.search.suggestion import Suggestions, suggest

LEADS = [molecule((i, j, k, 0)) for i, j, k in [(0, 0, 0), (1, 1, 2), (2, 0, 3), (3, 2, 5), (5, 4, 1), (4, 0, 4), (6, 5, 2)]]


def truth(smiles: Sequence[str]) -> list[float]:
    return [m.value for m in Similarity().measure(list(smiles))]


def write(path: Path, rows: Sequence[Sequence[Any]]) -> Path:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return path


@pytest.fixture
def leads(tmp_path: Path) -> Path:
    rows = [[s, f"{value:.4f}"] for s, value in zip(LEADS, truth(LEADS), strict=True)]
    return write(tmp_path / "leads.csv", [["SMILES", "activity"], *rows])


def suggested(tables: Any, n: int = 6, **options: Any) -> Suggestions:
    return suggest(tables, n=n, maximise=["activity"], model=FakeModel(), **options)


# -- tables


def test_cells_are_numbers_empty_or_text_and_repeats_are_averaged(tmp_path: Path) -> None:
    first = write(tmp_path / "a.csv", [["smiles", "IC50 (nM)"], ["OCC", "10"], ["CCN", ""], ["C(", "3"], ["CCC", "> 100"]])
    second = write(
        tmp_path / "b.csv",
        [["smiles", "IC50 (nM)", "source"], ["CCO", "20", ""], ["CCBr", "8", "evolution"], ["CCCl", "7", ""]],
    )
    tables = read_measured([first, second])
    assert tables.smiles == ["CCO", "CCN", "CCC", "CCCl", "CCBr"], "those that nobody proposed come first"
    assert (tables.rounds, tables.sources) == ([0, 0, 0, 0, 2], ["start"] * 4 + ["evolution"])
    assert tables.repeated == 1 and tables.left_out == [f"'C(' in row 3 of {first} is not a valid SMILES"]
    values = tables.columns["IC50 (nM)"].measure(tables.smiles)
    assert [values[i].value for i in (0, 3, 4)] == [15.0, 7.0, 8.0]
    assert (values[1].reason, values[2].reason) == (WAITING, "the score is text ('> 100'), not a number")


def test_a_frame_is_read_like_its_file(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"Smiles": ["CCO", "CCN"], "y": [1.5, math.nan], "source": ["prior", None]})
    frame.to_csv(tmp_path / "y.csv", index=False)
    for tables in (read_measured(frame), read_measured([tmp_path / "y.csv"]), read_measured(frame.to_dict("list"))):
        assert tables.smiles == ["CCN", "CCO"] and tables.sources == ["start", "prior"]
        assert [m.value for m in tables.columns["y"].measure(["CCO"])] == [1.5]
        assert tables.columns["y"].measure(["CCN"])[0].reason == WAITING


@pytest.mark.parametrize(
    ("name", "text", "error", "sentence"),
    [
        ("none.csv", None, DataError, "no file"),
        ("bare.smi", "CCO 1.0\n", ConfigError, "no columns with names"),
        ("other.csv", "structure,y\nCCO,1\n", DataError, "no column 'smiles'"),
        ("empty.csv", "smiles,y\nC(,1\n", DataError, "hold no molecule"),
    ],
)
def test_tables_that_cannot_be_used_are_told(
    tmp_path: Path, name: str, text: str | None, error: type[Exception], sentence: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(error, match=sentence):
        read_measured(tmp_path / name)


# -- suggestions


def test_as_many_new_molecules_as_asked_for_and_the_same_again(leads: Path) -> None:
    made = suggested(leads, seed=3)
    assert len(made) == 6 == len(set(made.smiles)) and not made.statement
    assert not set(made.smiles) & set(LEADS)
    assert made.columns["activity"] == [None] * 6 and set(made.columns["source"]) != {"start"}
    assert suggested(leads, seed=3).columns == made.columns
    assert suggested(leads, seed=4).smiles != made.smiles


def test_what_is_not_measured_yet_is_not_suggested_again(leads: Path, tmp_path: Path) -> None:
    first = suggested(leads)
    first.save(tmp_path / "order.csv")
    second = suggested([leads, tmp_path / "order.csv"])
    assert not set(second.smiles) & {*first.smiles, *LEADS}
    assert [e.smiles for e in second.waiting] == first.smiles
    assert [e.source for e in second.waiting] == first.columns["source"]


def test_a_campaign_finds_better_molecules_than_chance(leads: Path, tmp_path: Path) -> None:
    tables = [leads]
    for number in range(5):
        made = suggested(tables, n=6)
        made.columns["activity"] = truth(made.smiles)
        tables.append(tmp_path / f"order{number}.csv")
        made.save(tables[-1])
    found = sorted((e.score for e in suggested(tables, n=1, strategy="genetic").known), reverse=True)[:5]
    everything = np.array(truth(sorted(positions())))
    rng = np.random.default_rng(0)
    chance = [np.sort(rng.choice(everything, 30, replace=False))[-5:].mean() for _ in range(200)]
    assert np.mean(found) > np.quantile(chance, 0.9)


def test_a_cell_that_is_no_finite_number_spoils_no_other() -> None:
    columns = read_measured({"smiles": ["CCO", "OCC", "CCN"], 0: [2.0, "nan", "inf"]}).columns
    found = columns["0"].measure(["CCO", "CCN"])
    assert found[0].value == 2.0 and found[1].reason == "the score is inf"


def test_demands_are_met(leads: Path) -> None:
    made = suggested(leads, keep="c1ccccc1", filters=["logP<=2.5"])
    for mol in map(Chem.MolFromSmiles, made.smiles):
        assert mol.HasSubstructMatch(Chem.MolFromSmiles("c1ccccc1")) and Crippen.MolLogP(mol) <= 2.5
    assert len(made) == 6
    none = suggested(leads, n=2, filters=["MW<=10"])
    assert len(none) == 0 and "only 0 of 2 molecules" in none.statement and "MW is higher" in none.statement


def test_without_any_value_they_are_draws_from_the_model(tmp_path: Path) -> None:
    made = suggested(write(tmp_path / "plan.csv", [["smiles", "activity"], *([s, ""] for s in LEADS)]))
    assert set(made.columns["source"]) == {"prior"} and made.check is None and len(made.waiting) == len(LEADS)
    assert all(map(math.isnan, made.columns["expected"]))


def test_what_is_expected_is_in_the_column_s_own_unit_and_the_check_is_what_it_says(tmp_path: Path) -> None:
    smiles = [molecule((i, j, k, 1)) for i in range(3) for j in range(3) for k in range(4)]
    weight = [rdMolDescriptors.CalcExactMolWt(Chem.MolFromSmiles(s)) for s in smiles]  # easy: a sum over atoms
    table = {"smiles": smiles, "weight": weight}
    up = suggest(table, n=4, maximise=["weight"], model=FakeModel())
    down = suggest(table, n=4, minimise=["weight"], model=FakeModel())
    for made in (up, down):
        real = [rdMolDescriptors.CalcExactMolWt(Chem.MolFromSmiles(s)) for s in made.smiles]
        assert np.abs(np.subtract(made.columns["expected"], real)).max() < 5 * max(made.columns["sd"])
        assert made.check.of == "weight" and made.check.n == len(smiles)
        assert made.check.error < 0.5 * made.check.error_of_mean and made.check.rank_correlation > 0.9
    assert np.mean(up.columns["expected"]) > np.mean(weight) > np.mean(down.columns["expected"])
    mean_of_others = [(sum(weight) - w) / (len(weight) - 1) for w in weight]
    error_of_mean = np.sqrt(np.mean(np.subtract(mean_of_others, weight) ** 2))
    assert up.check.error_of_mean == pytest.approx(error_of_mean)


def test_a_column_with_the_name_of_an_oracle_is_told() -> None:
    table = {"smiles": LEADS, "logP": [1.0] * len(LEADS), "activity": truth(LEADS)}
    with pytest.raises(ConfigError, match="'logP' is a built-in oracle, which comes before a column of that name"):
        suggest(table, maximise=["logP"], model=FakeModel())
    assert suggest(table, n=1, maximise=["activity"], minimise=["logP"], model=FakeModel()).computed == ["logP"]


def test_the_nearest_molecule_is_the_most_similar_one_with_a_value(leads: Path) -> None:
    made = suggested(leads)
    for one, nearest, similarity in zip(made.smiles, made.columns["nearest"], made.columns["similarity"], strict=True):
        alike = [m.value for m in Similarity(one).measure(LEADS)]
        assert LEADS[int(np.argmax(alike))] == nearest and similarity == pytest.approx(max(alike), abs=1e-4)


def test_columns_and_oracles_make_one_score(leads: Path) -> None:
    made = suggest(leads, n=3, maximise=["2*activity", "QED"], model=FakeModel())
    known = {e.smiles: e for e in made.known}
    for s, value in zip(LEADS, truth(LEADS), strict=True):
        qed = Chem.QED.qed(Chem.MolFromSmiles(s))
        assert known[s].score == pytest.approx((2 * round(value, 4) + qed) / 3)
    assert made.computed == ["QED"]
    assert made.check.of == "score" and "QED" in made.columns and made.columns["activity"] == [None] * 3


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"maximise": ["activty"]}, UnknownName, "columns smiles, activity, and there is no oracle named 'activty'"),
        ({"maximise": ["QED"]}, ConfigError, "nothing that is to be maximised or minimised is a column"),
        ({"maximise": ["activity"], "keep": "[Au]"}, ConfigError, "no molecule of the tables holds"),
        ({"maximise": ["activity"], "filters": ["sain"]}, ConfigError, "Did you mean 'sane'"),
        ({"maximise": ["activity"], "n": 0}, ConfigError, "at least 1"),
    ],
)
def test_wrong_settings_are_told(leads: Path, options: dict[str, Any], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        suggest(leads, model=FakeModel(), **options)
