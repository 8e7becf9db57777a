"""LOL-BO: when the model is trained, what training does to it, and that all of it comes back from the history."""

import numpy as np
import pytest
import torch
from drugs import SMILES
from fakes import FakeModel, molecule

from molvae.chem.molecules import canonical
from molvae.errors import ConfigError
from molvae.generation.model import Model
from molvae.history import Evaluation, History, Proposal
from molvae.randomness import child_seed
from molvae.search.joint_training import jointly_trained
from molvae.search.space import SearchSpace
from molvae.search.strategies.base import STRATEGIES
from molvae.search.strategies.lolbo import update_calls

DRUGS = [s for s in map(canonical, SMILES[:60]) if s]
FAST = {"initial": 12, "batch": 4, "candidates": 50, "patience": 4, "top": 8, "newest": 8, "steps": 3, "learning_rate": 3e-2}


def history_of(*rounds: list[float]) -> History:
    """Rounds of these scores; the molecules are those of the toy."""
    history, names = History(), iter([molecule((i, j, 1, 1)) for i in range(8) for j in range(8)])
    for number, scores in enumerate(rounds):
        first = len(history) + 1
        history.append_round([Evaluation(first + i, next(names), s, round=number) for i, s in enumerate(scores)])
    return history


def test_the_model_is_trained_when_neither_improvement_nor_update_has_come_for_long() -> None:
    low, nan = [0.1, 0.1], float("nan")
    # Improvements after 2 and 6 calls; 4 calls later, at 10, the first update, at 14 the next, at 16 it is too early.
    history = history_of([0.2, 0.1], low, [0.1, 0.3], low, low, low, low, low)
    assert update_calls(history, 4, 0.0) == [10, 14]
    # A third of all calls is more than 4 from 12 on: 6 + 4 = 10, then 10 + 6 = 16 (14 would be 4 < 14/3 calls later).
    assert update_calls(history, 4, 1 / 3) == [10, 16]
    # What has failed improves nothing, and before the first value there is nothing to train on.
    assert update_calls(history_of([nan, nan], [nan, nan], [nan, nan], [0.1, nan], [nan, nan], low), 4, 0.0) == [12]
    assert update_calls(History(), 4, 0.0) == []
    # The updates of the past do not change when the history grows: else a resumed run would train another model.
    for n in range(history.n_rounds):
        before = history.before(n)
        assert update_calls(before, 4, 0.0) == [end for end in [10, 14] if end <= len(before)]


def scores_of(smiles: list[str]) -> np.ndarray:
    """Share of carbon in the string: nothing that a latent was made to tell."""
    return np.array([s.upper().count("C") / len(s) for s in smiles])


def evidence(model: Model, smiles: list[str], y: np.ndarray) -> float:
    """Log density of standardised scores under a GP of unit variance whose RBF has the median distance as its length."""
    z = model.encode(smiles).astype(np.float64)
    squares = ((z[:, None] - z[None]) ** 2).sum(-1)
    covariance = np.exp(-0.5 * squares / np.median(squares)) + 0.1 * np.eye(len(z))
    y = (y - y.mean()) / y.std()
    return float(-0.5 * y @ np.linalg.solve(covariance, y) - 0.5 * np.linalg.slogdet(covariance)[1])


def test_joint_training_teaches_the_latents_the_score_and_leaves_the_given_model_alone(small_model: Model) -> None:
    before = {name: value.clone() for name, value in small_model.vae.state_dict().items()}
    moments = np.zeros(small_model.latent_size), np.ones(small_model.latent_size)
    state = torch.get_rng_state()

    def trained(seed: int) -> Model:
        return jointly_trained(small_model, DRUGS, scores_of(DRUGS), moments, steps=15, learning_rate=3e-3, seed=seed)

    first, again, other = trained(1), trained(1), trained(2)
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in small_model.vae.state_dict().items():
        assert torch.equal(value, before[name])
    assert not small_model.vae.training
    assert not first.vae.training
    np.testing.assert_array_equal(first.encode(DRUGS), again.encode(DRUGS))
    assert (first.encode(DRUGS) != other.encode(DRUGS)).any()
    # By a kernel that the training does not know, the scores are likelier in the new latents than in the old.
    assert evidence(first, DRUGS, scores_of(DRUGS)) > evidence(small_model, DRUGS, scores_of(DRUGS)) + 2.0


