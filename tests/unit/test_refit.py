"""Refits: when they come, what they teach the model, and that a resumed search makes the same one again."""

import numpy as np
import pytest
import torch
from drugs import SMILES
from fakes import FakeModel, molecule

from molvae.chem.molecules import canonical
from molvae.errors import ConfigError
from molvae.generation.model import Model
from molvae.history import Evaluation, History
from molvae.randomness import child_seed
from molvae.search.credit import rank_weights
from molvae.search.proposers import refit_call
from molvae.search.refit import refitted
from molvae.search.space import SearchSpace
from molvae.search.strategies.base import STRATEGIES

DRUGS = [s for s in map(canonical, SMILES[:40]) if s]
SETTINGS = {"initial": 12, "first_batch": 4, "batch": 4, "children": 30, "parents": 10, "immigrants": 5, "generations": 1}


def history_of(sizes: list[int]) -> History:
    """Rounds of these sizes; the molecules are those of the toy."""
    names = iter([molecule((i, j, k, 1)) for i in range(8) for j in range(8) for k in range(8)])
    history = History()
    for number, size in enumerate(sizes):
        first = len(history) + 1
        history.append_round([Evaluation(first + i, next(names), 0.5, round=number) for i in range(size)])
    return history


@pytest.mark.parametrize(("every", "expected"), [(30, [0, 0, 35, 65, 65]), (25, [0, 0, 35, 65, 75]), (200, [0] * 5)])
def test_a_refit_follows_the_round_that_reaches_another_multiple(every: int, expected: list[int]) -> None:
    history = history_of([20, 15, 30, 10])  # 20, 35, 65 and 75 calls
    assert [refit_call(history.before(n), every) for n in range(5)] == expected


def test_rank_weights_are_those_of_the_paper() -> None:
    # w proportional to 1 / (k N + rank): k N = 0.5 gives 2, 2/3, 2/5, 2/7, 2/9, ...
    weights = rank_weights(5, 0.1)
    np.testing.assert_allclose(weights / weights[0], [1, 1 / 3, 1 / 5, 1 / 7, 1 / 9])
    assert weights.sum() == pytest.approx(1.0)


def exact(model: Model, smiles: list[str]) -> float:
    """Share of molecules that come back from their latents."""
    return float(np.mean([d.smiles == s for d, s in zip(model.decode(model.encode(smiles)), smiles, strict=True)]))


def test_a_refit_teaches_the_best_molecules_and_leaves_the_given_model_alone(small_model: Model) -> None:
    before = {name: value.clone() for name, value in small_model.vae.state_dict().items()}
    state = torch.get_rng_state()
    scores = np.array([1.0] * 8 + [0.0] * (len(DRUGS) - 8))
    settings = {"steps": 40, "batch": 16, "learning_rate": 3e-3}
    first, again, other = (refitted(small_model, DRUGS, scores, seed=seed, **settings) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in small_model.vae.state_dict().items():
        assert torch.equal(value, before[name])
    assert not first.vae.training
    np.testing.assert_array_equal(first.encode(DRUGS), again.encode(DRUGS))
    assert (first.encode(DRUGS) != other.encode(DRUGS)).any()
    assert exact(first, DRUGS[:8]) > exact(small_model, DRUGS[:8])


def test_molecules_that_cannot_be_encoded_are_left_out(small_model: Model) -> None:
    copy = refitted(small_model, ["[U]"], np.ones(1), steps=3, learning_rate=1e-2, seed=0)
    np.testing.assert_array_equal(copy.encode(DRUGS), small_model.encode(DRUGS))


def test_a_resumed_search_refits_the_same_model_again(small_model: Model) -> None:
    def build():  # type: ignore[no-untyped-def]
        space = SearchSpace(small_model, start=tuple(DRUGS[:12]), seed=3)
        return STRATEGIES.build("default", {**SETTINGS, "refit": 10, "refit_steps": 2, "refit_rate": 1e-2}, space)

    strategy, history, asked = build(), History(), []
    for number in range(5):
        proposals = strategy.propose(history, strategy.batch_size(len(history)), child_seed(0, "round", number))
        asked.append(proposals)
        first = len(history) + 1
        history.append_round(
            [
                Evaluation(first + i, p.smiles, p.smiles.count("C") / len(p.smiles), source=p.source, round=number, z=p.z)
                for i, p in enumerate(proposals)
            ]
        )
    assert [refit_call(history.before(n), 10) for n in range(5)] == [0, 12, 12, 20, 20]
    resumed = build().propose(history.before(4), 4, child_seed(0, "round", 4))
    assert [(p.smiles, p.source) for p in resumed] == [(p.smiles, p.source) for p in asked[4]]
    assert all(p.z is None for proposals in asked[1:] for p in proposals), "z of other weights is not kept"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"refit": 50}, "needs a model with a network"), ({"refit": -1}, "refit is -1"), ({"refit_steps": 0}, "refit_steps 0")],
)
def test_impossible_refits_are_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        STRATEGIES.build("default", settings, SearchSpace(FakeModel()))
