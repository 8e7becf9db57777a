"""prepare(): nothing lost, nothing silent, the same bytes for any number of workers, and bad input refused in a sentence."""

import csv
import gzip
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pandas
import pytest
from drugs import SMILES
from rdkit import Chem
from rdkit.Chem import Crippen
from rdkit.Chem.Scaffolds import MurckoScaffold

import molvae
from molvae.chem import canonical
from molvae.data.building import PrepareSettings, prepare
from molvae.data.derivation import count_elements
from molvae.data.files import Dataset, open_dataset
from molvae.data.rows import Seen
from molvae.data.tables import write_table
from molvae.errors import ConfigError, DataError, RunError

FILES = ["dataset.json", "molecules.parquet", "rejected.csv", "vocabulary.json"]


def written(path: Path, smiles: list[str]) -> Path:
    path.write_text("".join(f"{text}\n" for text in smiles))
    return path


def rejects(dataset: Dataset) -> list[tuple[int, str, str]]:
    with (dataset.folder / "rejected.csv").open(newline="") as stream:
        return [(int(row["line"]), row["input"], row["reason"]) for row in csv.DictReader(stream)]


def parts(dataset: Dataset) -> dict[str, set[str]]:
    return {name: set(dataset.read([name]).smiles) for name in ("train", "validation", "test")}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("prepared")
    return prepare(written(folder / "drugs.smi", SMILES), folder / "out", validation=0.1, test=0.2, words=40)


# -- what is written


def test_every_molecule_is_there_and_its_tokens_say_it(dataset: Dataset) -> None:
    frame = pandas.read_parquet(dataset.folder / "molecules.parquet")
    distinct = list(dict.fromkeys(canonical(s) for s in SMILES))
    assert frame["smiles"].tolist() == distinct
    assert [canonical(SMILES[row]) for row in frame["row"]] == distinct
    for smiles, tokens in zip(frame["smiles"], frame["tokens"], strict=True):
        assert dataset.vocabulary.decode(tokens.tolist()).smiles == smiles
    assert Counter(frame["split"]) == {
        "train": len(distinct) - round(0.1 * len(distinct)) - round(0.2 * len(distinct)),
        "validation": round(0.1 * len(distinct)),
        "test": round(0.2 * len(distinct)),
    }
    assert sorted(p.name for p in dataset.folder.iterdir()) == FILES


def test_the_card_counts_what_is_there(dataset: Dataset) -> None:
    card = dataset.card
    frame = pandas.read_parquet(dataset.folder / "molecules.parquet")
    mols = [Chem.MolFromSmiles(s) for s in frame["smiles"]]
    assert card["rows"] == len(SMILES) and card["molecules"] == len(dataset) == len(frame)
    assert card["rejected"] == ({"a duplicate of an earlier row": n} if (n := len(SMILES) - len(frame)) else {})
    lengths = frame["tokens"].map(len)
    statistics = card["statistics"]
    assert statistics["tokens_a_molecule"]["mean"] == pytest.approx(lengths.mean(), abs=1e-3)
    assert statistics["tokens_a_molecule"]["sd"] == pytest.approx(lengths.std(ddof=0), abs=1e-3)
    assert statistics["tokens_a_molecule"]["histogram"] == np.bincount(lengths).tolist()
    assert sum(statistics["tokens"].values()) == lengths.sum()
    assert statistics["elements"] == Counter(atom.GetSymbol() for mol in mols for atom in mol.GetAtoms())
    logp = [Crippen.MolLogP(mol) for mol in mols]
    assert statistics["properties"]["measured"] == len(frame)
    assert statistics["properties"]["logP"]["mean"] == pytest.approx(np.mean(logp), abs=1e-3)
    assert statistics["properties"]["logP"]["median"] == pytest.approx(np.median(logp), abs=1e-3)


