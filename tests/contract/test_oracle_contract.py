"""What every oracle promises. A newly registered oracle is covered without a new test."""

import math
import pickle

import pytest

from molvae.oracles import ORACLES, Measurement, Oracle, probe, resolve

SMILES = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "C",
    "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "C[N+](C)(C)CC(=O)[O-]",
    "CCOC(=O)C1=C(C)NC(C)=C(C(=O)OC)C1c1ccccc1.Cl",
    "this is no molecule",
    "C" * 40,
    "[He]",
]
BROKEN = SMILES.index("this is no molecule")
USER_FILE = """
def score(smiles):
    return [float(len(s)) if s[0] in "C[" else None for s in smiles]
"""


@pytest.fixture(params=[*ORACLES.names(), "file", "command", "callable"])
def oracle(request, tmp_path):
    if request.param == "file":
        (tmp_path / "scores.py").write_text(USER_FILE)
        return resolve(f"{tmp_path / 'scores.py'}:score")
    if request.param == "command":
        return resolve("""cmd:awk -F '\\t' '$2 !~ / / {print $1 "\\t" length($2)}'""")
    if request.param == "callable":
        return resolve(length_of_text)
    return resolve(request.param)


def length_of_text(smiles):
    return [math.nan if " " in s else len(s) for s in smiles]


def plain(measurements):
    """Comparable form: NaN equals itself."""
    return [(None if math.isnan(m.value) else m.value, m.reason, m.components) for m in measurements]


def test_one_measurement_for_each_molecule_with_a_reason_where_it_failed(oracle):
    measurements = oracle.measure(SMILES)
    assert isinstance(oracle, Oracle)
    assert len(measurements) == len(SMILES)
    for measurement in measurements:
        assert isinstance(measurement, Measurement) and isinstance(measurement.value, float)
        assert math.isnan(measurement.value) if measurement.reason else math.isfinite(measurement.value)
        assert all(math.isfinite(value) for value in measurement.components.values())
    assert measurements[BROKEN].reason
    assert oracle.measure([]) == []


def test_values_depend_on_the_molecule_alone(oracle):
    together = plain(oracle.measure(SMILES))
    assert plain(oracle.measure(SMILES)) == together
    assert plain(oracle.measure(SMILES[::-1]))[::-1] == together
    assert [plain(oracle.measure([one]))[0] for one in SMILES] == together
    assert probe(oracle, SMILES).deterministic


def test_a_pickled_oracle_measures_the_same(oracle):
    before = plain(oracle.measure(SMILES))
    assert plain(pickle.loads(pickle.dumps(oracle)).measure(SMILES)) == before  # noqa: S301 - made two words earlier


def test_direction_and_unit_are_stated(oracle):
    assert oracle.direction in ("maximise", "minimise")
    assert oracle.unit
