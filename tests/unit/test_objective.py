"""Objectives: every formula by hand, the one sign, the order that constraints impose, and text in and out."""

import math
import pickle
import tomllib

import pytest
from rdkit import Chem
from rdkit.Chem import QED, Crippen

from molvae.chem import PROPERTIES, parse
from molvae.errors import ConfigError, OracleError, UnknownName
from molvae.objective import Constraint, Objective, Term
from molvae.oracles import Measurement, Oracle
from molvae.oracles.modifiers import MODIFIERS, build_modifier, describe_modifier

SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "CCO", "CCCCCCCCCC", "Cn1c(=O)c2c(ncn2C)n(C)c1=O"]


class Table(Oracle):
    """Values from a table, None for a failure; counts how often it is asked."""

    def __init__(self, values):
        self.values, self.calls = values, 0

    def measure(self, smiles):
        self.calls += 1
        return [Measurement.of(self.values.get(s)) for s in smiles]


def scores(objective, smiles=SMILES):
    return [m.value for m in objective.measure(smiles)]


def qeds():
    return [QED.qed(Chem.MolFromSmiles(s)) for s in SMILES]


def logps():
    return [Crippen.MolLogP(Chem.MolFromSmiles(s)) for s in SMILES]


def test_one_maximised_term_is_its_raw_value():
    measurements = Objective.from_specs(maximise=["QED"]).measure(SMILES)
    assert [m.value for m in measurements] == qeds()
    assert [m.components for m in measurements] == [{"QED": value} for value in qeds()]


def test_minimising_turns_the_score_and_not_the_component():
    """The smallest logP of the four is caffeine's: it must come first."""
    measurements = Objective.from_specs(minimise=["logP"]).measure(SMILES)
    assert [m.value for m in measurements] == [-x for x in logps()]
    assert [m.components["logP"] for m in measurements] == logps()
    assert max(zip(measurements, SMILES, strict=True), key=lambda pair: pair[0].value)[1] == SMILES[3]


def test_weighted_mean_by_hand():
    found = scores(Objective.from_specs(maximise=["3*QED"], minimise=["0.5*logP@linear(slope=0.1, intercept=1)"]))
    assert found == pytest.approx([(3 * q - 0.5 * (0.1 * p + 1)) / 3.5 for q, p in zip(qeds(), logps(), strict=True)])


def test_weighted_geometric_mean_by_hand():
    objective = Objective.from_specs(maximise=["2*QED", "logP@gaussian(mu=2, sigma=1.5)"], aggregation="geometric")
    wishes = [math.exp(-0.5 * ((p - 2) / 1.5) ** 2) for p in logps()]
    assert scores(objective) == pytest.approx([(q * q * w) ** (1 / 3) for q, w in zip(qeds(), wishes, strict=True)])


def test_a_geometric_mean_has_no_value_for_a_negative_term_and_no_minimised_term():
    found = Objective.from_specs(maximise=["QED", "logP"], aggregation="geometric").measure(SMILES)
    assert math.isnan(found[1].value) and found[1].reason.startswith("logP: a geometric mean needs values of at least 0")
    assert found[0].value > 0
    with pytest.raises(ConfigError, match="cannot hold the minimised term 'SA'"):
        Objective.from_specs(maximise=["QED"], minimise=["SA"], aggregation="geometric")


@pytest.mark.parametrize(
    ("name", "settings", "points"),
    [
        ("identity", {}, {-2: -2, 5: 5}),
        ("linear", {"slope": 2, "intercept": 1}, {0: 1, 3: 7}),
        ("clip", {"upper": 4, "lower": 2}, {1: 0, 2: 0, 3: 0.5, 4: 1, 9: 1}),
        ("clip", {"upper": 2, "lower": 4}, {1: 1, 3: 0.5, 4: 0, 9: 0}),
        ("gaussian", {"mu": 1, "sigma": 2}, {1: 1, 3: math.exp(-0.5), -1: math.exp(-0.5), 1e200: 0}),
        ("min_gaussian", {"mu": 1, "sigma": 2}, {-5: 1, 1: 1, 3: math.exp(-0.5)}),
        ("max_gaussian", {"mu": 1, "sigma": 2}, {5: 1, 1: 1, -1: math.exp(-0.5)}),
        ("sigmoid", {"middle": 3, "width": 2}, {3: 0.5, 5: 1 / (1 + math.exp(-2)), -1e6: 0, 1e6: 1}),
        ("sigmoid", {"middle": 3, "width": -2}, {5: 1 / (1 + math.exp(2))}),
    ],
)
def test_transforms(name, settings, points):
    modifier = build_modifier(name, settings)
    for x, expected in points.items():
        assert modifier(float(x)) == pytest.approx(expected, abs=1e-12)
    described = describe_modifier(modifier)
    assert build_modifier(described.pop("name"), described) == modifier


