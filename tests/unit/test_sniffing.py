"""What a look at a file understands: separator, header, SMILES column; and what it refuses."""

import gzip
from pathlib import Path

import pandas
import pytest
from rdkit import Chem

from molvae.data.sniffing import sniff
from molvae.data.tables import read_rows, write_table
from molvae.errors import ConfigError, DataError

DRUGS = ["CC(=O)Oc1ccccc1C(=O)O", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "CC(C)Cc1ccc(C(C)C(=O)O)cc1"]


def texts(path: Path, column: str | None = None) -> list[str]:
    return [row.text for row in read_rows(path, sniff(path, column).layout)]


@pytest.mark.parametrize(
    ("name", "rows", "delimiter", "header"),
    [
        ("plain.smi", "{0}\n{1}\n{2}\n", None, False),
        ("named.smi", "{0} aspirin, pure\n\n{1}\tcaffeine\n{2} ibuprofen\n", None, False),
        ("headed.smi", "smiles zinc_id\n{0} 1\n{1} 2\n{2} 3\n", None, True),
        ("comma.smi", "{0},aspirin\n{1},caffeine\n{2},ibuprofen\n", ",", False),
        ("comma.csv", "id,structure,logP\n1,{0},1.2\n2,{1},-0.1\n3,{2},3.9\n", ",", True),
        ("semicolon.csv", "SMILES;activity\n{0};1,5\n{1};2,5\n{2};3,5\n", ";", True),
        ("tab.csv", "drug\tkey\n{0}\ta\n{1}\tb\n{2}\tc\n", "\t", True),
        ("comma.tsv", "key,drug\na,{0}\nb,{1}\nc,{2}\n", ",", True),
        ("bar.txt", "a|{0}\nb|{1}\nc|{2}\n", "|", False),
        ("one.csv", "{0}\n{1}\n{2}\n", ",", False),
        ("quoted.csv", 'smiles,logP\n"{0}\n",1\n"{1}\n",2\n"{2}\n",3\n', ",", True),
        ("windows.csv", "\ufeffname,smiles\r\na,{0}\r\nb,{1}\r\nc,{2}\r\n", ",", True),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_the_layout_is_understood(tmp_path, name, rows, delimiter, header, packed) -> None:
    path = tmp_path / (name + ".gz" * packed)
    content = rows.format(*DRUGS).encode()
    path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    found = sniff(path)
    assert (found.layout.delimiter, found.layout.header is not None) == (delimiter, header)
    assert texts(path) == DRUGS
    assert path.name in found.sentence and ("with a header" in found.sentence) == header
    assert not found.notes


def test_sdf_and_parquet(tmp_path: Path) -> None:
    pandas.DataFrame({"n": [1, 2, 3], "canonical": DRUGS, "title": ["a", "b", "c"]}).to_parquet(tmp_path / "t.parquet")
    assert texts(tmp_path / "t.parquet") == DRUGS
    assert "column 2 of 3 ('canonical')" in sniff(tmp_path / "t.parquet").sentence
    write_table(tmp_path / "t.sdf", {"smiles": DRUGS})
    blocks = texts(tmp_path / "t.sdf")
    assert [Chem.CanonSmiles(Chem.MolToSmiles(Chem.MolFromMolBlock(b))) for b in blocks] == [
        Chem.CanonSmiles(s) for s in DRUGS
    ]
    with pytest.raises(ConfigError, match="no columns"):
        sniff(tmp_path / "t.sdf", "smiles")


# Names of one or two capital letters parse as SMILES: carbon monoxide, iodine, ...
NAMES = ["CO", "I", "CN"]


def test_a_column_of_names_that_parse_is_told_apart_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("name,smiles\n" + "".join(f"{n},{s}\n" for n, s in zip(NAMES, DRUGS, strict=True)))
    assert texts(path) == DRUGS and not sniff(path).notes
    path.write_text("smiles,name\n" + "".join(f"{n},{s}\n" for n, s in zip(NAMES, DRUGS, strict=True)))
    assert texts(path) == NAMES, "the header decides where both parse"


def test_a_column_of_names_that_parse_is_told_apart_by_length_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("".join(f"{n},{s}\n" for n, s in zip(NAMES, DRUGS, strict=True)))
    assert texts(path) == DRUGS
    (note,) = sniff(path).notes
    assert "parses as SMILES too" in note and "--smiles-col" in note


def test_a_column_called_smiles_that_holds_names_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("smiles,x\naspirin,{}\ncaffeine,{}\nibuprofen,{}\n".format(*DRUGS))
    assert texts(path) == DRUGS
    assert "column 'smiles' does not hold SMILES (0% parse)" in sniff(path).notes[0]


def test_the_column_can_be_given_by_name_or_number(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("smiles,product\nCC,CCO\nCCC,CCCO\n")
    assert texts(path, "product") == texts(path, "2") == ["CCO", "CCCO"]
    path.write_text("CC,CCO\nCCC,CCCO\n")
    assert texts(path, "1") == ["CC", "CCC"]
    for wrong in ("3", "0", "produkt"):
        with pytest.raises(DataError, match=f"no column '{wrong}'"):
            sniff(path, wrong)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("blank.smi", b"\n" * 1_000_000, "holds no molecules"),
        ("empty.csv", b"", "holds no molecules"),
        ("mixed.csv", b"smiles,id\nCCO,1\nCCC;2\nCC,3\n", "mixes separators: a comma in line 1, a semicolon in line 3"),
        ("mixed.smi", b"CCO,a\nCC\tb\nCCC,c\n", "mixes separators: a tab in line 2, a comma in line 1"),
        ("numbers.csv", b"a,b\n1,2\n3,4\n", "no column of .* looks like SMILES"),
        ("names.txt", b"aspirin\ncaffeine\n", "no column of .* looks like SMILES"),
        ("nul.smi", b"CC\0O\n", "is not a text file"),
        ("latin.smi", "CC méthane\n".encode("latin-1"), "is not a text file"),
        ("torn.smi.gz", gzip.compress(b"CCO\n" * 100, mtime=0)[:-12], "is not a whole gzip file"),
        ("torn.parquet", b"PAR1 and nothing else", "is not a whole Parquet file"),
    ],
)
def test_bad_files_are_refused_in_a_sentence(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as refusal:
        sniff(tmp_path / name)
    assert "\n" not in str(refusal.value) and str(tmp_path / name) in str(refusal.value)


def test_a_missing_file_and_an_unknown_ending(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        sniff(tmp_path / "absent.csv")
    with pytest.raises(ConfigError, match="no known ending"):
        sniff(tmp_path / "table.xlsx")
