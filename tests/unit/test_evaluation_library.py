"""The figures of a library against those that MOSES's and GuacaMol's own definitions gave, and against RDKit."""

from __future__ import annotations

import csv
import io
import logging
import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

import molvae
from molvae.chem import parse
from molvae.chem.fragments import brics_fragments, ring_scaffold
from molvae.chem.medicinal import medicinal_fault
from molvae.errors import ConfigError, DataError
from molvae.evaluation import similarity
from molvae.evaluation.distributions import (
    continuous_divergence,
    cosine_similarity,
    discrete_divergence,
    guacamol_subset,
    wasserstein,
)
from molvae.evaluation.evaluate import is_library
from molvae.evaluation.library import Known, library_scorecard
from molvae.evaluation.scorecard import MEASURES, Scorecard
from molvae.strings.tokens import Decoded

HERE = Path(__file__).parent
MOSES = {
    "valid": "valid", "unique@1k": "unique@1000", "novel": "Novelty", "int_div_1": "IntDiv", "int_div_2": "IntDiv2",
    "snn": "SNN", "fragments": "Frag", "scaffolds": "Scaf", "filters": "Filters",
    "w_logP": "logP", "w_SA": "SA", "w_QED": "QED", "w_NP": "NP", "w_MW": "weight",
}  # fmt: skip
GUACAMOL = {
    "BertzCT": "BertzCT", "logP": "MolLogP", "MW": "MolWt", "TPSA": "TPSA", "HBA": "NumHAcceptors", "HBD": "NumHDonors",
    "rotatable_bonds": "NumRotatableBonds", "aliphatic_rings": "NumAliphaticRings", "aromatic_rings": "NumAromaticRings",
    "internal_similarity": "internal_similarity",
}  # fmt: skip


def molecules(kind: str) -> list[str]:
    """The rows of one kind of the golden file, as a library comes: repeats, other writings, rows that are no molecule."""
    lines = (line.split() for line in (HERE / "evaluation_molecules.smi").read_text().splitlines())
    return [smiles for smiles, of in lines if of == kind]


@pytest.fixture(scope="module")
def golden() -> dict[str, float]:
    """What the reference implementations said; the file tells how."""
    with (HERE / "evaluation_golden.csv").open(newline="") as stream:
        rows = csv.DictReader(line for line in stream if not line.startswith("#"))
        return {row["metric"]: float(row["value"]) for row in rows}


@pytest.fixture(scope="module")
def card() -> Scorecard:
    sets = {"reference": molecules("train"), "test": molecules("test")}
    return library_scorecard(molecules("library"), **sets, sample=50, fcd=False)


# -- the reference implementations


@pytest.mark.parametrize("name", MOSES)
def test_figures_are_those_of_moses(card: Scorecard, golden: dict[str, float], name: str) -> None:
    assert card.values[name] == pytest.approx(golden[f"moses.{MOSES[name]}"], abs=1e-6)


def test_the_kl_score_is_guacamols(card: Scorecard, golden: dict[str, float]) -> None:
    theirs = {ours: golden[f"guacamol.KL.{name}"] for ours, name in GUACAMOL.items()}
    assert card.kl_divergences == pytest.approx(theirs, abs=1e-6)
    assert card.values["kl_score"] == pytest.approx(golden["guacamol.KL"], abs=1e-6)


def test_uniqueness_looks_at_the_first_molecules_only(golden: dict[str, float]) -> None:
    from molvae.evaluation.samples import uniqueness

    valid = [Chem.CanonSmiles(text) for text in molecules("library") if Chem.MolFromSmiles(text)]
    assert uniqueness(valid, 50) == golden["moses.unique@50"] == 1
    assert uniqueness(valid) == golden["moses.unique@1000"] < 1


def test_the_subset_is_the_one_that_guacamol_draws() -> None:
    # What guacamol.utils.data.get_random_subset(list(range(20)), 5, seed=42) returns.
    assert list(guacamol_subset(20, 5)) == [0, 17, 15, 1, 8]
    assert list(guacamol_subset(4, 5)) == [0, 1, 2, 3]