def test_every_transform_is_tested():
    marks = [m for m in test_transforms.pytestmark if m.name == "parametrize"]
    assert {case[0] for case in marks[0].args[1]} == set(MODIFIERS)


def constrained(objective_values, constraint_values, minimise=False, text="x<=4"):
    direction = "minimise" if minimise else "maximise"
    operator, bound = text[1:3].rstrip("0123456789."), float(text.lstrip("x<>="))
    term = Term("goal", "table", Table(objective_values), direction)
    return Objective([term], [Constraint("x", "other table", Table(constraint_values), operator, bound)])


def test_an_unmet_constraint_by_hand():
    goal, x = {"A": 0.9, "B": 0.2, "C": -3.0, "D": -3.0}, {"A": 6.0, "B": 4.0, "C": 6.0, "D": 1.0}
    found = constrained(goal, x).measure(["A", "B", "C", "D"])
    v = (6 - 4) / 4
    assert [m.value for m in found] == pytest.approx([-v / (1 + v), 0.2, 2 * -3.0 - v / (1 + v), -3.0])
    assert [m.components["violation"] for m in found] == pytest.approx([v, 0, v, 0])
    assert found[0].components == {"goal": 0.9, "x": 6.0, "violation": 0.5}


def test_constraints_order_molecules():
    """For a goal that is never negative: all that meet the constraint first, then by how little they miss it."""
    grid = [(g / 10, 3 + x / 4) for g in range(11) for x in range(9)]
    names = [str(pair) for pair in grid]
    goal, x = ({name: pair[i] for name, pair in zip(names, grid, strict=True)} for i in (0, 1))
    found = dict(zip(grid, scores(constrained(goal, x), names), strict=True))
    meeting = {pair: score for pair, score in found.items() if pair[1] <= 4}
    missing = {pair: score for pair, score in found.items() if pair[1] > 4}
    assert min(meeting.values()) >= 0 > max(missing.values())
    assert meeting == {pair: pair[0] for pair in meeting}
    for (_, x1), first in missing.items():
        for (_, x2), second in missing.items():
            assert (first > second) == (x1 < x2)


@pytest.mark.parametrize("minimise", [False, True])
def test_an_unmet_constraint_always_lowers_the_score(minimise):
    goals = [-1000.0, -3.0, -1e-6, 0.0, 1e-6, 0.5, 1000.0]
    names = [str(g) for g in goals]
    table = dict(zip(names, goals, strict=True))
    free = scores(constrained(table, dict.fromkeys(names, 0.0), minimise), names)
    slightly = scores(constrained(table, dict.fromkeys(names, 4.01), minimise), names)
    badly = scores(constrained(table, dict.fromkeys(names, 40.0), minimise), names)
    assert all(a > b > c for a, b, c in zip(free, slightly, badly, strict=True))


@pytest.mark.parametrize(
    ("text", "met", "unmet"),
    [
        ("x<=4", [4, 3.9], [4.001]),
        ("x>=4", [4, 5], [3.999]),
        ("x<4", [3.999], [4, 5]),
        ("x>4", [4.001], [4, 3]),
        ("x<=0", [-1], [0.1]),
    ],
)
def test_operators(text, met, unmet):
    for value, is_met in [*((v, True) for v in met), *((v, False) for v in unmet)]:
        found = constrained({"A": 0.0}, {"A": value}, text=text).measure(["A"])[0]
        assert (found.components["violation"] == 0) is is_met
        assert (found.value == 0) is is_met


