"""Maps: the plane against scikit-learn's, the picture, and a page that loads nothing and takes no name for markup."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from drugs import SMILES
from matplotlib.image import imread
from rdkit import Chem
from rdkit.Chem import Crippen
from sklearn.decomposition import PCA

from molvae.errors import ConfigError, DataError, UnknownName
from molvae.generation.model import Model
from molvae.uses.latent_map import colour_column, drawing, flat, latent_map, limits, map_html, map_png

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_pca_is_scikit_learns(small_model: Model) -> None:
    drawn = latent_map([*SMILES, "C1CC", "CCO.Cl"], model=small_model)
    z = small_model.encode(SMILES).astype(np.float64)
    theirs = PCA(2).fit(z)
    points = theirs.transform(z)
    for axis in (0, 1):
        assert np.abs(drawn.points[:, axis]) == pytest.approx(np.abs(points[:, axis]), abs=1e-6)
        assert f"{theirs.explained_variance_ratio_[axis]:.1%}" in drawn.axes[axis]
    assert drawn.values == pytest.approx([Crippen.MolLogP(Chem.MolFromSmiles(text)) for text in SMILES])
    assert drawn.label == "logP (log10 ratio)"
    assert sum(drawn.left_out.values()) == 2 and drawn.left_out["not a valid SMILES"] == 1


def test_tsne_keeps_groups_together_and_its_seed() -> None:
    draw = np.random.default_rng(0)
    z = np.concatenate([draw.normal(centre, 0.1, (20, 8)) for centre in (0, 5, 10)])
    points, axes = flat(z, "tsne", 3)
    assert axes == ("t-SNE 1", "t-SNE 2")
    groups = points.reshape(3, 20, 2)
    within = max(np.linalg.norm(group - group.mean(0), axis=1).mean() for group in groups)
    between = min(np.linalg.norm(groups[i].mean(0) - groups[j].mean(0)) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert between > 2 * within
    np.testing.assert_array_equal(points, flat(z, "tsne", 3)[0])


def test_a_picture(small_model: Model) -> None:
    drawn = latent_map(SMILES[:30], color=[float("nan"), *range(29)], label="value", model=small_model)
    picture = map_png(drawn)
    assert picture == map_png(drawn)
    pixels = imread(io.BytesIO(picture))[..., :3]
    assert pixels.shape[0] > 500 and len(np.unique((pixels * 255).astype(int).reshape(-1, 3), axis=0)) > 50


def test_a_page_loads_nothing_and_shows_text_as_text(small_model: Model) -> None:
    values = [float("nan"), *range(9)]
    drawn = latent_map(SMILES[:10], color=values, label=HOSTILE, ids=[HOSTILE, *"bcdefghij"], model=small_model)
    page = map_html(drawn)
    assert not re.search(r"https?:|//\w|src=|@import|url\(", page.replace("src=x onerror", ""))
    assert "<img" not in page and "<script>alert" not in page and page.count("</script>") == 2
    data = data_of(page)
    assert data["ids"][0] == HOSTILE and data["label"] == HOSTILE
    assert data["values"] == [None, *range(9)]
    assert data["smiles"] == [Chem.CanonSmiles(text) for text in SMILES[:10]]
    assert data["x"] == pytest.approx(drawn.points[:, 0], abs=1e-4)
    assert len(data["drawings"]) == 10
    assert "innerHTML" not in page and "default-src 'none'" in page


def test_a_drawing_has_the_atoms_and_bonds() -> None:
    atoms, bonds = drawing("C[N+](C)(C)CC(=O)[O-]")
    assert [label for *_, label in atoms] == ["", "N+", "", "", "", "", "O", "O\u2212"]
    assert sorted(order for *_, order in bonds) == [1, 1, 1, 1, 1, 1, 2]
    lengths = [np.hypot(*np.subtract(atoms[i][:2], atoms[j][:2])) for i, j, _ in bonds]
    assert lengths == pytest.approx([1.5] * 7, abs=0.05)
    assert sorted(order for *_, order in drawing("c1ccccc1")[1]) == [1, 1, 1, 2, 2, 2]
    assert [label for *_, label in drawing("C")[0]] == ["CH4"]


def test_limits_leave_outliers_out() -> None:
    low, high = limits(np.array([*np.linspace(0, 1, 100), 1e6, np.nan]))
    assert 0 <= low < 0.05 and 0.95 < high <= 1.0
    assert limits(np.array([np.nan])) == (0.0, 1.0)
    assert limits(np.array([3.0, 3.0]))[0] == 3.0 < limits(np.array([3.0, 3.0]))[1]


def test_colours_from_a_column(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("smiles,activity\nCCO,1.5\nCCN,\n,7\nCCC,high\nCCS,-2\n")
    assert colour_column(path, "activity") == pytest.approx([1.5, np.nan, np.nan, -2.0], nan_ok=True)
    assert colour_column(path, "logP") is None
    with pytest.raises(UnknownName, match="no property or column 'activty' to colour by"):
        colour_column(path, "activty")


def test_mistakes_are_sentences(small_model: Model) -> None:
    with pytest.raises(ConfigError, match="no method 'umap'"):
        latent_map(SMILES[:9], model=small_model, method="umap")
    with pytest.raises(UnknownName, match="no property named 'loqP'"):
        latent_map(SMILES[:9], model=small_model, color="loqP")
    with pytest.raises(ConfigError, match="there are 2 values for 9 molecules"):
        latent_map(SMILES[:9], model=small_model, color=[1.0, 2.0])
    with pytest.raises(DataError, match="of the 4 given, 3 can be encoded"):
        latent_map([*SMILES[:3], "C1CC"], model=small_model)