# -- similarities, pair by pair


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """Packed bits of 60 molecules, in blocks of 4, and RDKit's coefficient of every pair."""
    monkeypatch.setattr(similarity, "_BLOCK", 4)
    mols = [mol for mol in map(Chem.MolFromSmiles, molecules("train")) if mol][:60]
    maker = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    bits = [maker.GetFingerprint(mol) for mol in mols]
    return similarity.morgan_bits(mols), np.array([DataStructs.BulkTanimotoSimilarity(one, bits) for one in bits])


def test_similarities_in_blocks_agree_with_rdkit(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    bits, expected = pairs
    first, second = similarity.internal_diversity(bits)
    assert first == pytest.approx(1 - expected.mean(), abs=1e-6)
    assert second == pytest.approx(1 - np.sqrt((expected**2).mean(axis=1)).mean(), abs=1e-6)
    nearest = similarity.nearest_neighbour_similarity(bits[:25], bits[25:])
    assert nearest == pytest.approx(expected[:25, 25:].max(axis=1).mean(), abs=1e-6)
    np.testing.assert_allclose(similarity.nearest_of_its_own(bits), (expected - np.eye(60)).max(axis=1), atol=1e-6)


def test_sets_without_members_have_no_similarity() -> None:
    nothing, one = np.zeros((0, 128), np.uint8), np.full((1, 128), 255, np.uint8)
    assert all(math.isnan(value) for value in similarity.internal_diversity(nothing))
    assert math.isnan(similarity.nearest_neighbour_similarity(nothing, one))
    assert similarity.nearest_of_its_own(one).tolist() == [0]
    # Two molecules without a single bit are the same, as MOSES has it.
    assert similarity.nearest_neighbour_similarity(np.zeros((1, 128), np.uint8), np.zeros((1, 128), np.uint8)) == 1


# -- distributions, from their formulas


def test_cosines_and_distances_by_hand() -> None:
    assert cosine_similarity(Counter(a=3, b=4), Counter(a=1)) == pytest.approx(3 / 5)
    assert cosine_similarity(Counter(a=1), Counter(b=1)) == 0
    assert math.isnan(cosine_similarity(Counter(), Counter(a=1)))
    # Two uniform pairs a distance of 2 apart, a NaN left out.
    assert wasserstein(np.array([1.0, 3.0, math.nan]), np.array([3.0, 5.0])) == pytest.approx(2)
    assert math.isnan(wasserstein(np.array([math.nan]), np.array([1.0])))


def test_divergences_without_a_value_are_nan() -> None:
    assert math.isnan(continuous_divergence(np.ones(5), np.arange(5.0)))
    assert math.isnan(discrete_divergence(np.array([7.0]), np.array([0.0, 1.0])))
    # Half of each bin's mass against all of it in one bin: ln 2, but for the floor of 1e-10.
    assert discrete_divergence(np.array([0.0, 1.0]), np.array([0.0, 0.0])) == pytest.approx(0, abs=1e-8)
    assert discrete_divergence(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 1.0, 1.0])) == pytest.approx(
        0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5), abs=1e-8
    )


# -- pieces and filters


