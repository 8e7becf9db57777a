"""Latent proposals: alignment of latent and molecule, and the statistics that their formulas promise."""

from dataclasses import dataclass

import numpy as np
import pytest
from fakes import FakeModel, molecule

from molvae.history import Evaluation, History, Proposal
from molvae.search.credit import source_shares
from molvae.search.proposals.base import PROPOSALS
from molvae.search.proposals.latent import LatentStep
from molvae.search.space import SearchSpace
from molvae.tokens import Decoded

PARENTS = [Proposal(molecule((i, 1, 2, 3)), "start") for i in range(4)]
LATENT = ("latent_step", "latent_crossover", "prior")


class EchoModel:
    """Decodes every latent to `smiles` and remembers the latents; its prior is N(2, 3^2) in 16 dimensions."""

    latent_size = 16

    def __init__(self, smiles: str | None = "C", faithful: bool = True) -> None:
        self.smiles, self.faithful = smiles, faithful
        self.decoded: list[np.ndarray] = []

    def encode(self, smiles: list[str]) -> np.ndarray:
        return np.full((len(smiles), 16), np.nan, dtype=np.float32)

    def decode(self, z: np.ndarray, *, temperature: float = 0.0, seed: int = 0) -> list[Decoded]:
        self.decoded.append(np.array(z))
        return [Decoded("[C]", self.smiles, self.faithful, "" if self.faithful else "repaired") for _ in z]

    def sample_latents(self, n: int, *, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).normal(2.0, 3.0, (n, 16)).astype(np.float32)


@pytest.mark.parametrize("name", LATENT)
def test_each_child_is_the_molecule_of_its_latent(name: str) -> None:
    children = PROPOSALS.build(name, None, SearchSpace(FakeModel())).propose(PARENTS, 50, np.random.default_rng(0))
    assert len(children) == 50
    assert {c.source for c in children} == {name}
    assert all(c.z is not None and c.z.shape == (4,) and c.z.dtype == np.float32 for c in children)
    again = FakeModel().decode(np.array([c.z for c in children]))
    assert [c.smiles for c in children] == [d.smiles for d in again]


@pytest.mark.parametrize("name", [n for n in PROPOSALS if "selfies" not in n])
def test_the_same_generator_gives_the_same_children(name: str) -> None:
    source = PROPOSALS.build(name, None, SearchSpace(FakeModel()))
    first, second = (source.propose(PARENTS, 20, np.random.default_rng(5)) for _ in range(2))
    assert [c.smiles for c in first] == [c.smiles for c in second]
    assert [c.smiles for c in first] != [c.smiles for c in source.propose(PARENTS, 20, np.random.default_rng(6))]


@pytest.mark.parametrize(("name", "smiles", "kept"), [
    ("prior", "CCO", False), ("latent_step", "CCO", True), ("latent_crossover", "CCO", True),
    ("latent_step", "C1CCCCCCCCCCC1", False), ("latent_crossover", "[CH2]CC", False), ("latent_step", None, False),
])  # fmt: skip
def test_repaired_molecules_are_children_only_of_steps_and_only_if_sane(name: str, smiles: str | None, kept: bool) -> None:
    parents = [Proposal("C", "start", np.zeros(16, dtype=np.float32)), Proposal("CC", "start", np.ones(16, np.float32))]
    source = PROPOSALS.build(name, None, SearchSpace(EchoModel(smiles, faithful=False)))
    assert [c.smiles for c in source.propose(parents, 9, np.random.default_rng(0))] == [smiles] * 9 * kept


@pytest.mark.parametrize("name", ["latent_step", "latent_crossover"])
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
