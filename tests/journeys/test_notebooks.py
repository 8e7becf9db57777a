"""The notebooks of docs/notebooks run from their first cell to their last, on small budgets, each in an empty directory."""

import json
from pathlib import Path

import nbclient
import nbformat
import pytest

REPOSITORY = Path(__file__).parents[2]
NOTEBOOKS = sorted((REPOSITORY / "docs" / "notebooks").glob("*.ipynb"))
BUDGETS = {"generate_a_library": 10, "improve_a_lead": 12, "train_on_my_data": 3000}  # of what the first cell counts
LEAVES = {
    "generate_a_library": "library.sdf",
    "improve_a_lead": "runs/lidocaine/molecules.csv",
    "train_on_my_data": "runs/mine/checkpoint/model.safetensors",
}
LARGEST = 150_000  # bytes of a committed notebook, pictures included


@pytest.mark.notebook
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BUDGET", str(BUDGETS[path.stem]))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert (tmp_path / LEAVES[path.stem]).exists()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_it_printed_and_no_error(path: Path) -> None:
    assert path.stat().st_size < LARGEST
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output["output_type"] == "error" or output.get("name") == "stderr" for output in outputs)


def test_every_notebook_is_shown_on_the_site() -> None:
    site = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    assert len(NOTEBOOKS) == 3 and all(f"notebooks/{path.stem}.md" in site for path in NOTEBOOKS)
