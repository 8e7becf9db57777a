"""What every registered strategy promises. A new file in molvae/search/strategies is covered without a new test."""

import re
from functools import cache

import numpy as np
import pytest
from fakes import FakeModel, Similarity, molecule
from rdkit import Chem

from molvae.chem import Core
from molvae.errors import MolvaeError
from molvae.history import Evaluation, History, Proposal
from molvae.randomness import child_seed
from molvae.search.demands import Demands
from molvae.search.proposals.base import PROPOSALS, build_sources
from molvae.search.space import SearchSpace
from molvae.search.strategies.base import STRATEGIES, Strategy

BUDGET = 150
START = (molecule((1, 0, 0, 0)), molecule((2, 1, 1, 1)), molecule((3, 2, 4, 2)))


def build(name: str, start: tuple[str, ...] = (), seed: int = 0) -> Strategy:
    return STRATEGIES.build(name, {}, SearchSpace(FakeModel(), start=start, seed=seed))


def measured(history: History, proposals: list[Proposal]) -> list[Evaluation]:
    """A round's evaluations by the toy objective, new molecules only; written without the ledger."""
    new = [p for p in proposals if p.smiles not in history.known]
    scores = [m.value for m in Similarity().measure([p.smiles for p in new])]
    return [
        Evaluation(len(history) + i, p.smiles, score, source=p.source, round=history.n_rounds, z=p.z)
        for i, (p, score) in enumerate(zip(new, scores, strict=True), 1)
    ]


@cache
def run(name: str, seed: int) -> History:
    """The toy search: as many rounds as fit into the budget."""
    strategy, history = build(name, seed=seed), History()
    while len(history) < BUDGET and history.n_rounds < 100:
        n = strategy.batch_size(len(history))
        proposals = strategy.propose(history, n, child_seed(seed, "round", history.n_rounds))
        history.append_round(measured(history, proposals)[: BUDGET - len(history)])
    return history


def top_10(history: History) -> float:
    return float(np.mean([e.score for e in history.best(10)]))


@pytest.fixture(params=list(STRATEGIES))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_settings_have_working_defaults(name: str) -> None:
    assert STRATEGIES.settings(name).keys() == STRATEGIES.defaults(name).keys()
    build(name)


def test_a_round_depends_on_history_and_seed_alone(name: str) -> None:
    history = run(name, 0)
    for rounds in (0, 1, 4):
        n = build(name).batch_size(len(history.before(rounds)))
        # A fresh object and a copy of the history, as after a kill; and the object that has seen other rounds meanwhile.
        first, fresh = build(name), build(name)
        asked = first.propose(history.before(rounds), n, 7)
        first.propose(history.before(1), 5, 8)
        for other in (first.propose(history.before(rounds), n, 7), fresh.propose(history.before(rounds), n, 7)):
            assert [(p.smiles, p.source) for p in other] == [(p.smiles, p.source) for p in asked]
            for p, q in zip(other, asked, strict=True):
                assert (p.z is None) == (q.z is None)
                if p.z is not None:
                    np.testing.assert_array_equal(p.z, q.z)


def test_another_seed_is_another_round(name: str) -> None:
    history = run(name, 0).before(2)
    strategy = build(name)
    n = strategy.batch_size(len(history))
    assert [p.smiles for p in strategy.propose(history, n, 1)] != [p.smiles for p in strategy.propose(history, n, 2)]


def test_never_more_than_asked_and_all_of_it_usable(name: str) -> None:
    history, strategy = run(name, 0).before(2), build(name)
    for n in (1, 3, strategy.batch_size(len(history))):
        proposals = strategy.propose(history, n, 3)
        assert 0 < len(proposals) <= n
        assert len({p.smiles for p in proposals}) == len(proposals)
        for p in proposals:
            assert Chem.CanonSmiles(p.smiles) == p.smiles, "canonical isomeric SMILES"
            assert p.smiles not in history.known, "not measured before"
            assert p.source
            assert p.z is None or (p.z.shape == (FakeModel.latent_size,) and p.z.dtype == np.float32)


def test_a_latent_belongs_to_its_molecule(name: str) -> None:
    with_z = [e for e in run(name, 0).evaluations if e.z is not None]
    decoded = FakeModel().decode(np.array([e.z for e in with_z])) if with_z else []
    assert [d.smiles for d in decoded] == [e.smiles for e in with_z]


