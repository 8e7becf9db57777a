"""`molvae ood` as its users meet it, and every mistake in a sentence."""

import csv
import io
import math
from pathlib import Path

import pytest
from conftest import EXAMPLE
from drugs import SMILES

METHODS = ("mahalanobis", "knn", "nll_per_token", "typicality")


@pytest.fixture(scope="module")
def detector(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector fitted by the command line. Do not write to it."""
    from molvae.cli import main

    folder = tmp_path_factory.mktemp("detectors") / "tiny"
    with pytest.raises(SystemExit) as end:
        main(["ood", "fit", str(EXAMPLE), "-o", str(folder), "--model", str(tiny_model)])
    assert not end.value.code
    return folder


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_ood_scores_with_p_values_and_reasons(molvae, detector: Path, tmp_path: Path) -> None:
    (tmp_path / "new.smi").write_text(f"{SMILES[0]} known\nnot-a-molecule nonsense\nCCO.Cl salt\n")
    code, out, err = molvae("ood", "score", detector, "new.smi")
    assert code == 0, err
    known, nonsense, salt = rows(out)
    assert (known["id"], nonsense["id"], salt["id"]) == ("known", "nonsense", "salt")
    for method in METHODS:
        assert float(known[method]) >= 0 and 0 < float(known[f"{method}_p"]) <= 1
        assert math.isnan(float(nonsense[method] or "nan")) and salt[f"{method}_p"] == ""
    assert known["reason"] == "" and nonsense["reason"] == "not a valid SMILES" and "several fragments" in salt["reason"]
    assert "of 1: mahalanobis" in err and "1 of 3 without a score: not a valid SMILES" in err
    # The same in a file.
    assert molvae("ood", "score", detector, "new.smi", "-o", "scores.csv").code == 0
    assert (tmp_path / "scores.csv").read_text() == out


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("ood", "fit", "nowhere.smi", "-o", "d"), 1, "no file nowhere.smi"),
        (("ood", "fit", "few.smi", "-o", "d", "--model", "TINY"), 1, "only 3 of the 3 reference molecules can be encoded"),
        (("ood", "fit", EXAMPLE, "-o", "d", "--model", "TINY", "-k", "500"), 2, "k is 500"),
        (("ood", "fit", EXAMPLE, "-o", "few.smi", "--model", "TINY"), 1, "cannot write to few.smi"),
        (("ood", "score", "nowhere", "few.smi"), 1, "no detector in nowhere"),
        (("ood", "score", "DETECTOR", "nowhere.smi"), 1, "no file nowhere.smi"),
        (("ood", "score", "DETECTOR", "few.smi", "-o", "scores.xlsx"), 2, "scores.xlsx has no known ending"),
        (("ood", "score", "DETECTOR", "few.smi", "--model", "zinc250k"), 1, "fitted with other weights than zinc250k has"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_sentence(
    molvae, tiny_model: Path, detector: Path, tmp_path: Path, arguments: tuple[object, ...], code: int, sentence: str
) -> None:
    (tmp_path / "few.smi").write_text("\n".join(SMILES[:3]) + "\n")
    named = {"TINY": tiny_model, "DETECTOR": detector}
    found, out, err = molvae(*(named.get(a, a) if isinstance(a, str) else a for a in arguments))
    assert (found, out) == (code, ""), err
    assert sentence in err.splitlines()[-1]
    assert "Traceback" not in err
