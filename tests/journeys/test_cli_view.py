"""`molvae view` as its users meet it: a page, a picture, and every mistake in a sentence."""

from pathlib import Path

import pytest
from conftest import EXAMPLE
from drugs import SMILES


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "made.csv"
    path.write_text(
        "smiles,name,pIC50\n" + "".join(f"{text},drug {i},{i}\n" for i, text in enumerate(SMILES[:6])) + "C1CC,x,9\n"
    )
    return path


def test_a_table_becomes_a_page_or_a_picture(molvae, table: Path, tmp_path: Path) -> None:
    code, out, err = molvae("view", table, "-o", "made.html", "--sort", "pIC50", "--descending", "--top", "3")
    assert (code, out) == (0, ""), err
    assert "'C1CC' in row 7 is not a valid SMILES" in err and "3 molecules in made.html of 6" in err
    page = (tmp_path / "made.html").read_text()
    assert page.index("drug 5") < page.index("drug 4") < page.index("drug 3") and "drug 2" not in page
    (tmp_path / "leads.smi").write_text(f"{SMILES[0]} first\n")
    assert molvae("view", table, "-o", "made.PNG", "--leads", "leads.smi").code == 0
    assert (tmp_path / "made.PNG").read_bytes().startswith(b"\x89PNG")
    code, _, err = molvae("view", EXAMPLE, "-o", "all.html", "--keep", "c1ccccc1")
    assert code == 0 and "molecules in all.html." in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-o", "made.pdf"], "a .html page or in a .png picture, and made.pdf is neither"),
        (["-o", "made.html", "--sort", "pic50"], "did you mean 'pIC50'"),
        (["-o", "made.html", "--leads", "nowhere.smi"], "nowhere.smi"),
        (["-o", "made.png", "--top", "651"], "a picture holds 650 molecules at most"),
        (["-o", "made.html", "--descending"], "--descending needs a column"),
        (["-o", "made.html", "--keep", "C1CC"], "C1CC"),
        (["-o", "made.html", "--smiles-col", "molecule"], "no column 'molecule'"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(molvae, table: Path, arguments: list[str], sentence: str) -> None:
    outcome = molvae("view", table, *arguments)
    assert outcome.code in (1, 2) and sentence.lower() in outcome.err.lower() and "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("name", "text"), [("empty.csv", "smiles,x\n"), ("blank.csv", "smiles,x\n,3\n"), ("empty.smi", "\n")]
)
def test_a_file_without_molecules_is_told(molvae, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    outcome = molvae("view", name, "-o", "x.html")
    assert outcome.code == 1 and f"{name} holds no molecules" in outcome.err and not (tmp_path / "x.html").exists()