def test_the_same_bytes_for_any_number_of_workers(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("molvae.data.rows.CHUNK", 7)
    monkeypatch.setattr("molvae.data.encoding.SEGMENTED", 11)
    again = prepare(dataset.folder.parent / "drugs.smi", tmp_path / "out", validation=0.1, test=0.2, words=40, workers=1)
    for name in FILES:
        assert (again.folder / name).read_bytes() == (dataset.folder / name).read_bytes(), name


def test_small_row_groups_hold_the_same(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("molvae.data.encoding.GROUP", 10)
    monkeypatch.setattr("molvae.data.encoding.SEGMENTED", 4)
    monkeypatch.setattr("molvae.data.rows.CHUNK", 3)
    monkeypatch.setattr("molvae.data.rows.SPILLED", 8)
    again = prepare(dataset.folder.parent / "drugs.smi", tmp_path / "out", validation=0.1, test=0.2, words=40)
    expected, found = dataset.read(["train"]), again.read(["train"])
    assert found.smiles == expected.smiles
    for name in ("row", "ids", "offsets", "split"):
        assert (getattr(found, name) == getattr(expected, name)).all()


def test_the_public_verb_has_the_same_defaults() -> None:
    assert molvae.prepare is prepare
    defaults = prepare.__kwdefaults__
    assert PrepareSettings(**{key: defaults[key] for key in PrepareSettings.__dataclass_fields__}) == PrepareSettings()


# -- rejects and duplicates


def test_rejects_say_line_input_and_reason(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text('id,smiles\na,CCO\nb,C1CC\n\n"c\nd",OCC\ne,\nf,CC*\ng,CCN\n')
    found = prepare(path, tmp_path / "out", split="none", words=0)
    assert found.read(["train"]).smiles == ["CCO", "CCN"]
    assert found.read(["train"]).row.tolist() == [0, 5], "rows are those of a table without its blank lines"
    assert [(line, text) for line, text, _ in rejects(found)] == [(3, "C1CC"), (6, "OCC"), (7, ""), (8, "CC*")]
    reasons = [reason for _, _, reason in rejects(found)]
    assert reasons[:3] == ["not a valid SMILES", "a duplicate of an earlier row", "no SMILES in this row"]
    assert "SELFIES cannot say it" in reasons[3]


def test_too_many_tokens_are_a_reject_of_the_second_pass_in_its_place(tmp_path: Path) -> None:
    chain = "".join(["CN", "CO", "CS"][i % 3] for i in range(100))
    path = written(tmp_path / "in.smi", ["CCO", chain, "C1CC", "CCN"])
    found = prepare(path, tmp_path / "out", split="none", words=0)
    assert [line for line, _, _ in rejects(found)] == [2, 3]
    assert "more than the 127" in rejects(found)[0][2]
    assert found.card["molecules"] == 2 and found.card["statistics"]["elements"] == {"C": 4, "O": 1, "N": 1}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["C/C=C/C", "C/C=C\\C", "CC(=O)[O-]", "CC(=O)O", "O=c1cccc[nH]1", "Oc1ccccn1"]),
        ({"stereo": "drop"}, ["CC=CC", "CC(=O)[O-]", "CC(=O)O", "O=c1cccc[nH]1", "Oc1ccccn1"]),
        ({"neutralise": True}, ["C/C=C/C", "C/C=C\\C", "CC(=O)O", "O=c1cccc[nH]1", "Oc1ccccn1"]),
        ({"tautomer": True}, ["C/C=C/C", "C/C=C\\C", "CC(=O)[O-]", "CC(=O)O", "O=c1cccc[nH]1"]),
        # The standard InChI has mobile hydrogens: both pyridone forms are one compound.
        ({"dedup": "inchikey"}, ["C/C=C/C", "C/C=C\\C", "CC(=O)[O-]", "CC(=O)O", "O=c1cccc[nH]1"]),
    ],
)
def test_what_makes_two_rows_one_molecule(tmp_path: Path, options: dict, expected: list[str]) -> None:
    smiles = ["C/C=C/C", "C(\\C)=C/C", "C/C=C\\C", "CC(=O)[O-].[Na+]", "OC(C)=O", "O=c1cccc[nH]1", "Oc1ccccn1", "n1ccccc1O"]
    found = prepare(written(tmp_path / "in.smi", smiles), tmp_path / "out", split="none", words=0, **options)
    assert found.read(["train"]).smiles == [canonical(s) for s in expected]


def test_without_dedup_all_stay(tmp_path: Path) -> None:
    path = written(tmp_path / "in.smi", ["CCO", "OCC", "CCO"])
    assert prepare(path, tmp_path / "out", split="none", dedup="none", words=0).read(["train"]).smiles == ["CCO"] * 3


def test_hashes_seen_are_a_set() -> None:
    draw = np.random.default_rng(0)
    seen, known = Seen(), set()
    for size in [500] * 30 + [1, 7, 0, 2000]:
        keys = draw.integers(-5000, 5000, size) * 2**48
        expected = []
        for key in keys.tolist():
            expected.append(key not in known)
            known.add(key)
        assert seen.add(keys).tolist() == expected
    assert len(seen) == len(known)
    assert seen.has(np.array([*known][:10])).all() and not seen.has(np.array([1, 3])).any()
    assert len(seen._runs) <= math.log2(len(known)) + 1, "few runs, or looking up grows slow"


