"""Latent proposals: alignment of latent and molecule, and the statistics that their formulas promise."""

from dataclasses import dataclass

import numpy as np
import pytest
from fakes import FakeModel, molecule
from rdkit import Chem

from molvae.history import Evaluation, History, Proposal
from molvae.search.credit import source_shares
from molvae.search.proposals.base import PROPOSALS
from molvae.search.proposals.latent import LatentStep
from molvae.search.proposals.latent_regions import LatentTrustRegion
from molvae.search.space import SearchSpace
from molvae.strings.tokens import Decoded

PARENTS = [Proposal(molecule((i, 1, 2, 3)), "start") for i in range(4)]
MEASURED = History([Evaluation(i, molecule((i, i, 2, 3)), i / 8.0, source="start") for i in range(1, 8)])
LATENT = ("latent_step", "latent_crossover", "latent_trust_region", "prior")


class EchoModel:
    """Decodes every latent to `smiles` and remembers the latents; its prior is N(2, 3^2) in `latent_size` dimensions."""

    def __init__(self, smiles: str | None = "C", faithful: bool = True, latent_size: int = 16) -> None:
        self.smiles, self.faithful, self.latent_size = smiles, faithful, latent_size
        self.decoded: list[np.ndarray] = []

    def encode(self, smiles: list[str]) -> np.ndarray:
        return np.full((len(smiles), self.latent_size), np.nan, dtype=np.float32)

    def decode(self, z: np.ndarray, *, temperature: float = 0.0, seed: int = 0) -> list[Decoded]:
        self.decoded.append(np.array(z))
        return [Decoded("[C]", self.smiles, self.faithful, "" if self.faithful else "repaired") for _ in z]

    def sample_latents(self, n: int, *, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).normal(2.0, 3.0, (n, self.latent_size)).astype(np.float32)


@pytest.mark.parametrize("name", LATENT)
def test_each_child_is_the_molecule_of_its_latent(name: str) -> None:
    children = PROPOSALS.build(name, None, SearchSpace(FakeModel())).propose(PARENTS, 50, np.random.default_rng(0))
    assert len(children) == 50
    assert {c.source for c in children} == {name}
    assert all(c.z is not None and c.z.shape == (4,) and c.z.dtype == np.float32 for c in children)
    again = FakeModel().decode(np.array([c.z for c in children]))
    assert [c.smiles for c in children] == [d.smiles for d in again]


class CompanyModel(FakeModel):
    """Its latents depend on the batch, as the last digits of a real one's do."""

    def encode(self, smiles: list[str]) -> np.ndarray:
        return super().encode(smiles) + np.float32(0.01 * len(smiles))


@pytest.mark.parametrize("name", ["latent_step", "latent_crossover", "latent_trust_region"])
def test_a_search_that_goes_on_finds_what_an_uninterrupted_one_finds(name: str) -> None:
    old, new = (PROPOSALS.build(name, None, SearchSpace(CompanyModel())) for _ in range(2))
    old.propose(PARENTS[:3], 20, np.random.default_rng(1), History())
    found = [source.propose(PARENTS, 50, np.random.default_rng(2), MEASURED) for source in (old, new)]
    assert [(c.smiles, c.z.tolist()) for c in found[0]] == [(c.smiles, c.z.tolist()) for c in found[1]]


@pytest.mark.parametrize("name", list(PROPOSALS))
def test_the_same_generator_gives_the_same_children(name: str) -> None:
    source = PROPOSALS.build(name, None, SearchSpace(FakeModel()))
    first, second = (source.propose(PARENTS, 20, np.random.default_rng(5), MEASURED) for _ in range(2))
    assert [c.smiles for c in first] == [c.smiles for c in second]
    other = source.propose(PARENTS, 20, np.random.default_rng(6), MEASURED)
    assert [c.smiles for c in first] != [c.smiles for c in other]


