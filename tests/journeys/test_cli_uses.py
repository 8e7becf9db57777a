"""The uses of latents as their users meet them on the command line, and every mistake in a sentence."""

import csv
import io
import math
from pathlib import Path

import pytest
from conftest import EXAMPLE
from drugs import SMILES
from rdkit import Chem
from rdkit.Chem import Crippen

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


def test_molecules_are_packed_and_unpacked(molvae, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text(
        "id,smiles\n" + "".join(f"{i},{text}\n" for i, text in enumerate([*SMILES[:9], "C1CC"]))
    )
    code, out, err = molvae("compress", "some.csv", "-o", "some.packed", "--model", tiny_model)
    assert (code, out) == (0, ""), err
    assert "10 molecules in some.packed" in err and "1 of them as text" in err
    code, out, err = molvae("decompress", "some.packed")
    assert code == 0, err
    assert [row["smiles"] for row in rows(out)] == [*map(Chem.CanonSmiles, SMILES[:9]), "C1CC"]
    assert molvae("decompress", "some.packed", "-o", "again.smi").code == 0
    assert (tmp_path / "again.smi").read_text().split() == [row["smiles"] for row in rows(out)]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("ood", "fit", "nowhere.smi", "-o", "d"), 1, "no file nowhere.smi"),
        (("ood", "fit", "few.smi", "-o", "d", "--model", "TINY"), 1, "of the 3 given, 3 can be encoded"),
        (("ood", "fit", EXAMPLE, "-o", "d", "--model", "TINY", "-k", "500"), 2, "k is 500"),
        (("ood", "fit", EXAMPLE, "-o", "few.smi", "--model", "TINY"), 1, "cannot write to few.smi"),
        (("ood", "score", "nowhere", "few.smi"), 1, "no detector in nowhere"),
        (("ood", "score", "DETECTOR", "nowhere.smi"), 1, "no file nowhere.smi"),
        (("ood", "score", "DETECTOR", "few.smi", "-o", "scores.xlsx"), 2, "scores.xlsx has no known ending"),
        (("ood", "score", "DETECTOR", "few.smi", "--model", "zinc250k"), 1, "fitted with other weights than zinc250k has"),
        (("compress", "nowhere.smi", "-o", "packed"), 1, "no file nowhere.smi"),
        (("compress", "few.smi", "-o", "few.smi/packed", "--model", "TINY"), 1, "cannot write few.smi/packed"),
        (
            ("probe", "few.csv", "--target", "loqP"),
            1,
            "no column 'loqP' in few.csv (has: smiles, logP, name, none). Did you mean 'logP'?",
        ),
        (("probe", "few.csv", "--target", "logP", "--model", "TINY"), 1, "only 3 molecules have a value and can be encoded"),
        (("probe", "few.csv", "--target", "smiles"), 1, "no row of few.csv has a molecule and a number in 'smiles'"),
        (("probe", "few.csv", "--target", "logP", "--split", "x", "--model", "TINY"), 2, "no split 'x'"),
        (("probe", "few.csv", "--target", "logP", "-o", "figures.xlsx"), 2, "the figures are written as CSV"),
        (("probe", "few.smi", "--target", "logP"), 2, "few.smi has no columns with names"),
        (("map", "few.smi", "-o", "map.pdf"), 2, "a map is a .png or an .html file"),
        (
            ("map", "few.smi", "-o", "map.png", "--color", "loqP"),
            2,
            "no property or column 'loqP' to colour by. Did you mean 'logP'",
        ),
        (("map", "few.smi", "-o", "map.png", "--method", "umap", "--model", "TINY"), 2, "no method 'umap'"),
        (("map", "few.smi", "-o", "map.png", "--model", "TINY"), 1, "of the 3 given, 3 can be encoded"),
        (("augment", "nowhere.csv", "--label-col", "y"), 1, "no file nowhere.csv"),
        (("augment", "few.smi", "--label-col", "y"), 2, "few.smi has no columns with names"),
        (("augment", "few.csv", "--label-col", "loqP"), 1, "Did you mean 'logP'? Name it with --label-col"),
        (("augment", "few.csv", "--label-col", "smiles"), 2, "'smiles' is a column of what is written"),
        (("augment", "upper.csv", "--label-col", "SMILES"), 2, "the column 'SMILES' of upper.csv holds the molecules"),
        (("augment", "few.csv", "--label-col", "logP", "-o", "more.smi"), 2, "more.smi has no room for labels"),
        (("augment", "few.csv", "--label-col", "logP", "-o", "more.xlsx"), 2, "more.xlsx has no known ending"),
        (("augment", "few.csv", "--label-col", "logP", "--hold-out", "nowhere.smi"), 1, "no file nowhere.smi"),
        (("augment", "few.csv", "--label-col", "logP", "--similarity", "2", "--model", "TINY"), 2, "similarity 2.0"),
        (("augment", "few.csv", "--label-col", "name", "--shrink", "1", "--model", "TINY"), 2, "only numbers can be shrunk"),
        (
            ("augment", "few.csv", "--label-col", "none", "--model", "TINY"),
            1,
            "none of the 3 rows has a molecule and a label",
        ),
        (
            ("augment", "few.csv", "--label-col", "logP", "--similarity", "0.999", "--model", "TINY"),
            1,
            "no molecule with a similarity of 0.999 was found near any input",
        ),
        (("disentangle", "nowhere", "--data", "few.smi"), 1, "no checkpoint 'nowhere'"),
        (("disentangle", "TINY", "--data", "nowhere.smi"), 1, "no file nowhere.smi"),
        (
            ("disentangle", "TINY", "--data", "few.smi"),
            1,
            "200 molecules or more are needed; of the 3 given, 3 can be encoded",
        ),
        (("disentangle", "TINY", "--data", "few.smi", "-o", "figures.xlsx"), 2, "the figures are written as CSV"),
        (("disentangle", "TINY", "--data", "few.smi", "--properties", "logP,loqP"), 2, "Did you mean 'logP'"),
        (("disentangle", "TINY", "--data", "few.smi", "--properties", "logP"), 2, "give two properties or more"),
        (("disentangle", "TINY", "--data", "few.smi", "--importance", "x"), 2, "no importance 'x'"),
        (("decompress", "nowhere"), 1, "cannot read nowhere"),
        (("decompress", "few.smi"), 1, "few.smi was not written by `molvae compress`"),
        (("decompress", "few.smi", "-o", "new.xlsx"), 2, "new.xlsx has no known ending"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_sentence(
    molvae, tiny_model: Path, detector: Path, tmp_path: Path, arguments: tuple[object, ...], code: int, sentence: str
) -> None:
    (tmp_path / "few.smi").write_text("\n".join(SMILES[:3]) + "\n")
    (tmp_path / "few.csv").write_text(
        "smiles,logP,name,none\n" + "".join(f"{s},{i},m{i},\n" for i, s in enumerate(SMILES[:3]))
    )
    (tmp_path / "upper.csv").write_text("SMILES,logP\nCCO,1\n")
    named = {"TINY": tiny_model, "DETECTOR": detector}
    found, out, err = molvae(*(named.get(a, a) if isinstance(a, str) else a for a in arguments))
    assert (found, out) == (code, ""), err
    assert sentence in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_property_is_probed(molvae, tiny_model: Path, tmp_path: Path) -> None:
    values = [Crippen.MolLogP(Chem.MolFromSmiles(text)) for text in SMILES]
    lines = [f"{text},{value}" for text, value in zip(SMILES, values, strict=True)]
    (tmp_path / "table.csv").write_text("\n".join(["smiles,logP", *lines, "C1CC,1", "CCO,"]) + "\n")
    command = (
        "probe",
        "table.csv",
        "--target",
        "logP",
        "--seeds",
        2,
        "--gp-rows",
        30,
        "--split",
        "random",
        "--model",
        tiny_model,
    )
    code, out, err = molvae(*command, "-o", "figures.csv")
    assert code == 0, err
    table = [line.split() for line in out.splitlines()]
    assert [line[1:3] for line in table[1:3]] == [["mean", "-"], ["latents", "ridge"]]
    assert len(table) == 8
    assert "1 rows left out: not a valid SMILES" in err and "1 rows left out: no number in the target's column" in err
    found = rows((tmp_path / "figures.csv").read_text())
    assert len(found) == 14
    # What is printed is the mean over the seeds.
    latents = [float(row["r2"]) for row in found if (row["representation"], row["regressor"]) == ("latents", "ridge")]
    assert float(table[2][4]) == pytest.approx(sum(latents) / 2, abs=6e-4)


def test_a_map_as_a_picture_and_as_a_page(molvae, tiny_model: Path, tmp_path: Path) -> None:
    lines = [f"{text},{i},m{i}" for i, text in enumerate(SMILES[:20])]
    (tmp_path / "table.csv").write_text("\n".join(["smiles,activity,id", *lines, "C1CC,1,broken"]) + "\n")
    code, out, err = molvae("map", "table.csv", "--color", "QED", "-o", "map.png", "--model", tiny_model)
    assert (code, out) == (0, ""), err
    assert "20 molecules in map.png; PC 1" in err and "1 of 21 left out: not a valid SMILES" in err
    assert (tmp_path / "map.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert molvae("map", "table.csv", "--color", "activity", "-o", "map.html", "--model", tiny_model).code == 0
    page = (tmp_path / "map.html").read_text()
    assert '"ids":["m0","m1"' in page and '"values":[0.0,1.0,2.0' in page


def test_a_small_set_is_augmented(molvae, tmp_path: Path) -> None:
    lines = [f"{text},{('active', 'inactive')[i % 2]}" for i, text in enumerate(SMILES[:15])]
    (tmp_path / "table.csv").write_text("\n".join(["SMILES,class", *lines, "C1CC,active", "CCO,"]) + "\n")
    command = ("augment", "table.csv", "--label-col", "class", "-n", 2, "--similarity", "0.4")
    code, out, err = molvae(*command)
    assert code == 0, err
    found = rows(out)
    assert list(found[0]) == ["smiles", "class", "parent", "similarity", "source"]
    own = {row["smiles"]: row["class"] for row in found if row["source"] == "input"}
    assert own == {Chem.CanonSmiles(text): ("active", "inactive")[i % 2] for i, text in enumerate(SMILES[:15])}
    new = [row for row in found if row["source"] == "latent"]
    assert new and all(row["class"] == own[row["parent"]] and 0.4 <= float(row["similarity"]) <= 1 for row in new)
    assert not {row["smiles"] for row in new} & set(own)
    assert f"15 molecules and {len(new)} neighbours" in err
    assert "1 rows left out: not a valid SMILES" in err and "1 rows left out: no label" in err
    # A held-out molecule is nobody's neighbour; one that is in both files is told.
    (tmp_path / "test.smi").write_text(f"{new[0]['smiles']}\n{SMILES[4]}\nC1CC\n")
    code, out, err = molvae(*command, "--hold-out", "test.smi", "-o", "more.tsv")
    assert (code, out) == (0, ""), err
    assert "1 molecules of table.csv are in test.smi, too" in err
    assert "1 rows of test.smi are no valid SMILES" in err
    written = list(csv.DictReader((tmp_path / "more.tsv").open(), delimiter="\t"))
    assert new[0]["smiles"] not in {row["smiles"] for row in written} and len(written) > 15


def test_numbers_stay_numbers(molvae, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("smiles,y\n" + "".join(f"{text},{i}\n" for i, text in enumerate(SMILES[:15])))
    command = ("augment", "table.csv", "--label-col", "y", "-n", 1, "--similarity", "0.4")
    code, out, err = molvae(*command, "--shrink", 1)
    assert code == 0, err
    shrunk = [row for row in rows(out) if row["source"] == "latent"]
    for row in shrunk:
        parent = [Chem.CanonSmiles(text) for text in SMILES[:15]].index(row["parent"])
        assert float(row["y"]) == pytest.approx(7 + float(row["similarity"]) * (parent - 7), abs=1e-3)
    assert shrunk and [row["y"] for row in rows(out) if row["source"] == "input"] == [str(i) for i in range(15)]


def test_disentanglement_is_measured(molvae, tmp_path: Path) -> None:
    # Two hundred molecules or more are asked for: the drugs, and the same with a longer beginning.
    some = [f"{beginning}{text}" for beginning in ("", "C", "CC") for text in SMILES]
    (tmp_path / "drugs.smi").write_text("\n".join(["C1CC", *some]) + "\n")
    command = ("disentangle", "zinc250k", "--data", "drugs.smi", "--properties", "logP,rings,MW", "--rotations", 1)
    code, out, err = molvae(*command, "-o", "figures.csv")
    assert code == 0, err
    assert "3 properties." in err and "left out: not a valid SMILES" in err
    header, *table = [line.split() for line in out.splitlines()]
    assert header[-4:] == ["MIG", "disentanglement", "completeness", "R2"]
    assert [line[0] for line in table] == ["latents", "pca", "rotation", "ecfp4"]
    found = rows((tmp_path / "figures.csv").read_text())
    assert [(row["representation"], row["property"]) for row in found] == [
        (name, p) for name in ("latents", "pca", "rotation 1", "ecfp4 pca") for p in ("logP", "rings", "MW")
    ]
    for line, name in zip(table, ("latents", "pca", "rotation 1", "ecfp4 pca"), strict=True):
        of = [row for row in found if row["representation"] == name]
        for i, column in zip((-4, -3, -2, -1), ("mig", "disentanglement", "completeness", "r2"), strict=True):
            assert float(line[i]) == pytest.approx(sum(float(row[column]) for row in of) / 3, abs=6e-4)
