"""Molecules, standardisation, fingerprints and properties, against RDKit's older interface and published values."""

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem, DataStructs, RDConfig
from rdkit.Chem import QED, Crippen, Descriptors, Lipinski, rdMolDescriptors
from rdkit.Chem.Pharm2D import Generate, Gobbi_Pharm2D

from molvae.chem import (
    COUNT_KINDS,
    PROPERTIES,
    canonical,
    canonical_form,
    count_fingerprints,
    parse,
    pharmacophore,
    properties,
    scaffold,
    sparse_counts,
    standardise,
    tanimoto,
)
from molvae.errors import UnknownName

SMILES = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "CC(C)Cc1ccc([C@@H](C)C(=O)O)cc1",
    "O=C(O)c1cc(-n2cccc2)ccc1Cl",
    "C[N+](C)(C)CC(O)CC(=O)[O-]",
    "CCCCCCCCCC",
]
MOLS = [Chem.MolFromSmiles(s) for s in SMILES]


@pytest.mark.parametrize("text", ["", "  ", "C1CC", "c1cccc1", "[Xx]", "CC(", "C(C)(C)(C)(C)C", None, 3])
def test_parse_gives_none_for_what_is_no_molecule(text):
    assert parse(text) is None


def test_canonical_is_the_same_for_every_way_of_writing_a_molecule():
    for mol in MOLS:
        written = {canonical(Chem.MolToSmiles(mol, doRandom=True)) for _ in range(20)}
        assert written == {Chem.MolToSmiles(mol)}
    assert canonical("C1CC") is None


@pytest.mark.parametrize("smiles", [*SMILES, "OC(=O)c1ccccc1OC(C)=O", "C1=CC=CC=C1", "[H]C([H])([H])[C@](F)(Cl)Br"])
def test_the_canonical_form_is_parsed_from_itself(smiles):
    written, mol = canonical_form(smiles)
    assert written == canonical(smiles) == canonical(written) == Chem.MolToSmiles(Chem.MolFromSmiles(smiles))
    order = [atom.GetAtomicNum() for atom in Chem.MolFromSmiles(written).GetAtoms()]
    assert [atom.GetAtomicNum() for atom in mol.GetAtoms()] == order
    assert canonical_form("C1CC") is canonical_form("") is None