def test_constraints_from_text_use_real_values():
    found = Objective.from_specs(maximise=["QED"], constraints=["logP<=2", "heavy_atoms >= 5"]).measure(SMILES)
    logp_miss, size_miss = (4.1471 - 2) / 2, (5 - 3) / 5
    assert found[0].value == qeds()[0] and found[3].value == qeds()[3]
    assert found[1].value == pytest.approx(-size_miss / (1 + size_miss))
    assert found[2].value == pytest.approx(-logp_miss / (1 + logp_miss), abs=1e-4)


def test_a_constraint_on_a_term_asks_its_oracle_once():
    table = Table({"A": 5.0})
    objective = Objective([Term("goal", "t", table)], [Constraint("goal", "t", table, "<=", 4.0)])
    assert objective.measure(["A"])[0].value == pytest.approx(-0.25 / 1.25)
    assert table.calls == 1
    assert objective.columns == ["goal", "violation"]


def test_a_failure_names_the_term_and_keeps_what_was_measured():
    good, bad = Table({"A": 1.0, "B": 2.0}), Table({"A": 3.0})
    found = Objective([Term("good", "g", good), Term("bad", "b", bad)]).measure(["A", "B"])
    assert found[0].value == 2.0
    assert math.isnan(found[1].value) and found[1].reason == "bad: the score is None"
    assert found[1].components == {"good": 2.0}
    constraint = Constraint("limit", "b", bad, "<=", 4.0)
    found = Objective([Term("good", "g", good)], [constraint]).measure(["B"])[0]
    assert math.isnan(found.value) and found.reason.startswith("limit: ")


def test_an_oracle_that_raises_or_miscounts():
    class Raises(Oracle):
        def measure(self, smiles):
            raise RuntimeError("licence expired")

    class Short(Oracle):
        def measure(self, smiles):
            return []

    found = Objective([Term("goal", "r", Raises())]).measure(["A", "B"])
    assert [m.reason for m in found] == ["goal: RuntimeError: licence expired"] * 2
    with pytest.raises(OracleError, match="Short returned 0 measurements for 2 molecules"):
        Objective([Term("goal", "s", Short())]).measure(["A", "B"])


def test_parts_of_an_oracle_become_dotted_components():
    found = Objective.from_specs(maximise=["goal=osimertinib_mpo"]).measure(SMILES[:1])[0]
    assert list(found.components) == ["goal", "goal.similarity", "goal.novelty", "goal.tpsa", "goal.logp"]
    assert found.components["goal"] == found.value


def test_a_users_function_gets_a_name(tmp_path):
    path = tmp_path / "dock.py"
    path.write_text("def affinity(smiles):\n    return [-float(len(s)) for s in smiles]\n")
    assert Objective.from_specs(minimise=[f"{path}:affinity"]).columns == ["affinity"]
    objective = Objective.from_specs(minimise=[f"dock=2*{path}:affinity@clip(upper=-10, lower=0)"], constraints=["dock<=-3"])
    assert objective.columns == ["dock", "violation"]
    assert objective.measure(["CCCCC"])[0].value == -0.5
    assert objective.measure(["CC"])[0].components == {"dock": -2.0, "violation": pytest.approx(1 / 3)}
    rebuilt = Objective.from_description(objective.describe())
    assert scores(rebuilt) == scores(objective)


def test_a_function_is_an_objective():
    def length(smiles):
        return [len(s) for s in smiles]

    objective = Objective.from_specs(maximise=[length])
    assert objective.columns == ["length"] and scores(objective, ["CC"]) == [2.0]


@pytest.mark.parametrize(
    "specs",
    [
        {"maximise": ["osimertinib_mpo"]},
        {"minimise": ["SA"], "constraints": ["SA>=2.123456789", "logP<=5"]},
        {
            "maximise": ["2*QED", "fat=logP@gaussian(mu=2.5, sigma=1)"],
            "constraints": ["fat<5", "big=MW<=500"],
            "aggregation": "geometric",
        },
        {"maximise": ["penalised_logp(max_heavy_atoms=45)"]},
    ],
)
def test_a_description_rebuilds_the_objective(specs):
    objective = Objective.from_specs(**specs)
    description = objective.describe()
    rebuilt = Objective.from_description(description)
    assert rebuilt.describe() == description
    assert [(m.value, m.components) for m in rebuilt.measure(SMILES[:1])] == [
        (m.value, m.components) for m in objective.measure(SMILES[:1])
    ]
    assert plain(description)


