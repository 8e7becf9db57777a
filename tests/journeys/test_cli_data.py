"""From anyone's file to a data set to a model, and public data: `molvae prepare`, `molvae data`, `molvae train`."""

import gzip
import hashlib
import json
from pathlib import Path

import pandas
import pytest
from conftest import EXAMPLE, TINY
from rdkit import Chem

from molvae.config import to_toml
from molvae.data import fetching
from molvae.data.fetching import RemoteData, RemoteFile

HERE = ("--workers", "0")


def test_prepare_says_what_it_understood_and_what_it_did(molvae, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "in.csv.gz", "wt") as stream:
        stream.write("id;structure;pIC50\n")
        stream.writelines(f"{i};{line.split()[0]};7\n" for i, line in enumerate(EXAMPLE.open()))
        stream.write("x;C1CC;5\ny;CCO.Cl;5\nz;OCC;5\n")
    code, out, err = molvae("prepare", "in.csv.gz", "-o", "data", "--words", 20, "--workers", 1)
    assert (code, out) == (0, ""), err
    assert err.splitlines()[0] == (
        "in.csv.gz: columns separated by semicolon, with a header, SMILES in column 2 of 3 ('structure')."
    )
    frame = pandas.read_parquet(tmp_path / "data" / "molecules.parquet")
    assert f"{len(frame)} molecules of 127 rows" in err
    assert "1 rejected: not a valid SMILES" in err and "molvae train data -o run" in err
    counts = frame["split"].value_counts()
    assert f"train {counts['train']}, validation {counts['validation']}, test {counts['test']}." in err
    assert Chem.CanonSmiles("CCO") in set(frame["smiles"])


def test_options_reach_the_data_set(molvae, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("smiles,product\nC,CC(=O)[O-]\nCC,C/C=C/C\nCCC,CCO\nCCCC,CCN\n")
    (tmp_path / "split.json").write_text('{"validation": [2], "test": [3]}')
    options = ("--smiles-col", "product", "--neutralise", "--stereo", "drop", "--split", "split.json", "--words", 0, *HERE)
    code, _, err = molvae("prepare", "in.csv", "-o", "data", *options)
    assert code == 0, err
    frame = pandas.read_parquet(tmp_path / "data" / "molecules.parquet")
    assert frame["smiles"].tolist() == ["CC(=O)O", "CC=CC", "CCO", "CCN"]
    assert frame["split"].tolist() == ["train", "train", "validation", "test"]
    options = ("--tautomer", "--dedup", "none", "--split", "scaffold", "--validation", "in.csv", "--test", 0, "--spelling")
    (tmp_path / "main.smi").write_text("Oc1ccccn1\nOc1ccccn1\nc1ccccc1CC\n")
    code, _, err = molvae("prepare", "main.smi", "-o", "other", *options, "selfies", "--words", 0, "--seed", 3, *HERE)
    assert code == 0, err
    frame = pandas.read_parquet(tmp_path / "other" / "molecules.parquet")
    assert frame["smiles"].tolist() == ["O=c1cccc[nH]1"] * 2 + ["CCc1ccccc1", "C", "CC", "CCC", "CCCC"]
    assert frame["split"].tolist() == ["train"] * 3 + ["validation"] * 4
    card = json.loads((tmp_path / "other" / "dataset.json").read_text())
    assert card["options"]["seed"] == 3 and card["options"]["spelling"] == "selfies"


@pytest.mark.parametrize(
    ("name", "content", "options", "code", "message"),
    [
        ("blank.smi", b"\n" * 1_000_000, (), 1, "holds no molecules"),
        ("torn.smi.gz", gzip.compress(b"CCO\nCCN\n" * 1000, mtime=0)[:-9], (), 1, "is not a whole gzip file"),
        ("mixed.csv", b"smiles,id\nCCO,1\nCCN;2\n", (), 1, "mixes separators"),
        ("names.csv", b"name\nasprin\ncaffeine\n", (), 1, "looks like SMILES"),
        ("column.csv", b"smiles,id\nCCO,1\nCCN,2\n", ("--smiles-col", "smile"), 1, "no column 'smile'"),
        ("absent.csv", None, (), 1, "no file"),
        ("table.xlsx", b"", (), 2, "no known ending"),
        ("in.smi", b"CCO\nCCN\n", ("--split", "scafold"), 2, "Did you mean 'scaffold'"),
        ("in.smi", b"CCO\nCCN\n", ("--validation", "0.7", "--test", "0.4"), 2, "must be shares"),
        ("in.smi", b"CCO\nCCN\n", ("--validation", "absent.smi"), 1, "no file absent.smi"),
        ("in.smi", b"CCO\nCCN\n", ("--validation", "in.smi"), 1, "the parts of the split overlap: CCO"),
    ],
)
def test_bad_input_is_a_sentence(molvae, tmp_path: Path, name, content, options, code, message) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    found, out, err = molvae("prepare", name, "-o", "data", *options, *HERE)
    assert (found, out) == (code, "")
    assert message in err.splitlines()[-1] and err.splitlines()[-1].startswith("molvae: ")
    assert "Traceback" not in err


def test_a_column_of_names_that_parse_is_warned_about(molvae, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("CO,CCCO\nI,CCCCN\nCN,c1ccccc1O\n")
    code, _, err = molvae("prepare", "in.csv", "-o", "data", "--words", 0, "--split", "none", *HERE)
    assert code == 0, err
    assert "column '1' parses as SMILES too; '2' is read" in err
    assert len(pandas.read_parquet(tmp_path / "data" / "molecules.parquet")) == 3


def test_train_on_a_prepared_data_set(molvae, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("molvae.training.experiment.FITTED", ("gaussian",))  # a learned prior takes longer than all the rest
    options = ("--words", 20, "--validation", 0.1, "--test", 0.1)
    assert molvae("prepare", EXAMPLE, "-o", "data", *options, *HERE)[0] == 0
    frame = pandas.read_parquet(tmp_path / "data" / "molecules.parquet")
    model = TINY["model"] | {"kl_weight": "fixed", "kl_settings": {"beta": 0.001}}  # so that few molecules are enough
    (tmp_path / "tiny.toml").write_text(to_toml({"model": model, "training": TINY["training"]}))
    train = ("train", "data", "-o", "run", "-c", "tiny.toml", "--device", "cpu", "--set", "training.molecules=2560")
    code, _, err = molvae(*train, *HERE)
    assert code == 0, err
    card = json.loads((tmp_path / "run" / "checkpoint" / "card.json").read_text())
    counts = frame["split"].value_counts()
    assert (card["data"]["rows"], card["data"]["held_out"]) == (counts["train"], counts["validation"])
    assert card["data"]["source"] == "example.smi, prepared"
    assert card["data"]["sha256"] == hashlib.sha256((tmp_path / "data" / "dataset.json").read_bytes()).hexdigest()
    stored = json.loads((tmp_path / "run" / "tokens.json").read_text())["smiles"]
    assert set(stored) == set(frame.loc[frame["split"] != "test", "smiles"]), "the test part is not in the run"
    # Words are part of the data set, and a data set that has changed is not trained on.
    code, _, err = molvae("train", "data", "-o", "other", "--set", "data.words=30", *HERE)
    assert code == 2 and "was prepared with 20" in err.splitlines()[-1]
    with (tmp_path / "data" / "vocabulary.json").open("a") as stream:
        stream.write("\n")
    code, _, err = molvae("train", "data", "-o", "other", *HERE)
    assert code == 1 and "vocabulary.json is missing, damaged or changed" in err.splitlines()[-1]
    code, _, err = molvae("train", "run", "-o", "other", *HERE)
    assert code == 1 and "run is not a prepared data set" in err.splitlines()[-1]


def test_a_data_set_of_another_version_is_refused(molvae, tmp_path: Path) -> None:
    assert molvae("prepare", EXAMPLE, "-o", "data", "--words", 0, *HERE)[0] == 0
    path = tmp_path / "data" / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99, "molvae": "9.0"}))
    code, _, err = molvae("train", "data", "-o", "run", *HERE)
    assert code == 1
    assert "is a data set of format 99, made by molvae 9.0" in err.splitlines()[-1]