def test_canonical_keeps_stereo_and_isotopes_apart():
    forms = ["C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "CC(N)C(=O)O", "[13CH3]C(N)C(=O)O"]
    assert len({canonical(s) for s in forms}) == 4


def test_scaffold_of_known_molecules():
    assert scaffold(parse("CC(C)Cc1ccc([C@@H](C)C(=O)O)cc1")) == "c1ccccc1"
    assert scaffold(parse("O=C(Nc1ccccc1)C1CC1")) == "O=C(Nc1ccccc1)C1CC1"
    assert scaffold(parse("CCCO")) == ""


def test_standardise_takes_each_step_only_when_asked():
    salt = "[Na+].CC(=O)[O-]"
    assert standardise(salt) == ("CC(=O)[O-]", "")
    assert standardise(salt, neutralise=True) == ("CC(=O)O", "")
    assert standardise(salt, fragment=False) == ("CC(=O)[O-].[Na+]", "")
    assert standardise("Oc1ccccn1") == ("Oc1ccccn1", "")
    assert standardise("Oc1ccccn1", tautomer=True) == ("O=c1cccc[nH]1", "")
    assert standardise("C[C@H](N)/C=C/C") == ("C/C=C/[C@H](C)N", "")
    assert standardise("C[C@H](N)/C=C/C", stereo="drop") == ("CC=CC(C)N", "")
    assert standardise("C[N+](C)(C)CC(=O)[O-]", neutralise=True) == ("C[N+](C)(C)CC(=O)[O-]", "")


def test_standardise_gives_a_reason_for_a_broken_string():
    assert standardise("C1CC") == (None, "not a valid SMILES")


def older_count_fingerprint(mol, kind):
    """The same vector from the interface that GuacaMol and TDC call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "morgan2": lambda: rdMolDescriptors.GetMorganFingerprint(mol, 2),
            "morgan3": lambda: rdMolDescriptors.GetMorganFingerprint(mol, 3),
            "feature_morgan2": lambda: rdMolDescriptors.GetMorganFingerprint(mol, 2, useFeatures=True),
            "atom_pair": lambda: rdMolDescriptors.GetAtomPairFingerprint(mol, maxLength=10),
            "topological_torsion": lambda: rdMolDescriptors.GetTopologicalTorsionFingerprint(mol),
        }[kind]()


def older_folded_fingerprint(mol, kind, size):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "morgan2": lambda: rdMolDescriptors.GetHashedMorganFingerprint(mol, 2, nBits=size),
            "morgan3": lambda: rdMolDescriptors.GetHashedMorganFingerprint(mol, 3, nBits=size),
            "feature_morgan2": lambda: rdMolDescriptors.GetHashedMorganFingerprint(mol, 2, nBits=size, useFeatures=True),
            "atom_pair": lambda: rdMolDescriptors.GetHashedAtomPairFingerprint(mol, nBits=size, maxLength=10),
            "topological_torsion": lambda: rdMolDescriptors.GetHashedTopologicalTorsionFingerprint(mol, nBits=size),
        }[kind]()


@pytest.mark.parametrize("kind", sorted(COUNT_KINDS))
def test_sparse_similarity_is_that_of_the_older_interface(kind):
    old, new = [[make(mol, kind) for mol in MOLS] for make in (older_count_fingerprint, sparse_counts)]
    for i in range(len(MOLS)):
        for j in range(len(MOLS)):
            assert tanimoto(new[i], new[j]) == pytest.approx(DataStructs.TanimotoSimilarity(old[i], old[j]), abs=1e-15)


@pytest.mark.parametrize("kind", sorted(COUNT_KINDS))
def test_folded_counts_are_those_of_the_older_interface(kind):
    folded = count_fingerprints(MOLS, kind, size=512)
    assert folded.shape == (len(MOLS), 512) and folded.dtype == np.uint16
    for row, mol in zip(folded, MOLS, strict=True):
        assert {i: int(row[i]) for i in np.flatnonzero(row)} == older_folded_fingerprint(mol, kind, 512).GetNonzeroElements()


def test_count_fingerprints_of_nothing_and_of_an_unknown_kind():
    assert count_fingerprints([], "morgan2").shape == (0, 2048)
    with pytest.raises(UnknownName, match="Did you mean 'atom_pair'"):
        count_fingerprints(MOLS, "atompair")


def test_ethanol_count_similarity_by_hand():
    # Environments of radius 0 are CH3, CH2, OH against CH3, CH2, CH3; of radius 1 one for each atom, of which CH3 beside
    # CH2 is common; those of radius 2 cover the whole molecule, as radius 1 at the middle atom does already.
    # Shared: CH3, CH2, CH3 beside CH2. Of 6 + 6 in all, 3 are shared: 3 / (12 - 3).
    ethanol, propane = (sparse_counts(parse(s), "morgan2") for s in ("CCO", "CCC"))
    assert tanimoto(ethanol, propane) == pytest.approx(3 / 9)


def test_pharmacophore_bits_are_shared_by_a_molecule_and_its_own_copy_only():
    first, second, other = pharmacophore(MOLS[0]), pharmacophore(parse(SMILES[0])), pharmacophore(MOLS[1])
    assert tanimoto(first, second) == 1.0
    assert tanimoto(first, other) < 0.5


@pytest.mark.parametrize(
    "smiles",
    [
        *SMILES,
        "CCCOc1cc2ncnc(Nc3ccc4ncsc4c3)c2cc1S(=O)(=O)C(C)(C)C",
        "CC(C)(C(=O)O)c1ccc(cc1)C(O)CCCN2CCC(CC2)C(O)(c3ccccc3)c4ccccc4",
        "C[C@]12CC[C@H]3[C@@H](CCC4=CC(=O)CC[C@]34C)[C@@H]1CC[C@@H]2O",
        "NCCCC(N)C(=O)O.OC(=O)CCS.[K+]",
        "C[Si](C)(C)CCB(O)O",
        "C",
    ],
)
def test_pharmacophore_bits_are_those_of_rdkits_generator(smiles):
    mol = parse(smiles)
    assert set(pharmacophore(mol).GetOnBits()) == set(Generate.Gen2DFingerprint(mol, Gobbi_Pharm2D.factory).GetOnBits())


def test_properties_of_aspirin():
    """PubChem CID 2244 for formula properties; QED of aspirin is 0.55 (Bickerton 2012); the rest from RDKit."""
    aspirin = parse("CC(=O)Oc1ccccc1C(=O)O")
    found = properties(aspirin, PROPERTIES)
    assert list(found) == list(PROPERTIES)
    assert found["MW"] == pytest.approx(180.16, abs=0.01)
    assert found["TPSA"] == pytest.approx(63.6, abs=0.01)
    assert found["HBD"] == 1 and found["heavy_atoms"] == 13 and found["formal_charge"] == 0
    assert found["rings"] == 1 and found["aromatic_rings"] == 1
    assert found["QED"] == pytest.approx(0.55, abs=0.005)
    assert found["Fsp3"] == pytest.approx(1 / 9)
    assert found["logP"] == Descriptors.MolLogP(aspirin)
    assert found["HBA"] == Lipinski.NumHAcceptors(aspirin)
    assert found["rotatable_bonds"] == Lipinski.NumRotatableBonds(aspirin)


def test_sa_and_np_scores_order_known_molecules():
    """Ertl 2009 and 2008: aspirin is easy to make and morphine is not; morphine looks natural and celecoxib does not."""
    aspirin, celecoxib = parse(SMILES[0]), parse("Cc1ccc(-c2cc(C(F)(F)F)nn2-c2ccc(S(N)(=O)=O)cc2)cc1")
    morphine = parse("CN1CC[C@]23c4c5ccc(O)c4O[C@H]2[C@@H](O)C=C[C@H]3[C@H]1C5")
    assert PROPERTIES["SA"].function(aspirin) < 2
    assert PROPERTIES["SA"].function(morphine) > 4
    assert PROPERTIES["NP"].function(morphine) > 1.5
    assert PROPERTIES["NP"].function(celecoxib) < -1


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [
        ("Cc1c(C(=O)NCCO)[n+](=O)c2ccccc2n1[O-]", 3.166),
        ("Cn1cc(NC=O)cc1C(=O)Nc1cc(C(=O)Nc2cc(C(=O)NCCC(N)=[NH2+])n(C)c2)n(C)c1", 3.328),
        ("OC(c1ccncc1)c1ccc(OCC[NH+]2CCCC2)cc1", 3.822),
    ],
)
def test_sa_score_of_the_molecules_in_rdkits_own_test_file(smiles, expected):
    """The first three rows of Contrib/SA_Score/data/zim.100.txt."""
    assert PROPERTIES["SA"].function(parse(smiles)) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(
    "smiles",
    [
        "C[C@H](N)C(O)C(F)Cl",  # stereocentres, marked and possible
        "C1CC2(C1)CCC1CC2CC1",  # spiro and bridgehead atoms
        "O=C1CCCCCCCCCCCCCCO1",  # a macrocycle
        "C",
        "CC1(C)C2CCC1(C)C(=O)C2",
        "C[C@@H]1CC[C@@]2(OC1)O[C@H]1C[C@H]3[C@@H]4CC=C5C[C@@H](O)CC[C@]5(C)[C@H]4CC[C@]3(C)[C@H]1[C@@H]2C",
        "CC(C)(C)C(C)(C)C(C)(C)C",
    ],
)
def test_sa_score_is_that_of_rdkits_contrib(smiles):
    path = Path(RDConfig.RDContribDir) / "SA_Score" / "sascorer.py"
    spec = importlib.util.spec_from_file_location("sascorer_of_the_test", path)
    sascorer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sascorer)
    expected = sascorer.calculateScore(Chem.MolFromSmiles(smiles))
    assert properties(parse(smiles), ["SA"])["SA"] == pytest.approx(expected, abs=1e-12)
    unassigned = Chem.MolFromSmiles(smiles, sanitize=False)  # a molecule on which nobody has looked for stereocentres
    Chem.SanitizeMol(unassigned)
    assert properties(unassigned, ["SA"])["SA"] == pytest.approx(expected, abs=1e-12)


def test_what_qed_asks_for_too_is_the_same_before_and_after():
    names = ["QED", "rotatable_bonds", "logP"]
    both = [properties(parse(SMILES[0]), order) for order in (names, names[::-1])]
    assert both[0] == both[1]
    assert both[0]["logP"] == Crippen.MolLogP(Chem.MolFromSmiles(SMILES[0]))
    assert both[0]["rotatable_bonds"] == rdMolDescriptors.CalcNumRotatableBonds(Chem.MolFromSmiles(SMILES[0])) == 2
    assert both[0]["QED"] == pytest.approx(QED.qed(Chem.MolFromSmiles(SMILES[0])), abs=1e-12)


def test_reading_the_np_model_prints_nothing(capfd):
    PROPERTIES["NP"].function(MOLS[0])
    assert capfd.readouterr() == ("", "")


def test_an_unknown_property_names_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'logP'"):
        properties(MOLS[0], ["logp"])
