"""Augmentation: what may be a neighbour and what not, by a model that writes what it is told; labels by hand."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from drugs import SMILES
from fakes import FakeModel, molecule
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from molvae.errors import ConfigError, DataError
from molvae.generation.model import Model
from molvae.strings.tokens import Decoded
from molvae.uses.augmentation import DRAWS, ROUNDS, Near, augment, neighbourhoods, once, read_labels, relabelled

PARENT = "C[C@H](N)c1ccccc1"


class Teller:
    """A model that writes the given molecules again and again, and remembers the latents that it was given."""

    def __init__(self, *written: Decoded) -> None:
        self.written, self.given = written, []

    def encode(self, smiles: Sequence[str], progress: object = None) -> np.ndarray:
        return np.array([[np.nan] * 400 if text == "CCO" else [3.0] * 400 for text in smiles], np.float32)

    def decode(self, z: np.ndarray) -> list[Decoded]:
        self.given.append(z)
        return [self.written[i % len(self.written)] for i in range(len(z))]


class Fake(FakeModel):
    """The latent model without a network, told of progress."""

    def encode(self, smiles: Sequence[str], progress: object = None) -> np.ndarray:
        return super().encode(smiles)


def said(smiles: str | None, faithful: bool = True) -> Decoded:
    return Decoded("", smiles, faithful)


def similarity(one: str, other: str) -> float:
    fingerprint = rdFingerprintGenerator.GetMorganGenerator(radius=2).GetSparseCountFingerprint
    return DataStructs.TanimotoSimilarity(*(fingerprint(Chem.MolFromSmiles(text)) for text in (one, other)))


def test_only_new_faithful_similar_molecules_are_neighbours() -> None:
    teller = Teller(
        said(PARENT),
        said(None, False),
        said("C[C@@H](N)c1ccccc1"),  # the parent's mirror image
        said("CC(N)c1ccccc1C", False),
        said("CCCCCC"),
        said("N[C@@H](C)c1ccc(F)cc1"),  # held out without its marks
        said("CC(N)c1ccc(C)cc1"),
        said("C[C@H](N)c1ccc(Cl)cc1"),
    )
    excluded = {"CC(N)c1ccccc1", "CC(N)c1ccc(F)cc1"}
    (found,) = neighbourhoods(teller, [PARENT], 5, similarity=0.4, excluded=excluded)
    assert [near.smiles for near in found] == ["CC(N)c1ccc(C)cc1", "C[C@H](N)c1ccc(Cl)cc1"]
    assert [near.flat for near in found] == [Chem.CanonSmiles("CC(N)c1ccc(C)cc1"), "CC(N)c1ccc(Cl)cc1"]
    assert [near.similarity for near in found] == pytest.approx([similarity(PARENT, near.smiles) for near in found])
    assert len(teller.given) == ROUNDS and teller.given[0].shape == (DRAWS, 400)
    # Enough is enough: the first of them, after one round.
    assert neighbourhoods(teller, [PARENT], 1, similarity=0.4, excluded=excluded) == [found[:1]]
    assert len(teller.given) == ROUNDS + 1


@pytest.mark.parametrize(
    ("written", "scales"),
    [
        (said(PARENT), [0.225, 0.3375, 0.50625, 0.759375, 1.1390625, 1.1390625, 1.1390625, 1.1390625]),
        # What is met a second time is known, too.
        (said("CCCCCC"), [0.225, 0.3375, 0.50625, 0.759375, 1.1390625, 1.1390625, 1.1390625, 1.1390625]),
        (said(None), [0.225, 0.15, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]),
    ],
    ids=["itself", "one other", "nothing known"],
)
def test_noise_grows_where_nothing_new_comes_and_shrinks_where_all_is_strange(written: Decoded, scales: list[float]) -> None:
    teller = Teller(written)
    assert neighbourhoods(teller, [PARENT], 2) == [[]]
    # 3,200 draws: their standard deviation is known to 1.3 %, and the mean of 3 to 0.02.
    assert [np.std(z) for z in teller.given] == pytest.approx(scales, rel=0.06)
    assert [np.mean(z) for z in teller.given] == pytest.approx([3.0] * ROUNDS, abs=0.1)


def test_neighbours_depend_on_the_molecule_and_not_on_the_others() -> None:
    some = [molecule((5, 0, 6, 7)), "CCO", molecule((3, 2, 1, 4)), molecule((0, 7, 2, 2))]
    together = neighbourhoods(Fake(), some, 3, similarity=0.3, seed=4)
    assert together[1] is None  # it cannot be encoded
    assert sum(len(near) for near in together if near) >= 6
    for text, near in zip(some, together, strict=True):
        assert neighbourhoods(Fake(), [text], 3, similarity=0.3, seed=4) == [near]
        assert all(similarity(text, one.smiles) >= 0.3 and one.smiles != text for one in near or [])
    assert neighbourhoods(Fake(), some, 3, similarity=0.3, seed=5) != together


def test_a_molecule_near_to_two_goes_to_the_nearer() -> None:
    a, b, c = Near("CC", "CC", 0.6), Near("CN", "CN", 0.7), Near("C[C@H](F)O", "CC(O)F", 0.5)
    lists = [[a, c], [Near("CC", "CC", 0.8), b], [b, Near("C[C@@H](F)O", "CC(O)F", 0.5)]]
    assert once(lists) == [[c], [Near("CC", "CC", 0.8), b], []]


def test_labels_are_copied_or_drawn_to_the_mean() -> None:
    lists = [[Near("CC", "CC", 0.5)], [], [Near("CN", "CN", 0.6)]]
    assert relabelled(["active", "inactive", "active"], lists, 0.0) == [["active", "active"], ["inactive"], ["active"] * 2]
    # The mean of 1, 3 and 5 is 3: 3 + 0.5 (1 - 3) = 2 and 3 + 0.6 (5 - 3) = 4.2; then with squares, 2.5 and 3.72.
    assert relabelled([1, 3, 5], lists, 1.0) == [[1, 2.0], [3], [5, pytest.approx(4.2)]]
    assert relabelled([1, 3, 5], lists, 2.0) == [[1, 2.5], [3], [5, pytest.approx(3.72)]]


def test_rows_of_a_real_model(small_model: Model) -> None:
    smiles = [*SMILES[:12], "C1CC", SMILES[3], "CCO", "CCO.Cl"]
    labels = [*range(12), 12, 13, None, 15]
    plain = augment(smiles, labels, n=2, model=small_model, similarity=0.3, held_out=[], seed=1)
    assert augment(smiles, labels, n=2, model=small_model, similarity=0.3, held_out=[], seed=1) == plain
    own = [Chem.CanonSmiles(text) for text in SMILES[:12]]
    given = dict(zip([*own, Chem.CanonSmiles("CCO.Cl")], [*range(12), 15], strict=True))
    rows = list(zip(plain.smiles, plain.labels, plain.parents, plain.similarity, plain.sources, strict=True))
    assert [row[:3] for row in rows if row[4] == "input"] == [(text, label, text) for text, label in given.items()]
    new = [row for row in rows if row[4] == "latent"]
    assert len(new) == plain.n_new > 4 and len({row[0] for row in new}) == len(new)
    for text, label, parent, alike, _ in new:
        assert alike == pytest.approx(similarity(text, parent)) and alike >= 0.3
        assert label == given[parent] and text not in given
    assert plain.left_out == {"not a valid SMILES": 1, "a molecule that was there before": 1, "no label": 1}
    assert (plain.unencodable, plain.also_held_out) == (1, 0)
    assert plain.short == sum([row[2] for row in new].count(parent) < 2 for parent in given)
    # What is held out is nobody's neighbour, and an input molecule that is held out is told.
    without = augment(smiles, labels, n=2, model=small_model, similarity=0.3, held_out=[new[0][0], own[2], "C1CC"], seed=1)
    assert new[0][0] not in without.smiles and (without.also_held_out, without.unknown_held_out) == (1, 1)
    shrunk = augment(smiles, labels, n=2, model=small_model, similarity=0.3, shrink=1.0, seed=1)
    mean = sum(given.values()) / len(given)
    expected = [mean + alike * (given[parent] - mean) for _, _, parent, alike, _ in rows]
    assert shrunk.smiles == plain.smiles and shrunk.labels == pytest.approx(expected)


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["1", "0", "", "1"], [1, 0, None, 1]),
        (["1.5", "-2", "+1e-1", "3"], [1.5, -2.0, 0.1, 3.0]),
        (["active", "1", "", "nan"], ["active", "1", None, "nan"]),
    ],
    ids=["whole", "numbers", "text"],
)
def test_labels_are_what_the_column_holds(tmp_path: Path, cells: list[str], labels: list[object]) -> None:
    (tmp_path / "table.csv").write_text("y,SMILES\n" + "".join(f"{cell},{'C' * (i + 1)}\n" for i, cell in enumerate(cells)))
    found = read_labels(tmp_path / "table.csv", "y")
    assert found == (["C", "CC", "CCC", "CCCC"], labels)
    assert [type(label) for label in found[1]] == [type(label) for label in labels]


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"n": 0}, ConfigError, "n is 0"),
        ({"similarity": 1.0}, ConfigError, "similarity 1.0"),
        ({"shrink": -1.0}, ConfigError, "shrink -1.0"),
        ({"labels": [1]}, ConfigError, "1 labels for 3 molecules"),
        ({"labels": ["a", "b", "c"], "shrink": 1.0}, ConfigError, "only numbers can be shrunk"),
        ({"labels": [None, "", float("nan")]}, DataError, "none of the 3 rows"),
        ({"similarity": 0.999}, DataError, "no molecule with a similarity of 0.999"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_mistakes_are_sentences(small_model: Model, settings: dict, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        augment(SMILES[:3], **({"labels": [1, 2, 3], "model": small_model} | settings))