def test_pieces_of_molecules() -> None:
    assert sorted(brics_fragments(parse("CCOc1ccccc1"))) == ["[16*]c1ccccc1", "[3*]O[3*]", "[4*]CC"]
    assert ring_scaffold(parse("CCc1ccccc1")) is None
    assert ring_scaffold(parse("CCc1ccccc1CC1CC1")) == "c1ccc(CC2CC2)cc1"


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("CC(=O)Nc1ccc(O)cc1", ""),
        ("O=C1CCCCCCC1", "ring of 8 atoms or more"),
        ("CC(=O)[O-]", "charged atom"),
        ("CCI", "atom other than"),
        ("CC(Br)(Br)CCBr", "more than 2 Br"),
        ("ClC(Cl)(Cl)CCl", "more than 3 Cl"),
        ("CC(F)(F)C(F)(F)C(F)(F)F", "more than 6 F"),
        ("CCCCC=O", "aldehyde"),
        ("C=CC#N", "acrylonitrile"),
        ("C=CS(C)(=O)=O", "vinyl sulfone"),
        ("CNC(=O)C=C", "acrylamide"),
        ("CCCl", "alkyl halide"),
        ("CC(C)(C)Cl", ""),  # no hydrogen beside the halogen
        ("C1OC1C", "epoxide"),
        ("CN=C=O", "isocyanate"),
        ("CC(C)=N", "imine"),
        ("C1NC1C", "aziridine"),
        ("CNNC", "acyclic hydrazine"),
        ("CN=NS(C)(=O)=O", "azo group"),
        ("Clc1ncccc1", "halogen beside a ring hetero atom"),
        ("CSSC", "disulfide"),
        ("NNN", "triazene"),
        ("NCN", "aminal"),
        ("COCOC", "acetal"),
        ("Oc1ccccc1O", "PAINS: catechol_A(92)"),
    ],
)
def test_the_medicinal_filter_says_why(smiles: str, reason: str) -> None:
    found = medicinal_fault(parse(smiles))
    assert found.startswith(reason) and bool(found) == bool(reason)


def test_the_screen_of_pains_loses_none_of_rdkits_catalogue() -> None:
    from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogParams

    catalogue = FilterCatalog(FilterCatalogParams(FilterCatalogParams.FilterCatalogs.PAINS))
    suspects = ["Oc1ccccc1O", "O=C1NC(=S)SC1=Cc1ccccc1", "c1ccc2c(c1)[nH]cc2CN1CCCC1", "O=C1C=CC(=O)C=C1"]
    flagged = 0
    for text in [*suspects, *molecules("library"), *molecules("train")]:
        mol = parse(text)
        found = medicinal_fault(mol) if mol else "no molecule"
        if found and not found.startswith("PAINS"):
            continue  # another reason came first
        assert bool(found) == catalogue.HasMatch(mol), text
        flagged += bool(found)
    assert flagged >= 5


# -- the whole


def test_rates_counted_by_hand(caplog: pytest.LogCaptureFixture) -> None:
    library = ["c1ccccc1C", "Cc1ccccc1", "C1CCCCCCCCC1", "C1CC", None, "c1ccncc1CO"]
    train = ["Cc1ccccc1", "CCO", "hello"]
    with caplog.at_level(logging.WARNING):
        card = library_scorecard(library, reference=train, fcd=False)
    assert caplog.messages == ["1 of 3 rows of the reference are not valid and left out"]
    values = card.values
    # 6 rows, 4 valid, 3 distinct of which 1 is known; the ring of ten and pyridine are not in the reference.
    assert (values["valid"], values["unique"], values["novel"]) == (4 / 6, 3 / 4, 2 / 3)
    assert values["sane"] == 2 / 6
    assert values["ring_system_novelty"] == 2 / 3
    assert values["scaffold_diversity"] == 3 / 3
    assert values["filters"] == 3 / 4
    assert card.faults["not sane: ring of more than 8 atoms"] == 1
    assert card.faults["not sane: ring system not seen in training"] == 2
    assert card.reasons["faithful"].startswith("SMILES do not say")
    assert math.isnan(values["scaffolds"]) and "scaffolds" in card.reasons


def test_what_a_decoder_wrote_has_a_faithful_rate() -> None:
    samples = [
        Decoded("[C][C][O]", "CCO", True),
        Decoded("[C][F][C]", "CF", False, "1 of 3 symbols unused"),
        Decoded("", None, False, "empty string"),
        Decoded("[C][C][N]", "CCN", True),
    ]
    card = library_scorecard(samples, known=Known({"CCO"}.__contains__, None), fcd=False)
    assert (card.values["valid"], card.values["faithful"]) == (3 / 4, 2 / 4)
    assert card.values["novel"] == 2 / 3
    assert card.faults["unfaithful: empty string"] == 1


