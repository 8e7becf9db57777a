"""The benchmark tasks against GuacaMol's own values, and against the published definitions evaluated by hand."""

import csv
import math
import pickle
import warnings
from pathlib import Path

import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import Descriptors, rdMolDescriptors

from molvae.errors import ConfigError
from molvae.oracles import ORACLES, resolve
from molvae.oracles.guacamol import GUACAMOL_V2_TASKS, PMO_TASKS
from molvae.oracles.parts import parse_formula

# Values of GuacaMol 0.5.5 (commit 60ebe1f) itself, run with RDKit 2026.09.1, at full precision: one row a task, one column a
# molecule (drugs, near misses, a salt, a zwitterion, a deuterated molecule, isomers).
with Path(__file__).with_name("oracles_guacamol_golden.csv").open(newline="") as _stream:
    _header, *_rows = csv.reader(_stream)
MOLECULES = _header[1:]
GOLDEN = {row[0]: [float(value) for value in row[1:]] for row in _rows}


@pytest.mark.parametrize("task", sorted(GOLDEN))
def test_values_are_guacamols(task):
    found = [m.value for m in resolve(task).measure(MOLECULES)]
    assert found == pytest.approx(GOLDEN[task], rel=1e-12, abs=1e-12)


def test_every_task_is_checked_somewhere_above_zero():
    assert set(GOLDEN) == {*PMO_TASKS, *GUACAMOL_V2_TASKS}
    assert len(PMO_TASKS) == 20 and len(GUACAMOL_V2_TASKS) == 20
    assert all(max(values) > 0.05 for values in GOLDEN.values())
    assert set(GOLDEN) <= set(ORACLES.names())


@pytest.mark.parametrize(
    ("task", "target"),
    [
        ("celecoxib_rediscovery", "CC1=CC=C(C=C1)C1=CC(=NN1C1=CC=C(C=C1)S(N)(=O)=O)C(F)(F)F"),
        ("troglitazone_rediscovery", "Cc1c(C)c2OC(C)(COc3ccc(CC4SC(=O)NC4=O)cc3)CCc2c(C)c1O"),
        ("thiothixene_rediscovery", "CN(C)S(=O)(=O)c1ccc2Sc3ccccc3C(=CCCN4CCN(C)CC4)c2c1"),
        ("albuterol_similarity", "CC(C)(C)NCC(O)c1ccc(O)c(CO)c1"),
        ("mestranol_similarity", "COc1ccc2[C@H]3CC[C@@]4(C)[C@@H](CC[C@@]4(O)C#C)[C@@H]3CCc2c1"),
        ("aripiprazole_similarity", "Clc4cccc(N3CCN(CCCCOc2ccc1c(NC(=O)CC1)c2)CC3)c4Cl"),
        ("isomers_c7h8n2o2", "NC(=O)c1ccc(O)cc1N"),
        ("isomers_c9h10n2o2pf2cl", "CNC(=O)Nc1cc(F)c(F)cc1P(C)(=O)Cl"),
        ("isomers_c11h24", "CCCCCCCC(C)CC"),
    ],
)
def test_a_target_scores_one_on_itself(task, target):
    assert resolve(task).measure([target])[0].value == pytest.approx(1.0, abs=1e-12)


def gaussian(x, mu, sigma):
    return math.exp(-0.5 * ((x - mu) / sigma) ** 2)


def morgan(mol, radius, features=False):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return rdMolDescriptors.GetMorganFingerprint(mol, radius, useFeatures=features)


@pytest.mark.parametrize("smiles", MOLECULES[:8])
def test_osimertinib_by_hand(smiles):
    """Brown et al. 2019: geometric mean of four desirabilities, from RDKit's older fingerprint functions."""
    mol, target = map(Chem.MolFromSmiles, (smiles, "COc1cc(N(C)CCN(C)C)c(NC(=O)C=C)cc1Nc2nccc(n2)c3cn(C)c4ccccc34"))
    like = min(DataStructs.TanimotoSimilarity(morgan(mol, 2, True), morgan(target, 2, True)) / 0.8, 1)
    novel = gaussian(max(DataStructs.TanimotoSimilarity(morgan(mol, 3), morgan(target, 3)), 0.85), 0.85, 0.1)
    polar = gaussian(min(Descriptors.TPSA(mol), 100), 100, 10)
    lean = gaussian(max(Descriptors.MolLogP(mol), 1), 1, 1)
    assert resolve("osimertinib_mpo").measure([smiles])[0].value == pytest.approx(
        (like * novel * polar * lean) ** 0.25, rel=1e-12
    )


def test_isomers_by_hand():
    """Aniline, C6H7N: one C, one H and N, and both O short of C7H8N2O2; 14 atoms instead of 19."""
    expected = (gaussian(6, 7, 1) * gaussian(7, 8, 1) * gaussian(1, 2, 1) * gaussian(0, 2, 1) * gaussian(14, 19, 2)) ** (
        1 / 5
    )
    assert resolve("isomers_c7h8n2o2").measure(["Nc1ccccc1"])[0].value == pytest.approx(expected, rel=1e-12)


def test_valsartan_is_exactly_zero_without_its_core():
    assert resolve("valsartan_smarts").measure(["Fc1cc(c(F)cc1F)CC(N)CC(=O)N3Cc2nnc(n2CC3)C(F)(F)F"])[0].value == 0.0


def test_hop_tasks_do_not_influence_each_other():
    """In TDC the two share globals: after deco_hop, scaffold_hop changes deco_hop's values."""
    smiles = MOLECULES[4:7]
    deco, scaffold = resolve("deco_hop"), resolve("scaffold_hop")
    before = deco.measure(smiles)
    between = scaffold.measure(smiles)
    assert deco.measure(smiles) == before == resolve("deco_hop").measure(smiles)
    assert resolve("scaffold_hop").measure(smiles) == between


def test_a_measurement_carries_the_parts_of_the_mean():
    measurement = resolve("fexofenadine_mpo").measure([MOLECULES[0]])[0]
    assert list(measurement.components) == ["similarity", "tpsa", "logp"]
    assert measurement.value == pytest.approx(math.prod(measurement.components.values()) ** (1 / 3))


def test_pickling_leaves_the_prepared_targets_behind():
    used = resolve("deco_hop")
    used.measure(MOLECULES[:1])
    assert len(pickle.dumps(used)) == len(pickle.dumps(resolve("deco_hop")))


def test_formulae():
    assert parse_formula("C9H10N2O2PF2Cl") == {"C": 9, "H": 10, "N": 2, "O": 2, "P": 1, "F": 2, "Cl": 1}
    for wrong in ("", "c6h6", "C6-H6", "6C"):
        with pytest.raises(ConfigError, match="not a molecular formula"):
            parse_formula(wrong)
