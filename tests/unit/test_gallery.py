"""Molecules to look at: what a file says of them, what is compared, and in which order they stand."""

import gzip
import json
import math
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pandas
import pyarrow as pa
import pytest
from matplotlib.image import imread
from pyarrow import parquet
from rdkit import Chem
from rdkit.Chem import QED, Crippen, Descriptors

from molvae.chem import Core, changed_atoms, parse
from molvae.data.columns import read_columns
from molvae.errors import DataError, UnknownName
from molvae.report.gallery import gallery, short

ASPIRIN, BENZOIC, PHENOL, PYRIDINE = "CC(=O)Oc1ccccc1C(=O)O", "O=C(O)c1ccccc1", "Oc1ccccc1", "c1ccncc1"


# -- what files say


def test_a_file_of_any_kind_says_the_same_of_its_molecules(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"name": ["one", "two"], "SMILES": ["CCO", "c1ccccc1"], "pIC50": ["6.5", ""]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    for name in ("a.csv", "a.tsv", "a.parquet", "a.csv.gz"):
        smiles, columns = read_columns(tmp_path / name)
        assert smiles == ["CCO", "c1ccccc1"], name
        assert columns == {"name": ["one", "two"], "pIC50": ["6.5", ""]}, name


def test_a_line_has_an_id_and_a_record_has_data_items(tmp_path: Path) -> None:
    (tmp_path / "a.smi").write_text("CCO ethanol\nCCN amine\n")
    assert read_columns(tmp_path / "a.smi") == (["CCO", "CCN"], {"id": ["ethanol", "amine"]})
    (tmp_path / "bare.smi").write_text("CCO\nCCN\n")
    assert read_columns(tmp_path / "bare.smi") == (["CCO", "CCN"], {})
    with Chem.SDWriter(str(tmp_path / "a.sdf")) as writer:
        for text, name, items in [
            ("CCO", "ethanol", {"pIC50": "6.5", "note": "two\nlines"}),
            ("CCN", "amine", {"batch": "7"}),
        ]:
            mol = Chem.MolFromSmiles(text)
            mol.SetProp("_Name", name)
            for key, value in items.items():
                mol.SetProp(key, value)
            writer.write(mol)
    smiles, columns = read_columns(tmp_path / "a.sdf")
    assert [Chem.CanonSmiles(text) for text in smiles] == ["CCO", "CCN"]
    assert columns == {"id": ["ethanol", "amine"], "pIC50": ["6.5", ""], "note": ["two\nlines", ""], "batch": ["", "7"]}


# -- what differs


@pytest.mark.parametrize(
    ("smiles", "other", "changed"),
    [
        ("Clc1ccccc1", "Fc1ccccc1", {"Cl"}),
        ("c1ccccc1CCN", "c1ccccc1CCO", {"N"}),
        (PYRIDINE, PYRIDINE, set()),
        ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", set()),  # stereo is not looked at
        ("FC(F)(F)Br", PYRIDINE, {"F", "C", "Br"}),
    ],
)
def test_the_atoms_that_differ(smiles: str, other: str, changed: set[str]) -> None:
    mol = parse(smiles)
    assert {mol.GetAtomWithIdx(i).GetSymbol() for i in changed_atoms(mol, parse(other))} == changed


# -- the gallery


def test_columns_come_first_and_what_is_missing_is_computed() -> None:
    shown = gallery([ASPIRIN], {"smiles": [ASPIRIN], "id": ["a"], "QED": ["0.1234567891"], "pIC50": [None]})
    mol = Chem.MolFromSmiles(ASPIRIN)
    cells = shown.molecules[0].cells
    assert shown.molecules[0].id == "a" and shown.columns == list(cells)
    assert cells["QED"] == "0.1234567891" != f"{QED.qed(mol):.2f}", "a column is not replaced"
    assert cells["pIC50"] == "" and cells["logP"] == f"{Crippen.MolLogP(mol):.1f}"
    assert cells["MW"] == f"{Descriptors.MolWt(mol):.0f}" and "id" not in cells and "smiles" not in cells
    assert any("BRENK" in remark for remark in shown.molecules[0].remarks), "a phenol ester is an alert"


def test_a_reader_sees_few_digits_and_the_data_keep_all(tmp_path: Path) -> None:
    for text, seen in [
        ("0.1234567891", "0.12346"), ("10029385", "10029385"), ("00012345", "00012345"), ("100001.24", "100001.24"),
        ("-1.5e-07", "-1.5e-07"), ("12345.678", "12346"), ("flow 1.234567", "flow 1.234567"), ("inf", "inf"), ("", ""),
    ]:  # fmt: skip
        assert short(text) == seen
    smiles, ids = ["CCO", "CCN", "CCC"], ["10029386", "10029385", "00012345"]
    shown = gallery(smiles, {"cid": ids}, sort="cid")
    assert [m.cells["cid"] for m in shown.molecules] == sorted(ids)
    assert all(cid in shown.html("page") for cid in ids)


def test_a_column_of_words_is_sorted_by_them() -> None:
    columns = {"kind": ["banana", "", "Apple", "cherry"]}
    assert [m.smiles for m in gallery(["C", "CC", "CCC", "CCCC"], columns, sort="kind").molecules] == [
        "CCC",
        "C",
        "CCCC",
        "CC",
    ]
    turned = gallery(["C", "CC", "CCC", "CCCC"], columns, sort="kind", descending=True)
    assert [m.smiles for m in turned.molecules] == ["CCCC", "C", "CCC", "CC"]


def test_no_column_hides_another(tmp_path: Path) -> None:
    (tmp_path / "twice.csv").write_text("structure,score,score,smiles\nCCO,1,9,old\n")
    smiles, columns = read_columns(tmp_path / "twice.csv", "structure")
    assert (smiles, columns) == (["CCO"], {"score": ["1"], "score (2)": ["9"], "smiles": ["old"]})
    twice = pa.table([["b", "a"], ["CCO", ""], [1, 2], [3, 4]], names=["id", "smiles", "x", "x"])
    parquet.write_table(twice, tmp_path / "twice.parquet")
    assert read_columns(tmp_path / "twice.parquet") == (
        ["CCO", ""],
        {"id": ["b", "a"], "x": ["1", "2"], "x (2)": ["3", "4"]},
    )
    own = {**columns, "lead": ["L-7"], "similarity": ["0.1"]}
    cells = gallery(smiles, own, leads=["CCOC"], lead_ids=["butyl"]).molecules[0].cells
    assert cells["lead"] == "butyl" and cells["lead (table)"] == "L-7" and cells["similarity (table)"] == "0.1"
    assert float(cells["similarity"]) > 0.1 and cells["smiles (table)"] == "old"


@pytest.mark.parametrize(
    "smiles",
    [
        "c1ccc(-c2nc(-c3ccccc3)nc(-c3ccc(-c4ccc(-n5c6ccccc6c6ccccc65)cc4)cc3)n2)cc1",
        "C" * 33 + "O",
        "CO",
        "C",
        "CNCCc1ccccc1.Cl",
    ],
)
def test_a_molecule_does_not_differ_from_itself(smiles: str) -> None:
    assert changed_atoms(parse(smiles), parse(smiles)) == ()


def test_a_counter_ion_is_all_that_a_salt_differs_by() -> None:
    for base in ("CNCCc1ccccc1", "CN(C)CCc1c[nH]c2ccccc12"):
        salt = parse(base + ".Cl")
        assert [salt.GetAtomWithIdx(i).GetSymbol() for i in changed_atoms(salt, parse(base))] == ["Cl"]
        assert changed_atoms(parse(base), salt) == ()
    large = "c1ccc(-c2nc(-c3ccccc3)nc(-c3ccc(-c4ccc(-n5c6ccccc6c6ccccc65)cc4)cc3)n2)cc1"
    assert len(changed_atoms(parse(large.replace("ccccc3", "ccc(F)cc3", 1)), parse(large))) <= 2


def test_rows_without_a_number_come_last_in_either_direction() -> None:
    smiles, column = ["C", "CC", "CCC", "CCCC", "CCCCC"], ["2", "", "-1", "nan", "2"]
    assert [m.smiles for m in gallery(smiles, {"x": column}, sort="x").molecules] == ["CCC", "C", "CCCCC", "CC", "CCCC"]
    falling = gallery(smiles, {"x": column}, sort="x", descending=True, top=3)
    assert [m.smiles for m in falling.molecules] == ["C", "CCCCC", "CCC"] and falling.rows == 5


def test_a_property_to_sort_by_is_computed_and_shown() -> None:
    shown = gallery(["CCCC", "C", "CC"], sort="TPSA")
    assert "TPSA" in shown.columns
    by_weight = gallery(["CCCC", "C", "CC"], sort="MW")
    assert [m.smiles for m in by_weight.molecules] == ["C", "CC", "CCCC"] and by_weight.columns.count("MW") == 1


def test_unknown_names_rows_that_are_no_molecule_and_bad_leads_are_told() -> None:
    shown = gallery(["CCO", "C1CC", ""], {"x": ["1", "2", "3"]})
    assert [m.smiles for m in shown.molecules] == ["CCO"] and shown.rows == 1
    assert [text.split(" is ")[0] for text in shown.left_out] == ["'C1CC' in row 2", "'' in row 3"]
    with pytest.raises(UnknownName, match="pIC50"):
        gallery(["CCO"], {"pIC50": ["1"]}, sort="pIC5")
    with pytest.raises(DataError, match="no molecule to show"):
        gallery(["C1CC"])
    with pytest.raises(DataError, match="the lead 'C1CC' is not"):
        gallery(["CCO"], leads=["CCN", "C1CC"])


def test_each_molecule_stands_beside_its_nearest_lead() -> None:
    shown = gallery(["Clc1ccccc1", "CCCCCCCO"], {"x": ["1", "2"]}, leads=["CCCCCCCN", "c1(F)ccccc1", "Clc1ccccc1"])
    first, second = shown.molecules
    assert (first.cells["lead"], first.cells["similarity"], first.marked) == ("Clc1ccccc1", "1.00", ())
    assert second.cells["lead"] == "CCCCCCCN" and 0 < float(second.cells["similarity"]) < 1
    assert [parse(second.smiles).GetAtomWithIdx(i).GetSymbol() for i in second.marked] == ["O"]
    assert shown.columns[:2] == ["similarity", "lead"] and shown.columns[2] == "x"
    named = gallery(["CCN", "c1ccccc1"], leads=["C(C)N", "c1ccccc1"], lead_ids=["first", ""])
    assert [one.cells["lead"] for one in named.molecules] == ["first", "c1ccccc1"]


def test_a_core_is_marked_where_it_is() -> None:
    shown = gallery([ASPIRIN, "CCO"], core=Core("c1ccccc1"))
    assert len(shown.molecules[0].marked) == 6 and shown.molecules[1].marked == ()
    assert "#A8D6F7" in shown.html("x")


# -- what is drawn


class _Texts(HTMLParser):
    """The elements of a page, and its data."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.data = ""
        self._in_data = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._in_data = ("id", "data") in attributes

    def handle_data(self, data: str) -> None:
        if self._in_data:
            self.data += data
            self._in_data = False


def test_cells_and_names_are_text_to_the_page() -> None:
    nasty = "</script><img src=x onerror=alert(1)>"
    page = gallery(["CCO"], {"id": [nasty], nasty: [nasty]}).html(nasty)
    parsed = _Texts()
    parsed.feed(page)
    assert "img" not in parsed.tags and parsed.tags.count("script") == 2
    data = json.loads(parsed.data)
    assert data["columns"][0] == nasty and data["rows"][0]["id"] == nasty
    assert not re.search(r'(src|href)="?https?:', page), "nothing is loaded from elsewhere"


def test_a_page_and_a_picture_show_every_molecule() -> None:
    shown = gallery([ASPIRIN, BENZOIC, PHENOL, PYRIDINE], {"id": list("abcd")})
    page = shown.html("four")
    assert page.count("<svg") == 4 and re.findall("<code>(.*)</code>", page) == [ASPIRIN, BENZOIC, PHENOL, PYRIDINE]
    picture = imread(BytesIO(shown.png(columns=2)))
    assert picture.shape[:2] == (500, 600)
    assert not math.isclose(picture.min(), picture.max())
