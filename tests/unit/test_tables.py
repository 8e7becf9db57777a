"""Tables of molecules: what goes in comes out, in every format, and bad files are refused in a sentence."""

import csv
import gzip
from pathlib import Path

import pandas
import pytest
from rdkit import Chem

from molvae.data.tables import read_molecules, write_table
from molvae.errors import ConfigError, DataError, RunError

SMILES = ["C[C@H](N)C(=O)O", "F/C=C/F", "C[NH+](C)C", "c1ccc2[nH]ccc2c1"]
TABLE = {
    "smiles": SMILES,
    "id": ["ala", "dfe", "tma", "indole"],
    "logP": [0.25, float("nan"), -1.5, 2.0],
    "rings": [0, 0, 0, 2],
}


@pytest.mark.parametrize("ending", [".smi", ".csv", ".tsv", ".sdf", ".parquet", ".smi.gz", ".csv.gz", ".tsv.gz", ".sdf.gz"])
def test_molecules_and_ids_survive_every_format(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"table{ending}"
    write_table(path, TABLE)
    back = read_molecules(path)
    assert [Chem.CanonSmiles(s) for s in back.smiles] == [Chem.CanonSmiles(s) for s in SMILES], "stereo and charge included"
    assert back.ids == TABLE["id"]
    first = path.read_bytes()
    write_table(path, TABLE)
    assert path.read_bytes() == first, "the same table gives the same bytes"
    assert list(tmp_path.iterdir()) == [path], "no temporary file stays"


def test_csv_and_parquet_say_the_same_to_pandas(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", TABLE)
    write_table(tmp_path / "t.parquet", TABLE)
    from_csv, from_parquet = pandas.read_csv(tmp_path / "t.csv"), pandas.read_parquet(tmp_path / "t.parquet")
    assert list(from_csv.columns) == ["smiles", "id", "logP", "rings"]
    assert from_csv["rings"].dtype == from_parquet["rings"].dtype == "int64"
    assert from_csv["logP"].isna().tolist() == [False, True, False, False], "NaN is an empty cell"
    assert from_csv["logP"].dropna().tolist() == from_parquet["logP"].dropna().tolist() == [0.25, -1.5, 2.0]


def test_rdkit_reads_our_sdf_with_its_properties(tmp_path: Path) -> None:
    write_table(tmp_path / "t.sdf", TABLE)
    records = list(Chem.SDMolSupplier(str(tmp_path / "t.sdf")))
    assert [record.GetProp("_Name") for record in records] == TABLE["id"]
    assert records[0].GetPropsAsDict()["logP"] == 0.25
    assert not records[1].HasProp("logP"), "a missing number is left out"
    assert records[3].GetConformer().GetNumAtoms() == 9
    assert not records[3].GetConformer().Is3D()


def test_ids_default_to_row_numbers_and_blank_rows_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("Name,SMILES,activity\n,CCO,1\nbenzene,c1ccccc1,2\n,,\n,CC,3\n")
    molecules = read_molecules(path)
    assert molecules.smiles == ["CCO", "c1ccccc1", "CC"]
    assert molecules.ids == ["1", "benzene", "4"], "numbers count the rows of the file"
    (tmp_path / "m.smi").write_text("CCO ethanol, absolute\n\nCC\n")
    assert read_molecules(tmp_path / "m.smi").ids == ["ethanol, absolute", "3"]


def test_the_smiles_column_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "m.tsv"
    path.write_text("canonical\tid\nCCO\tx1\n")
    assert read_molecules(path, "canonical").ids == ["x1"]
    with pytest.raises(DataError, match=r"no column 'smiles' in .*m.tsv \(has: canonical, id\)"):
        read_molecules(path)
    with pytest.raises(DataError, match="no column 'SMILE'"):
        read_molecules(path, "SMILE")


def test_files_written_on_windows_are_read(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"\xef\xbb\xbfsmiles,id\r\nCCO,a\r\n")
    assert read_molecules(tmp_path / "m.csv").smiles == ["CCO"]


def test_an_sdf_record_that_cannot_be_read_keeps_its_place(tmp_path: Path) -> None:
    block = Chem.MolToMolBlock(Chem.MolFromSmiles("CCO"))
    (tmp_path / "m.sdf").write_text(f"{block}$$$$\nbroken\n\n\nnot a molecule\n$$$$\n{block}$$$$\n")
    molecules = read_molecules(tmp_path / "m.sdf")
    assert molecules.smiles == ["CCO", "", "CCO"]
    assert molecules.ids == ["1", "broken", "3"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", "holds no molecules"),
        ("header.csv", b"smiles,id\n", "holds no molecules"),
        ("blank.smi", b"\n \n", "holds no molecules"),
        ("binary.smi", b"\xff\xfe\x00\x01", "is not a text file of molecules"),
        ("torn.csv.gz", gzip.compress(b"smiles\n" + b"CCO\n" * 5000, mtime=0)[:-20], "is not a whole gzip file"),
        ("damaged.csv.gz", gzip.compress(b"smiles\nCCO\n", mtime=0)[:10] + b"\x07" * 20, "is not a whole gzip file"),
        ("nul.csv", b"smiles\n" + b"C" * 200_000 + b"\n", "is not a table"),
        ("plain.csv.gz", b"smiles\nCCO\n", "is not a whole gzip file"),
        ("torn.parquet", b"PAR1 and nothing else", "is not a whole Parquet file"),
    ],
)
def test_bad_files_are_refused_in_a_sentence(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_molecules(tmp_path / name)


def test_missing_files_and_unknown_endings(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        read_molecules(tmp_path / "absent.csv")
    with pytest.raises(DataError, match="no file"):
        read_molecules(tmp_path / "absent.parquet")
    for name in ("table.xlsx", "table", "table.parquet.gz"):
        with pytest.raises(ConfigError):
            write_table(tmp_path / name, TABLE)


def test_a_table_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "t.sdf"
    write_table(path, {"smiles": ["CCO"]})
    before = path.read_bytes()
    with pytest.raises(DataError, match="row 2"):
        write_table(path, {"smiles": ["CC", "not a molecule"]})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        write_table(tmp_path / "file" / "t.csv", TABLE)


def test_cells_with_commas_and_quotes_come_back(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", {"smiles": ["CCO"], "note": ['a "quoted", word']})
    with (tmp_path / "t.csv").open(newline="") as stream:
        assert list(csv.reader(stream))[1] == ["CCO", 'a "quoted", word']