def test_with_nothing_to_learn_from_the_copy_is_the_model(small_model: Model) -> None:
    moments = np.zeros(small_model.latent_size), np.ones(small_model.latent_size)
    copy = jointly_trained(small_model, DRUGS[:1], np.zeros(1), moments, steps=5, learning_rate=1e-2, seed=0)
    assert copy.vae is not small_model.vae
    np.testing.assert_array_equal(copy.encode(DRUGS), small_model.encode(DRUGS))


def run(model: Model, n_rounds: int, **settings: object) -> tuple[History, list[list[Proposal]]]:
    """A search with one strategy object that never improves, so that each round trains, and what it proposed in each."""
    strategy, history, asked = build(model, **settings), History(), []
    for number in range(n_rounds):
        proposals = strategy.propose(history, strategy.batch_size(len(history)), child_seed(0, "round", number))
        asked.append(proposals)
        scores = scores_of([p.smiles for p in proposals]) * (1.0 if number == 0 else 0.5)
        history.append_round(
            [
                Evaluation(len(history) + i, p.smiles, s, source=p.source, round=number, z=p.z)
                for i, (p, s) in enumerate(zip(proposals, scores, strict=True), 1)
            ]
        )
    return history, asked


def build(model: object, **settings: object):  # type: ignore[no-untyped-def]
    return STRATEGIES.build("lolbo", {**FAST, **settings}, SearchSpace(model, start=tuple(DRUGS[:12]), seed=3))


def test_a_resumed_search_trains_the_same_model_again(small_model: Model) -> None:
    history, asked = run(small_model, 5)
    ends = update_calls(history.before(4), FAST["patience"], 0.05)
    assert len(ends) >= 2, "the test is about updates that build on each other"
    resumed = build(small_model).propose(history.before(4), FAST["batch"], child_seed(0, "round", 4))
    assert [(p.smiles, p.source) for p in resumed] == [(p.smiles, p.source) for p in asked[4]]
    assert resumed


def test_after_an_update_the_best_molecules_are_decoded_again_and_what_is_new_is_asked_for(small_model: Model) -> None:
    history, asked = run(small_model, 5)
    first = update_calls(history, FAST["patience"], 0.05)[0]
    number = next(r for r in range(5) if len(history.before(r)) == first)
    # The same update by hand: the 8 best and the 8 newest so far, in the order of their calls.
    smiles, scores = history.smiles[:first], history.scores[:first]
    best = sorted(range(first), key=lambda i: -scores[i])[:8]
    rows = sorted({*best, *range(first - 8, first)})
    z = small_model.sample_latents(1024, seed=child_seed(3, "prior moments")).astype(np.float64)
    copy = jointly_trained(
        small_model, [smiles[i] for i in rows], scores[rows], (z.mean(0), z.std(0)),
        steps=3, learning_rate=3e-2, seed=child_seed(3, "joint training", 0),
    )  # fmt: skip
    moved_to = copy.encode([smiles[i] for i in best], sample=True, seed=child_seed(3, "recentering", 0))
    decoded = [d.smiles for d in copy.decode(moved_to)]
    moved = [p.smiles for p in asked[number] if p.source == "recentering"]
    assert moved, "the update has moved a molecule"
    assert set(moved) <= set(decoded) - set(smiles)
    assert all(p.z is None for proposals in asked[number:] for p in proposals if p.source != "prior")


def test_a_model_without_a_network_is_searched_as_it_is() -> None:
    strategy = STRATEGIES.build("lolbo", {"patience": 1}, SearchSpace(FakeModel()))
    history = history_of([0.2] * 20, [0.1] * 20)
    assert update_calls(history, 1, 0.05) == [40]
    proposals = strategy.propose(history, 5, 0)
    assert {p.source for p in proposals} == {"lolbo"}
    assert [d.smiles for d in FakeModel().decode(np.array([p.z for p in proposals]))] == [p.smiles for p in proposals]


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"patience": 0}, "patience"), ({"steps": 0}, "steps"), ({"learning_rate": 0.0}, "learning_rate")],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        STRATEGIES.build("lolbo", settings, SearchSpace(FakeModel()))