def test_start_molecules_are_measured_first(name: str) -> None:
    strategy = build(name, start=START)
    assert strategy.batch_size(0) == len(START)
    assert [p.smiles for p in strategy.propose(History(), len(START), 0)] == list(START)
    history = History()
    history.append_round(measured(history, [Proposal(s, "start") for s in START]))
    later = strategy.propose(history, strategy.batch_size(len(history)), 1)
    assert later
    assert not {p.smiles for p in later} & set(START)


def test_only_molecules_that_hold_the_core_are_proposed(name: str) -> None:
    start = (molecule((1, 0, 0, 0)), molecule((2, 0, 1, 1)), molecule((3, 0, 4, 2)), molecule((2, 0, 5, 3)))
    pattern = Chem.MolFromSmarts("c1ccccc1")
    strategy = STRATEGIES.build(name, {}, SearchSpace(FakeModel(), start=start, demands=Demands(Core("C1=CC=CC=C1"))))
    history = History()
    for number in range(4):
        proposals = strategy.propose(history, strategy.batch_size(len(history)), child_seed(0, "round", number))
        assert proposals, "there are molecules with it, near the start molecules and among draws from the prior"
        assert all(Chem.MolFromSmiles(p.smiles).HasSubstructMatch(pattern) for p in proposals)
        history.append_round(measured(history, proposals))


def test_failed_measurements_are_survived(name: str) -> None:
    strategy = build(name)
    first = strategy.propose(History(), strategy.batch_size(0), 0)
    scores = [m.value for m in Similarity().measure([p.smiles for p in first])]
    for n_good in (0, 1, 5):
        history = History()
        history.append_round(
            [
                Evaluation(
                    i, p.smiles, score if i <= n_good else float("nan"), reason="" if i <= n_good else "no pose", z=p.z
                )
                for i, (p, score) in enumerate(zip(first, scores, strict=True), 1)
            ]
        )
        assert strategy.propose(history, strategy.batch_size(len(history)), 1)


@pytest.mark.parametrize("start", [(), START])
def test_while_all_scores_are_equal_the_prior_goes_on_and_leads_are_followed(name: str, start: tuple[str, ...]) -> None:
    strategy = build(name, start=start)
    history = History()
    first = strategy.propose(history, strategy.batch_size(0), 0)
    history.append_round([Evaluation(i, p.smiles, 0.0, z=p.z) for i, p in enumerate(first, 1)])
    sources = {p.source for p in strategy.propose(history, strategy.batch_size(len(history)), 1)}
    assert sources
    if not start:
        assert sources == {"prior"}


@pytest.mark.parametrize("rival", [s for s in STRATEGIES if s != "random"])
def test_learning_beats_random_screening(rival: str) -> None:
    seeds = range(2)
    assert np.mean([top_10(run(rival, s)) for s in seeds]) > np.mean([top_10(run("random", s)) for s in seeds])


@pytest.mark.parametrize("source", PROPOSALS.names())
def test_the_default_search_takes_any_source_by_name(source: str) -> None:
    def asked(history: History, seed: int) -> list[tuple[str, str]]:
        space = SearchSpace(FakeModel(), seed=0)
        strategy = STRATEGIES.build("default", {"sources": [source], "children": 40, "immigrants": 0}, space)
        return [(p.smiles, p.source) for p in strategy.propose(history, 5, seed)]

    history = run("random", 0).before(1)
    proposals = asked(history, 7)
    assert 0 < len(proposals) <= 5
    assert {name for _, name in proposals} == {source}
    assert not {smiles for smiles, _ in proposals} & history.known
    assert asked(history, 7) == proposals


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("evolved", [0.0, 0.5, 0.75])
def test_evolution_has_its_share_of_the_late_calls_of_the_default_search(evolved: float, ahead: bool) -> None:
    """In rounds of ten at most, between rounds of the surrogate; within a round of the share, and nothing before `late`.

    ahead: each round is chosen before the values of the last one are there, as `optimize --ahead` does.
    """
    settings = {"late": 40, "evolved": evolved, "children": 40, "ramp": 1}
    strategy, history = STRATEGIES.build("default", settings, SearchSpace(FakeModel(), seed=0)), History()
    while len(history) < 200:
        seen = history
        if ahead and history.n_rounds > 1:
            seen = history.before(history.n_rounds - 1).awaiting([e.smiles for e in history.round(history.n_rounds - 1)])
        n = strategy.batch_size(len(history))
        asked = strategy.propose(seen, n, child_seed(0, "round", history.n_rounds))
        if history.n_rounds % 4 == 0:  # as after a kill
            fresh = STRATEGIES.build("default", settings, SearchSpace(FakeModel(), seed=0))
            again = fresh.propose(seen, n, child_seed(0, "round", history.n_rounds))
            assert [(p.smiles, p.source) for p in again] == [(p.smiles, p.source) for p in asked]
        history.append_round(measured(history, asked))
    late = history.sources[40:]
    assert "evolution" not in history.sources[:40]
    assert late.count("evolution") / len(late) == pytest.approx(evolved, abs=0.1)
    for evaluations in map(history.round, range(history.n_rounds)):
        kinds = {e.source == "evolution" for e in evaluations}
        assert len(kinds) <= 1, "a round is of one kind"
        assert kinds != {True} or len(evaluations) <= 10


