"""`molvae evaluate` as its users meet it: a library beside a training and a test set, a model, and every mistake."""

import gzip
import json
import re
from pathlib import Path

import pytest
from conftest import EXAMPLE
from drugs import SMILES

from molvae.evaluation.scorecard import MEASURES

HERE = ("--workers", "0", "--device", "cpu")
QUICK = ("--no-fcd", *HERE)


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    """A library, its training molecules, and test molecules, in the directory of the command."""
    (tmp_path / "library.smi").write_text("\n".join([*SMILES[:20], SMILES[0], "C1CC"]) + "\n")
    (tmp_path / "train.csv").write_text("id,smiles\n" + "".join(f"{i},{text}\n" for i, text in enumerate(SMILES[10:40])))
    (tmp_path / "test.smi").write_text("\n".join(SMILES[40:60]) + "\n")


def figures(table: str) -> dict[str, str]:
    """Name -> value, as printed."""
    return dict(line.split(maxsplit=2)[:2] for line in table.splitlines()[1:])


def test_a_library_beside_a_training_and_a_test_set(molvae, tmp_path: Path) -> None:
    files = ("library.smi", "--reference", "train.csv", "--test", "test.smi")
    code, out, err = molvae("evaluate", *files, *QUICK)
    assert code == 0, err
    found = figures(out)
    # 22 rows: one invalid, one twice; 10 of the 20 distinct ones are in the training file.
    assert (found["valid"], found["unique"], found["novel"]) == ("0.9545", "0.9524", "0.5000")
    assert found["fcd"] == found["faithful"] == "-"
    assert "not asked for" in out
    assert re.search(r"^ +\d+ of 22 not sane: ", err, re.MULTILINE)
    # The same as JSON, on stdout and in a file, and a picture.
    code, out, err = molvae("evaluate", *files, *QUICK, "--json", "-o", "card.json", "--plot", "properties.png")
    assert code == 0, err
    card = json.loads(out)
    assert json.loads((tmp_path / "card.json").read_text()) == card
    assert list(card["values"]) == list(found)
    assert card["values"]["novel"] == 0.5
    assert card["values"]["fcd"] is None and card["reasons"]["fcd"] == "not asked for"
    assert (card["about"]["library"], card["about"]["reference"]) == (22, 30)
    assert (tmp_path / "properties.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_fcd_is_measured_if_it_can_be_and_warned_of(molvae, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fcd", reason="the optional package fcd is not installed")
    code, out, err = molvae("evaluate", "library.smi", "--reference", "train.csv", *HERE)
    assert code == 0, err
    assert float(figures(out)["fcd"]) > 0
    assert "FCD of 21 against 30 molecules: below 5000 the bias of the distance dominates" in err
    monkeypatch.setitem(__import__("sys").modules, "fcd", None)
    code, out, err = molvae("evaluate", "library.smi", "--reference", "train.csv", *HERE)
    assert code == 0, err
    assert figures(out)["fcd"] == "-"
    assert "pip install 'molvae[fcd]'" in out


def test_a_model_is_measured_by_its_samples_and_its_reconstruction(molvae, tiny_model: Path) -> None:
    code, out, err = molvae("evaluate", tiny_model, "--test", EXAMPLE, "-n", 50, *QUICK)
    assert code == 0, err
    found = figures(out)
    assert set(found) == set(MEASURES)
    assert float(found["valid"]) > 0.9
    assert 0 <= float(found["faithful"]) <= float(found["valid"])
    assert float(found["rate"]) > 1
    assert 1 <= float(found["active_units"]) <= 8
    # `reconstruct` counts the same thing on its own way.
    err = molvae("reconstruct", EXAMPLE, "--model", tiny_model, "--beams", 0)[2]
    expected = re.search(r"(\d+) of 124 came back exactly", err)
    assert float(found["exact_mean"]) == pytest.approx(int(expected.group(1)) / 124, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("nowhere.smi",), 1, "no file nowhere.smi"),
        (("library.smi", "--reference", "nowhere.csv"), 1, "no file nowhere.csv"),
        (("library.smi", "--reference", "blank.smi"), 1, "blank.smi holds no molecules"),
        (("blank.smi",), 1, "blank.smi holds no molecules"),
        (("cut.smi.gz",), 1, "cut.smi.gz is not a whole gzip file"),
        (("names.smi", "--reference", "train.csv"), 1, "none of the 2 rows of the library is a valid SMILES"),
        (("train.csv", "--smiles-col", "structure"), 1, "no column 'structure' in train.csv (has: id, smiles)"),
        (("no-such-model", "--test", "library.smi"), 1, "no-such-model"),
        (("library.smi", "--sample", "1"), 2, "need at least 2 molecules"),
        (("library.smi", "--plot", "plot.pdf"), 2, "the plot is a PNG file"),
        (("library.smi", "-o", "card.csv"), 2, "the figures are written as JSON"),
        (("library.smi", "--device", "tpu", "--reference", "train.csv"), 2, "no device 'tpu'"),
        (("library.smi", "--workers", "-1"), 2, "workers is -1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_sentence(molvae, tmp_path: Path, arguments: tuple[str, ...], code: int, sentence: str) -> None:
    (tmp_path / "blank.smi").write_text("\n" * 100_000)
    (tmp_path / "names.smi").write_text("aspirin\nibuprofen\n")
    whole = gzip.compress("\n".join(SMILES).encode())
    (tmp_path / "cut.smi.gz").write_bytes(whole[: len(whole) // 2])
    found, out, err = molvae("evaluate", *arguments)
    assert (found, out) == (code, ""), err
    assert sentence in err.splitlines()[-1]
    assert "Traceback" not in err