@pytest.mark.parametrize("name", list(PROPOSALS))
def test_children_are_molecules_under_the_name_of_their_source(name: str) -> None:
    children = PROPOSALS.build(name, None, SearchSpace(FakeModel())).propose(PARENTS, 30, np.random.default_rng(7), MEASURED)
    assert 0 < len(children) <= 30
    assert {c.source for c in children} == {name}
    assert [Chem.CanonSmiles(c.smiles) for c in children] == [c.smiles for c in children]


@pytest.mark.parametrize("name", list(PROPOSALS))
def test_a_source_that_has_seen_other_rounds_gives_the_same_children(name: str) -> None:
    used, fresh = (PROPOSALS.build(name, None, SearchSpace(FakeModel())) for _ in range(2))
    used.propose(PARENTS[:2], 10, np.random.default_rng(1), History(MEASURED.evaluations[:3]))
    first, second = (source.propose(PARENTS, 20, np.random.default_rng(5), MEASURED) for source in (used, fresh))
    assert [c.smiles for c in first] == [c.smiles for c in second]


@pytest.mark.parametrize(("name", "smiles", "kept"), [
    ("prior", "CCO", False), ("latent_step", "CCO", True), ("latent_crossover", "CCO", True),
    ("latent_step", "C1CCCCCCCCCCC1", False), ("latent_crossover", "[CH2]CC", False), ("latent_step", None, False),
])  # fmt: skip
def test_repaired_molecules_are_children_only_of_steps_and_only_if_sane(name: str, smiles: str | None, kept: bool) -> None:
    parents = [Proposal("C", "start", np.zeros(16, dtype=np.float32)), Proposal("CC", "start", np.ones(16, np.float32))]
    source = PROPOSALS.build(name, None, SearchSpace(EchoModel(smiles, faithful=False)))
    assert [c.smiles for c in source.propose(parents, 9, np.random.default_rng(0))] == [smiles] * 9 * kept


@pytest.mark.parametrize("name", ["latent_step", "latent_crossover", "latent_trust_region"])
def test_parents_that_cannot_be_encoded_have_no_children(name: str) -> None:
    source = PROPOSALS.build(name, None, SearchSpace(EchoModel()))
    assert source.propose([Proposal("C", "start"), Proposal("CC", "start")], 9, np.random.default_rng(0)) == []


def test_a_step_keeps_the_prior_where_it_is() -> None:
    # pCN leaves the Gaussian invariant: if parents are draws from N(2, 3^2), so are children, at any step size.
    for size in (0.2, 0.9):
        model = EchoModel()
        source = LatentStep(SearchSpace(model), smallest=size, largest=size)
        parents = [Proposal("C", "start", z) for z in model.sample_latents(2000, seed=1)]
        source.propose(parents, 4000, np.random.default_rng(0))
        children = model.decoded[-1]
        assert abs(children.mean() - 2.0) < 0.15
        assert abs(children.std() - 3.0) < 0.15


def test_the_step_size_is_the_distance_from_the_parent() -> None:
    model = EchoModel()
    parent = Proposal("C", "start", np.full(16, 2.0, dtype=np.float32))  # at the prior's mean a step is s * 3 * N(0, 1)
    LatentStep(SearchSpace(model), smallest=0.1, largest=0.1).propose([parent], 2000, np.random.default_rng(0))
    assert abs((model.decoded[-1] - 2.0).std() - 0.3) < 0.02


def test_crossover_stays_on_the_line_between_its_parents() -> None:
    model = EchoModel()
    a, b = np.zeros(16, dtype=np.float32), np.arange(1.0, 17.0, dtype=np.float32)
    parents = [Proposal("C", "start", a), Proposal("CC", "start", b)]
    PROPOSALS.build("latent_crossover", None, SearchSpace(model)).propose(parents, 200, np.random.default_rng(0))
    share = model.decoded[-1] / b
    np.testing.assert_allclose(share, np.broadcast_to(share[:, :1], share.shape), atol=1e-6)
    assert share.min() >= -0.1 - 1e-6 and share.max() <= 1.1 + 1e-6