def plain(value):
    """Whether `value` holds only what TOML can."""
    if isinstance(value, dict):
        return all(isinstance(k, str) and plain(v) for k, v in value.items())
    if isinstance(value, list):
        return all(plain(v) for v in value)
    return type(value) in (str, int, float, bool)


def test_a_description_may_leave_out_defaults():
    text = 'terms = [{name = "QED", oracle = "QED"}, {name = "SA", oracle = "SA", direction = "minimise"}]'
    objective = Objective.from_description(tomllib.loads(text))
    sa = [PROPERTIES["SA"].function(parse(s)) for s in SMILES]
    assert scores(objective) == pytest.approx([(q - s) / 2 for q, s in zip(qeds(), sa, strict=True)])


def test_pickled_objectives_measure_the_same():
    objective = Objective.from_specs(maximise=["deco_hop", "QED"], constraints=["SA<=4"])
    before = scores(objective)
    assert scores(pickle.loads(pickle.dumps(objective))) == before  # noqa: S301 - made two words earlier


@pytest.mark.parametrize(
    ("specs", "error", "message"),
    [
        ({}, ConfigError, "at least one oracle"),
        ({"maximise": ["qedd"]}, UnknownName, "Did you mean 'qed'"),
        ({"maximise": ["QED@clop(upper=1)"]}, UnknownName, "Did you mean 'clip'"),
        ({"maximise": ["QED@clip(uper=1)"]}, ConfigError, "Did you mean 'upper'"),
        ({"maximise": ["QED@clip()"]}, ConfigError, "needs 'upper'"),
        ({"maximise": ["QED@clip(upper=0)"]}, ConfigError, "upper and lower to differ"),
        ({"maximise": ["QED@gaussian(mu=1, sigma=0)"]}, ConfigError, "sigma above 0"),
        ({"maximise": ["QED@sigmoid(middle=1, width=0)"]}, ConfigError, "width other than 0"),
        ({"maximise": ['QED@clip(upper="a")']}, ConfigError, "must be a finite number"),
        ({"maximise": ["QED@clip(upper=true)"]}, ConfigError, "must be a finite number"),
        ({"maximise": ["QED@clip(upper)"]}, ConfigError, "cannot read the settings"),
        ({"maximise": ["0*QED"]}, ConfigError, "above 0"),
        ({"maximise": ["1.2.3*QED"]}, ConfigError, "cannot read the weight"),
        ({"maximise": ["QED", "QED"]}, ConfigError, "two terms are called 'QED'"),
        ({"maximise": ["QED"], "minimise": ["QED"]}, ConfigError, "two terms are called 'QED'"),
        ({"maximise": ["violation=QED"]}, ConfigError, "is taken"),
        ({"maximise": ["QED"], "constraints": ["SA"]}, ConfigError, "cannot read the constraint 'SA'"),
        ({"maximise": ["QED"], "constraints": ["SA=4"]}, ConfigError, "cannot read the constraint"),
        ({"maximise": ["QED"], "constraints": ["SA<=4.4.4"]}, ConfigError, "cannot read the constraint"),
        ({"maximise": ["QED"], "constraints": ["SAA<=4"]}, UnknownName, "Did you mean 'SA'"),
        ({"maximise": ["QED"], "constraints": ["QED=SA<=4"]}, ConfigError, "name of both QED and SA"),
        ({"maximise": ["QED"], "aggregation": "median"}, ConfigError, "mean, geometric"),
    ],
)
def test_wrong_text_is_answered_with_what_to_do(specs, error, message):
    with pytest.raises(error, match=message):
        Objective.from_specs(**specs)


def test_a_wrong_direction_is_refused():
    with pytest.raises(ConfigError, match="must be maximise or minimise"):
        Term("goal", "t", Table({}), "maximize")