# -- public data


def test_data_list_names_what_can_be_fetched(molvae, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MOLVAE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "moses").mkdir(parents=True)
    (tmp_path / "cache" / "moses" / "test.csv").write_text("")
    code, out, _ = molvae("data", "list")
    assert code == 0
    table = {line.split()[0]: line for line in out.splitlines()[1:]}
    assert list(table) == ["zinc250k", "moses", "guacamol"]
    assert "1 of 3" in table["moses"] and "0 of 1" in table["zinc250k"]


def test_data_fetch_prints_the_paths_of_checked_files(molvae, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = b"smiles\nCCO\n"
    file = RemoteFile("toy.csv", "http://127.0.0.1:9/", ("sha256", hashlib.sha256(content).hexdigest()))
    monkeypatch.setitem(fetching.CATALOGUE, "toy", RemoteData("a toy", "none", (file,)))
    monkeypatch.setenv("MOLVAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MOLVAE_OFFLINE", "1")
    code, out, err = molvae("data", "fetch", "toy")
    assert (code, out) == (1, "") and "MOLVAE_OFFLINE is set" in err
    (tmp_path / "copy.csv").write_bytes(content)
    code, out, err = molvae("data", "fetch", "toy", "--from-file", "copy.csv")
    assert code == 0, err
    assert out == f"{tmp_path}/cache/toy/toy.csv\n"
    assert molvae("data", "fetch", "toy")[1] == out, "what is there needs no connection"
    (tmp_path / "copy.csv").write_bytes(content[:-1])
    code, out, err = molvae("data", "fetch", "toy", "--from-file", "copy.csv")
    assert (code, out) == (1, "") and "is not toy.csv as published" in err
    code, out, err = molvae("data", "fetch", "zinc25k")
    assert code == 2 and "Did you mean 'zinc250k'?" in err