def test_elements_are_rdkits() -> None:
    strange = [
        "[Na+].[Cl-]",
        "C[Si](C)(C)C",
        "c1cc[se]c1",
        "[2H]C([2H])[2H]",
        "C[C@@H](N)C(=O)O",
        "[nH]1cccc1",
        "ClCBr",
        "[13cH]1ccccc1",
    ]
    for smiles in [*SMILES, *strange]:
        mol = Chem.MolFromSmiles(smiles)
        assert count_elements(Chem.MolToSmiles(mol)) == Counter(a.GetSymbol() for a in mol.GetAtoms()), smiles


# -- formats


@pytest.mark.parametrize("ending", [".csv", ".tsv.gz", ".sdf", ".sdf.gz", ".parquet"])
def test_every_format_gives_the_same_molecules(dataset: Dataset, tmp_path: Path, ending: str) -> None:
    write_table(tmp_path / f"t{ending}", {"smiles": SMILES[:40], "id": [f"x{i}" for i in range(40)]})
    found = prepare(tmp_path / f"t{ending}", tmp_path / "out", split="none", words=0)
    assert set(found.read(["train"]).smiles) == {canonical(s) for s in SMILES[:40]}


def test_an_sdf_reject_has_its_line(tmp_path: Path) -> None:
    block = Chem.MolToMolBlock(Chem.MolFromSmiles("CCO"))
    other = Chem.MolToMolBlock(Chem.MolFromSmiles("CCN"))
    (tmp_path / "in.sdf").write_text(f"{block}$$$$\nbroken\n\n\nnot a molecule\n$$$$\n{other}")
    found = prepare(tmp_path / "in.sdf", tmp_path / "out", split="none", words=0)
    assert found.read(["train"]).smiles == ["CCO", "CCN"], "the last record needs no end mark"
    assert rejects(found) == [(block.count("\n") + 2, "broken", "no SMILES in this row")]


# -- splits


def test_scaffolds_are_not_shared(tmp_path: Path) -> None:
    path = written(tmp_path / "in.smi", SMILES)
    found = prepare(path, tmp_path / "out", split="scaffold", validation=0.15, test=0.15, words=0)

    def scaffolds(part: str) -> set[str]:
        return {MurckoScaffold.MurckoScaffoldSmiles(s) for s in found.read([part]).smiles}

    assert len(found.read(["test"]).smiles) >= 10 and len(found.read(["validation"]).smiles) >= 10
    assert not scaffolds("train") & scaffolds("test") and not scaffolds("train") & scaffolds("validation")
    assert not scaffolds("validation") & scaffolds("test")


def test_given_rows(tmp_path: Path) -> None:
    path = written(tmp_path / "in.smi", ["C", "CC", "CCC", "CCCC", "C1CC", "CCO"])
    (tmp_path / "split.json").write_text(json.dumps({"validation": [1], "test": [5, 0]}))
    found = prepare(path, tmp_path / "out", split=tmp_path / "split.json", words=0)
    assert parts(found) == {"train": {"CCC", "CCCC"}, "validation": {"CC"}, "test": {"C", "CCO"}}
    (tmp_path / "split.json").write_text(json.dumps({"train": [1, 2], "test": [5]}))
    found = prepare(path, tmp_path / "out", split=tmp_path / "split.json", words=0)
    assert parts(found) == {"train": {"CC", "CCC"}, "validation": set(), "test": {"CCO"}}
    assert (1, "C", "in no part of the split") in rejects(found)


def test_parts_of_their_own_files(tmp_path: Path) -> None:
    train = written(tmp_path / "train.smi", ["C", "CC", "CCC", "broken"])
    (tmp_path / "valid.csv").write_text("name,smiles\na,CCO\nb,broken\n")
    test = written(tmp_path / "test.smi", ["CCN"])
    found = prepare(train, tmp_path / "out", validation=tmp_path / "valid.csv", test=test, words=0)
    assert parts(found) == {"train": {"C", "CC", "CCC"}, "validation": {"CCO"}, "test": {"CCN"}}
    frame = pandas.read_csv(tmp_path / "out" / "rejected.csv")
    assert frame[["line", "file"]].to_numpy().tolist() == [[4, "train.smi"], [3, "valid.csv"]]
    assert [file["name"] for file in found.card["sources"]] == ["train.smi", "valid.csv", "test.smi"]


def test_parts_that_overlap_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "in.smi", ["C", "CC", "CCO", "CCC", "OCC"])
    (tmp_path / "split.json").write_text(json.dumps({"validation": [4]}))
    with pytest.raises(DataError, match=r"CCO, in line 5 of .*, is a molecule of the validation part and of the train part"):
        prepare(path, tmp_path / "out", split=tmp_path / "split.json")
    other = written(tmp_path / "valid.smi", ["CCN", "C(O)C"])
    with pytest.raises(DataError, match=r"CCO, in line 2 of .*valid.smi, is a molecule of the validation part and"):
        prepare(path, tmp_path / "out", validation=other)
    assert not list((tmp_path / "out").iterdir()), "nothing stays of what was refused"


