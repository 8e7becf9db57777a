"""Paths between molecules and neighbourhoods of one: ends, positions and similarities, against RDKit and a made-up model."""

import numpy as np
import pytest
from drugs import SMILES
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from molvae.chem import canonical
from molvae.errors import ConfigError, InvalidMolecule
from molvae.generation.exploration import neighbours
from molvae.strings.tokens import Decoded


@pytest.fixture(scope="module")
def z(small_model):
    return small_model.encode(SMILES)


@pytest.mark.parametrize("mode", ["linear", "spherical"])
def test_interpolation_begins_and_ends_at_its_molecules(small_model, z, mode):
    path = [point.decoded for point in small_model.interpolate(SMILES[1], SMILES[2], steps=7, mode=mode, unique=False)]
    assert len(path) == 7
    assert [path[0], path[-1]] == small_model.decode(z[1:3])
    middle = {"linear": 0.5 * (z[1] + z[2])}
    a, b = z[1].astype(np.float64), z[2].astype(np.float64)
    angle = np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    middle["spherical"] = (a + b) * np.sin(angle / 2) / np.sin(angle)  # White 2016, section 2, at one half
    assert path[3] == small_model.decode(middle[mode].astype(np.float32))[0]


def similarity(one, other):
    fingerprint = rdFingerprintGenerator.GetMorganGenerator(radius=2).GetSparseCountFingerprint
    return DataStructs.TanimotoSimilarity(*(fingerprint(Chem.MolFromSmiles(s)) for s in (one, other)))


def test_unique_steps_are_those_of_all_without_repeats_and_know_both_ends(small_model):
    every = small_model.interpolate(SMILES[1], SMILES[2], steps=40, unique=False)
    path = small_model.interpolate(SMILES[1], SMILES[2], steps=40)
    first_met = {}
    for point in every:
        if point.decoded.smiles is not None:
            first_met.setdefault(point.decoded.smiles, point.position)
    assert {point.decoded.smiles: point.position for point in path} == first_met and 2 <= len(path) < 40
    assert (every[0].position, every[-1].position) == (0.0, 1.0)
    for point in path:
        assert point.similarity_first == pytest.approx(similarity(point.decoded.smiles, SMILES[1]))
        assert point.similarity_last == pytest.approx(similarity(point.decoded.smiles, SMILES[2]))


def test_neighbours_are_new_valid_and_come_with_their_latents(small_model):
    found = small_model.neighbours(SMILES[1], 8, sigma=0.5, seed=2)
    names = [near.decoded.smiles for near in found]
    assert 0 < len(found) <= 8 and len(set(names)) == len(names)
    assert canonical(SMILES[1]) not in names and None not in names
    centre = small_model.encode([SMILES[1]])[0]
    distances = [np.linalg.norm(near.z - centre) for near in found]
    assert np.mean(distances) == pytest.approx(0.5 * np.sqrt(small_model.latent_size), rel=0.25)
    for near in found:
        assert small_model.decode(near.z)[0] == near.decoded
        assert near.similarity == pytest.approx(similarity(near.decoded.smiles, SMILES[1]))
    again = small_model.neighbours(SMILES[1], 8, sigma=0.5, seed=2)
    assert [near.decoded for near in again] == [near.decoded for near in found]


class Ruler:
    """A model whose molecules are chains of carbon: the further from the middle a latent is, the shorter they are."""

    def encode(self, smiles):
        return np.zeros((len(smiles), 64), np.float32)

    def explain(self, smiles):
        return [""] * len(smiles)

    def decode(self, z):
        lengths = np.maximum(1, 30 - 12 * np.linalg.norm(z, axis=1) / 8).astype(int)  # the norm of N(0, I) is about 8
        return [Decoded("", "C" * n + "O" * (i % 7), True) for i, n in enumerate(lengths.tolist())]


@pytest.mark.parametrize("wanted", [0.35, 0.6, 0.85])
def test_neighbours_have_the_similarity_that_was_asked_for(wanted):
    found = neighbours(Ruler(), "C" * 30, 5, similarity=wanted, seed=1)
    assert len(found) == 5
    assert all(near.similarity == pytest.approx(wanted, abs=0.1) for near in found)
    assert [near.similarity for near in found] == sorted((near.similarity for near in found), reverse=True)
    for near in found:
        assert near.similarity == pytest.approx(similarity(near.decoded.smiles, "C" * 30))


def test_a_real_decoder_finds_as_many_as_were_asked_for(small_model):
    found = small_model.neighbours(SMILES[1], 6, similarity=0.5, seed=3)
    assert len({near.decoded.smiles for near in found} - {canonical(SMILES[1])}) == len(found) == 6


def test_neighbours_keep_a_core():
    query, lead = Chem.MolFromSmarts("OO"), "C" * 30 + "OO"
    holding = [
        [Chem.MolFromSmiles(near.decoded.smiles).HasSubstructMatch(query) for near in found]
        for found in (neighbours(Ruler(), lead, 9, sigma=0.5, keep=core) for core in ("", "OO"))
    ]
    assert not all(holding[0]) and holding[1] == [True] * 9


def test_too_few_neighbours_are_no_error(small_model):
    assert len(small_model.neighbours(SMILES[1], 50, sigma=1e-6, rounds=1)) < 50


def test_a_core_that_the_molecule_lacks_is_refused(small_model):
    with pytest.raises(ConfigError, match="does not hold the core"):
        small_model.neighbours(SMILES[1], 3, keep="[Te]")


@pytest.mark.parametrize("settings", [{"similarity": 0.0}, {"similarity": 1.0}, {"sigma": 0.0}, {"sigma": -1.0}])
def test_a_neighbourhood_that_makes_no_sense_is_refused(small_model, settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        small_model.neighbours(SMILES[1], 3, **settings)


@pytest.mark.parametrize("bad", ["not a molecule", "CC.O", "[Te]"])
def test_a_molecule_without_a_latent_is_refused_by_name(small_model, bad):
    with pytest.raises(InvalidMolecule, match="cannot encode"):
        small_model.interpolate(SMILES[0], bad)
    with pytest.raises(InvalidMolecule, match="cannot encode"):
        small_model.neighbours(bad, 3)


def test_a_mistyped_mode_is_refused(small_model):
    with pytest.raises(ConfigError, match="Did you mean 'spherical'"):
        small_model.interpolate(SMILES[0], SMILES[1], mode="sferical")
    with pytest.raises(ConfigError, match="steps is 1"):
        small_model.interpolate(SMILES[0], SMILES[1], steps=1)