def test_every_figure_is_described_and_every_gap_has_a_reason(card: Scorecard) -> None:
    alone = library_scorecard(["CCO", "CCN"])
    for found in (card, alone):
        assert set(found.values) <= set(MEASURES)
        assert {name for name, value in found.values.items() if math.isnan(value)} == set(found.reasons)
    assert alone.reasons["snn"] == alone.reasons["fcd"] == "no --reference and no --test to compare with"
    assert alone.to_dict()["values"]["snn"] is None


def test_worker_processes_change_nothing(card: Scorecard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("molvae.evaluation.profile.CHUNK", 40)  # enough jobs that processes are started
    sets = {"reference": molecules("train"), "test": molecules("test")}
    again = library_scorecard(molecules("library"), **sets, sample=50, fcd=False, workers=1)
    assert again.to_dict() == card.to_dict()


def test_without_the_optional_package_the_rest_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcd", None)
    found = library_scorecard(["CCO", "CCN", "CCC"], reference=["CCO", "CCCC"])
    assert math.isnan(found.values["fcd"])
    assert "pip install 'molvae[fcd]'" in found.reasons["fcd"]
    assert found.values["novel"] == 2 / 3


def test_the_fcd_and_its_score() -> None:
    fcd = pytest.importorskip("fcd", reason="the optional package fcd is not installed")
    sets = [[text for text in molecules(kind) if Chem.MolFromSmiles(text)] for kind in ("library", "test")]
    canonical = [[Chem.CanonSmiles(text) for text in each] for each in sets]
    rows = [fcd.get_predictions(fcd.load_ref_model(), each, n_jobs=0, device="cpu").astype(float) for each in canonical]
    theirs = fcd.calculate_frechet_distance(
        mu1=rows[0].mean(0), sigma1=np.cov(rows[0].T), mu2=rows[1].mean(0), sigma2=np.cov(rows[1].T)
    )
    found = library_scorecard(sets[0], test=sets[1], device="cpu").values
    # The package takes the root of singular matrices (40 rows, 512 columns), which costs it some digits.
    assert found["fcd"] == pytest.approx(theirs, rel=1e-3)
    assert found["fcd_score"] == pytest.approx(math.exp(-0.2 * found["fcd"]), rel=1e-12)


def test_the_picture_of_the_distributions(card: Scorecard) -> None:
    from matplotlib.image import imread

    from molvae.report.plots import distributions_png

    picture = distributions_png(card.properties)
    assert picture == distributions_png(card.properties)
    assert imread(io.BytesIO(picture)).std() > 0.05  # something is drawn
    # Sets without values or without spread have empty panels.
    assert distributions_png({"library": {"logP": np.array([math.nan]), "MW": np.ones(3)}})[:4] == b"\x89PNG"


def test_a_test_set_inside_the_reference_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        library_scorecard(["CCC"], reference=["CCO", "CCN"], test=["OCC", "CCCl"], fcd=False)
    assert "1 molecules of the test set are in the reference too" in caplog.text


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"subject": []}, DataError, "the library holds no molecules"),
        ({"subject": ["hello", "C1CC"]}, DataError, "none of the 2 rows of the library is a valid SMILES"),
        ({"subject": ["CCO"], "reference": []}, DataError, "the reference holds no molecules"),
        ({"subject": ["CCO"], "reference": ["x"]}, DataError, "none of the 1 rows of the reference"),
        ({"subject": ["CCO"], "sample": 1}, ConfigError, "need at least 2 molecules"),
        ({"subject": "nowhere.smi"}, DataError, "no file nowhere.smi"),
        ({"subject": ["CCO"], "reference": "nowhere.csv"}, DataError, "no file nowhere.csv"),
    ],
)
def test_mistakes_are_sentences(settings: dict, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        molvae.evaluate(**settings)


def test_what_is_a_library_and_what_a_model(tmp_path: Path) -> None:
    assert all(is_library(name) for name in ("a.smi", "b.csv.gz", Path("c.parquet"), "-", ["CCO"]))
    (tmp_path / "run.csv").mkdir()
    assert not any(is_library(name) for name in ("zinc250k", "runs/mine", tmp_path / "run.csv"))