def test_rows_beyond_the_file_and_splits_without_training_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "in.smi", ["C", "CC", "CCO"])
    (tmp_path / "split.json").write_text("[3]")
    with pytest.raises(DataError, match=r"names row 3, but .* has rows 0 to 2"):
        prepare(path, tmp_path / "out", split=tmp_path / "split.json")
    (tmp_path / "split.json").write_text("[0, 1, 2]")
    with pytest.raises(DataError, match="leaves no molecule for training"):
        prepare(path, tmp_path / "out", split=tmp_path / "split.json")


# -- bad input


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("blank.smi", b"\n" * 1_000_000, "holds no molecules"),
        ("empty.smi", b"", "holds no molecules"),
        ("header.csv", b"smiles,id\n", "holds no molecules"),
        (
            "torn.smi.gz",
            gzip.compress("".join(f"{s}\n" for s in SMILES * 200).encode(), mtime=0)[:-100],
            "not a whole gzip file",
        ),
        ("mixed.csv", b"smiles,id\nCCO,1\nCCC;2\nCC,3\n", "mixes separators"),
        ("names.csv", b"drug,n\naspirin,1\ncaffeine,2\n", "no column of .* looks like SMILES"),
        ("broken.csv", b"smiles,n\nC1CC,1\nhello,2\n", "only 0 of 2 rows .* most often because: not a valid SMILES"),
        ("one.smi", b"CCO\nOCC\n", "only 1 of 2 rows"),
    ],
)
def test_bad_files_are_refused_in_a_sentence(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as refusal:
        prepare(tmp_path / name, tmp_path / "out")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_row_with_another_separator_far_down_is_rejected_by_its_line(tmp_path: Path) -> None:
    rows = [f"{'C' * (i % 50 + 1)},{i}" for i in range(1200)] + ["CCO;1200"]
    (tmp_path / "in.csv").write_text("smiles,id\n" + "\n".join(rows) + "\n")
    found = prepare(tmp_path / "in.csv", tmp_path / "out", words=0)
    assert (1202, "CCO;1200", "not a valid SMILES") in rejects(found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "scafold"}, "Did you mean 'scaffold'"),
        ({"dedup": "inchi"}, "Did you mean 'inchikey'"),
        ({"stereo": "none"}, "Use one of keep, drop"),
        ({"validation": 0.5, "test": 0.5}, "must be shares"),
        ({"validation": -0.1}, "must be shares"),
        ({"words": -1}, "words must be from 0"),
        ({"workers": -1}, "workers is -1"),
        ({"split": "x.json", "validation": "v.smi"}, "gives the parts of the split already"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(written(tmp_path / "in.smi", ["CC", "CCO"]), tmp_path / "out", **options)


def test_a_folder_with_other_files_is_not_touched(tmp_path: Path) -> None:
    path = written(tmp_path / "in.smi", ["C", "CC", "CCO"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tokens.json").write_text("{}")
    with pytest.raises(RunError, match="holds other files"):
        prepare(path, tmp_path / "run")
    with pytest.raises(RunError, match="is a file"):
        prepare(path, path)
    # What a killed call left behind goes, and an earlier data set is replaced.
    (tmp_path / "out" / ".partial-abc").mkdir(parents=True)
    prepare(path, tmp_path / "out", words=0)
    prepare(path, tmp_path / "out", words=0, split="none")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == FILES


# -- opening


def test_what_is_no_whole_data_set_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"it has no dataset\.json"):
        open_dataset(tmp_path)
    card = json.loads((dataset.folder / "dataset.json").read_text())
    for name in FILES:
        (tmp_path / name).write_bytes((dataset.folder / name).read_bytes())
    assert len(open_dataset(tmp_path)) == len(dataset)
    for version in (0, 2):
        (tmp_path / "dataset.json").write_text(json.dumps({**card, "format": version, "molvae": "9.9"}))
        with pytest.raises(DataError, match=f"format {version}, made by molvae 9.9; this molvae reads format 1"):
            open_dataset(tmp_path)
    for torn in ('{"format": 1', "[]", '{"format": 1}'):
        (tmp_path / "dataset.json").write_text(torn)
        with pytest.raises(DataError, match="is torn or is not a data set's"):
            open_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps(card))
    (tmp_path / "molecules.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"molecules\.parquet is missing, damaged or changed"):
        open_dataset(tmp_path)