@pytest.mark.parametrize(("n_start", "share"), [(3, 0.5), (20, 0.0)])
def test_evolution_begins_at_once_where_there_are_few_start_molecules(n_start: int, share: float) -> None:
    start = tuple(sorted(run("random", 0).known))[:n_start]
    strategy = STRATEGIES.build("default", {"children": 40}, SearchSpace(FakeModel(), start=start, seed=0))
    history = History()
    while len(history) < 80:
        n = strategy.batch_size(len(history))
        asked = strategy.propose(history, n, child_seed(0, "round", history.n_rounds))
        history.append_round(measured(history, asked))
    assert history.sources[:n_start] == ["start"] * n_start
    assert history.sources[n_start:].count("evolution") / (len(history) - n_start) == pytest.approx(share, abs=0.1)


def test_a_share_of_evolution_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(MolvaeError, match=r"evolved is 1\.0; give a share"):
        STRATEGIES.build("default", {"evolved": 1.0}, SearchSpace(FakeModel(), seed=0))


@pytest.mark.parametrize("features", [["latent"], ["morgan2", "latent"]])
def test_the_default_search_compares_molecules_by_latents_if_asked(features: list[str]) -> None:
    history, space = run("default", 0).before(4), SearchSpace(FakeModel(), seed=0)

    def asked(before: History | None = None) -> list[str]:
        strategy = STRATEGIES.build("default", {"features": features, "children": 40}, space)
        if before is not None:
            strategy.propose(before, 3, 1)
        return [p.smiles for p in strategy.propose(history, 5, 7)]

    assert len(asked()) == 5
    # In other company a network's latents have other last digits: what was encoded before must not matter.
    assert asked(before=history.before(2)) == asked()


@pytest.mark.parametrize("acquisition", ["ei", "thompson"])
def test_the_default_search_learns_under_every_acquisition(acquisition: str) -> None:
    space, history = SearchSpace(FakeModel(), seed=0), History()
    strategy = STRATEGIES.build("default", {"acquisition": acquisition}, space)
    while len(history) < 80:
        n = strategy.batch_size(len(history))
        history.append_round(measured(history, strategy.propose(history, n, child_seed(0, "round", history.n_rounds))))
    at_random = History(run("random", 0).evaluations[: len(history)])
    assert top_10(history) > top_10(at_random)


@pytest.mark.parametrize(
    ("features", "error"), [(["latnet"], "Did you mean 'latent'"), ([], "once"), (["morgan2"] * 2, "once")]
)
def test_a_wrong_feature_is_told_apart(features: list[str], error: str) -> None:
    with pytest.raises(MolvaeError, match=error):
        STRATEGIES.build("default", {"features": features}, SearchSpace(FakeModel()))


@pytest.mark.parametrize(("sources", "sentence"), [
    (["fragment_swab"], "Did you mean 'fragment_swap'"),
    (["latent_step(smalest=0.4)"], "Did you mean 'smallest'"),
    (["latent_step(smallest=0.4"], "name(setting=value"),
    (["latent_step(smallest=0)"], "0 < smallest"),
    (["latent_trust_region(smallest=0.9)"], "at most 0.8"),
    (["latent_trust_region(anchors=0)"], "at least 1"),
    (["fragment_swap(largest=0)"], "at least 1"),
    (["graph_neighbourhood(incumbents=2)", "graph_neighbourhood"], "twice"),
])  # fmt: skip
def test_a_mistake_in_the_sources_is_a_sentence(sources: list[str], sentence: str) -> None:
    with pytest.raises(MolvaeError, match=re.escape(sentence)):
        STRATEGIES.build("default", {"sources": sources}, SearchSpace(FakeModel()))


def test_sources_take_settings_in_brackets() -> None:
    specs = ["latent_step(smallest=0.4, largest=0.8)", "graph_mutation"]
    built = build_sources(specs, SearchSpace(FakeModel()))
    assert list(built) == ["latent_step", "graph_mutation"]
    assert (built["latent_step"].smallest, built["latent_step"].largest) == (0.4, 0.8)