def elites(z: np.ndarray, scores: list[float], failures: int = 0) -> History:
    """One round of molecules with these latents, and rounds with one worse molecule of the source each."""
    rows = zip(z.astype(np.float32), scores, strict=True)
    history = History([Evaluation(i, "C" * i, s, source="start", z=row) for i, (row, s) in enumerate(rows, 1)])
    for k in range(failures):
        number = history.n_rounds
        history.append_round([Evaluation(99 + k, "N" * (k + 1), -1.0, source="latent_trust_region", round=number)])
    return history


def moves(model: EchoModel, history: History, n: int, anchors: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(n, D) children less (D,) the best molecule's latent, in standard deviations of the prior, and which moved at all."""
    source = LatentTrustRegion(SearchSpace(model), anchors=anchors)
    source.propose(PARENTS, n, np.random.default_rng(0), history)
    difference = model.decoded[-1] - np.asarray(history.best(1)[0].z)
    return difference / source.prior_moments[1], np.abs(difference) > 1e-4


@pytest.mark.parametrize(("failures", "half_side"), [(0, 3.2), (4, 3.2), (5, 1.6), (9, 1.6), (10, 3.2)])
def test_a_box_moves_about_twenty_coordinates_by_at_most_half_its_side(failures: int, half_side: float) -> None:
    # A side of 0.8 of 8 standard deviations, halved by five failures in a row; five more would be below 0.4: it begins anew.
    steps, moved = moves(EchoModel(latent_size=80), elites(np.full((1, 80), 2.0), [1.0], failures), 2000)
    assert 0.95 * half_side < np.abs(steps).max() < half_side + 1e-3
    assert abs(steps[moved].std() - half_side / np.sqrt(3)) < 0.02 * half_side  # uniform in the box
    assert abs(moved.sum(axis=1).mean() - 20.0) < 0.4 and moved.any(axis=1).all()


def test_boxes_have_as_many_children_each_and_leave_out_anchors_inside_better_ones() -> None:
    # Half a side is 3.2 standard deviations of 3: 9.6. The second best is within it, the third and fourth are outside.
    z = np.full((4, 80), 2.0)
    z[1] += 5.0
    z[2, :40] -= 10.5
    z[3, 40:] += 10.5
    model = EchoModel(latent_size=80)
    _, moved = moves(model, elites(z, [0.9, 0.8, 0.7, 0.6]), 10, anchors=3)
    near = [int(np.argmax((np.abs(child - z) < 1e-4).sum(axis=1))) for child in model.decoded[-1]]
    assert near == [0] * 4 + [2] * 3 + [3] * 3
    assert moved.any(axis=1).all()


@dataclass
class Round:
    source: str
    scores: list[float]


def history_of(rounds: list[Round]) -> History:
    history = History()
    for number, r in enumerate(rounds):
        calls = range(len(history) + 1, len(history) + len(r.scores) + 1)
        history.append_round(
            [Evaluation(c, f"m{c}", s, source=r.source, round=number) for c, s in zip(calls, r.scores, strict=True)]
        )
    return history


def test_sources_share_evenly_before_anything_is_known() -> None:
    assert source_shares(History(), ["a", "b", "c", "d"]) == dict.fromkeys("abcd", 0.25)


def test_shares_follow_the_rate_of_wins_and_keep_a_floor() -> None:
    scores = [0.5] * 50
    history = history_of([Round("start", scores), Round("a", [0.9] * 10), Round("b", [0.1] * 10 + [0.95] * 10)])
    shares = source_shares(history, ["a", "b"])
    assert sum(shares.values()) == pytest.approx(1.0)
    # Undiscounted, a wins 10 of 10 and b 10 of 20: rates 11/12 and 11/22, of which half of the pool is shared out. Discounts
    # of at most 2^(-30/200) move this by less than 0.02.
    assert shares["a"] == pytest.approx(0.25 + 0.5 * (11 / 12) / (11 / 12 + 11 / 22), abs=0.02)
    assert shares["b"] > 0.25


def test_failed_measurements_earn_nothing() -> None:
    history = history_of([Round("a", [float("nan")] * 20), Round("b", [0.2])])
    shares = source_shares(history, ["a", "b"])
    assert shares["b"] > shares["a"]
