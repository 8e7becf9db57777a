"""The surrogate against RDKit's Tanimoto, SciPy's multivariate normal, and conditioning written out with an inverse."""

import numpy as np
import pytest
from fakes import FakeModel, molecule
from rdkit import Chem, DataStructs
from rdkit.Chem import Crippen
from rdkit.Chem import rdFingerprintGenerator as generators
from scipy.stats import multivariate_normal

from molvae.errors import InvalidMolecule
from molvae.search.features import COUNT_FEATURES, DESCRIPTOR_UNITS, ELEMENTS, FeatureCache, descriptors, feature_cache
from molvae.search.surrogate import Hyperparameters, StructureGP, active_set, count_kernels, evidence_rows, score_units

SMILES = [
    "CCO", "CCN", "c1ccccc1O", "Cc1ccccc1", "CC(=O)Oc1ccccc1C(=O)O", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "C1CCNCC1", "CCCCCC",
    "O=C(O)CCl", "FC(F)(F)c1ccncc1", "CS(=O)(=O)N", "N#Cc1ccc(Br)cc1", "CC(C)Cc1ccc(cc1)C(C)C(=O)O", "C",
]  # fmt: skip
SMILES = [Chem.CanonSmiles(s) for s in SMILES]
SCORES = np.linspace(0.1, 0.9, len(SMILES)) + 0.05 * np.cos(np.arange(len(SMILES)) * 3.0)
N_DESCRIPTORS = len(DESCRIPTOR_UNITS) + len(ELEMENTS) + 1
REFERENCE = {
    "morgan3": generators.GetMorganGenerator(radius=3, fpSize=2048),
    "feature_morgan2": generators.GetMorganGenerator(
        radius=2, fpSize=2048, atomInvariantsGenerator=generators.GetMorganFeatureAtomInvGen()
    ),
    "atom_pair": generators.GetAtomPairGenerator(maxDistance=10, fpSize=2048, countSimulation=False),
}


def hyperparameters(seed: int = 0) -> Hyperparameters:
    rng = np.random.default_rng(seed)
    return Hyperparameters(rng.uniform(0.1, 0.5, len(COUNT_FEATURES) + 1), rng.uniform(1.0, 5.0, N_DESCRIPTORS))


def covariance_by_rdkit(a: list[str], b: list[str], h: Hyperparameters) -> np.ndarray:
    """The kernel entry by entry, from RDKit's similarity and the definition of the RBF."""
    found = np.zeros((len(a), len(b)))
    for i, first in enumerate(a):
        for j, second in enumerate(b):
            one, two = Chem.MolFromSmiles(first), Chem.MolFromSmiles(second)
            for weight, kind in zip(h.weights, COUNT_FEATURES, strict=False):
                fingerprint = REFERENCE[kind].GetCountFingerprint
                found[i, j] += weight * DataStructs.TanimotoSimilarity(fingerprint(one), fingerprint(two))
            distance = (((np.subtract(*descriptors([], [one, two]))) / h.lengths) ** 2).sum()
            found[i, j] += h.weights[-1] * np.exp(-0.5 * distance)
    return found


@pytest.mark.parametrize("kind", COUNT_FEATURES)
def test_count_kernels_are_rdkits_tanimoto(kind: str) -> None:
    batch = FeatureCache().batch(SMILES[:-1])  # methane has no atom pair: RDKit calls two empty vectors different or equal
    (kernel,) = count_kernels(batch, batch, [kind])
    prints = [REFERENCE[kind].GetCountFingerprint(Chem.MolFromSmiles(s)) for s in SMILES[:-1]]
    np.testing.assert_allclose(kernel, [[DataStructs.TanimotoSimilarity(p, q) for q in prints] for p in prints], atol=1e-6)


def test_a_kernel_entry_does_not_depend_on_its_batch() -> None:
    cache = FeatureCache()
    whole, few = cache.batch(SMILES), cache.batch(SMILES[3:6])
    np.testing.assert_array_equal(
        count_kernels(whole, whole, COUNT_FEATURES)[:, 3:6], count_kernels(few, whole, COUNT_FEATURES)
    )


def test_descriptors_of_phenol() -> None:
    [values] = descriptors(["Oc1ccccc1"], [Chem.MolFromSmiles("Oc1ccccc1")])
    expected = {"rings": 1, "aromatic_rings": 1, "rotatable_bonds": 0, "HBD": 1, "heavy_atoms": 7 / 4, "TPSA": 20.23 / 20}
    by_name = dict(zip(DESCRIPTOR_UNITS, values, strict=False))
    for name, value in expected.items():
        assert by_name[name] == pytest.approx(value), name
    assert by_name["logP"] == pytest.approx(Crippen.MolLogP(Chem.MolFromSmiles("Oc1ccccc1")))
    counts = dict(zip(ELEMENTS, values[len(DESCRIPTOR_UNITS) :], strict=False))
    assert (counts["C"], counts["O"], counts["N"]) == (6, 1, 0)
    assert values[-1] == pytest.approx(6 / 4)  # hydrogens


def test_features_survive_forgetting() -> None:
    small, large = FeatureCache(limit=4), FeatureCache()
    small.batch(SMILES)
    again, expected = small.batch(SMILES), large.batch(SMILES)
    np.testing.assert_array_equal(again.vectors["descriptors"], expected.vectors["descriptors"])
    for kind in COUNT_FEATURES:
        assert (again.counts[kind] != expected.counts[kind]).nnz == 0


def test_a_string_that_is_no_molecule_is_refused() -> None:
    with pytest.raises(InvalidMolecule, match="not-a-molecule"):
        FeatureCache().batch(["CCO", "not-a-molecule"])


def test_the_posterior_is_the_conditioned_normal() -> None:
    train, test, members = SMILES[:9], SMILES[9:-1], [hyperparameters(0), hyperparameters(1)]
    gp = StructureGP(FeatureCache()).fit(train, SCORES[:9], members)
    mean, variance = gp.predict(test)
    joint_mean, joint_covariance = gp.joint(test)
    for m, h in enumerate(members):
        inverse = np.linalg.inv(covariance_by_rdkit(train, train, h) + 1e-4 * np.eye(9))
        cross = covariance_by_rdkit(test, train, h)
        covariance = covariance_by_rdkit(test, test, h) - cross @ inverse @ cross.T
        np.testing.assert_allclose(mean[m], cross @ inverse @ SCORES[:9], atol=1e-4)  # kernels are single precision
        np.testing.assert_allclose(variance[m], np.diag(covariance), atol=1e-4)
        np.testing.assert_allclose(joint_mean[m], mean[m], atol=1e-9)
        np.testing.assert_allclose(joint_covariance[m], covariance, atol=1e-4)


def test_latents_are_compared_by_an_rbf_and_what_has_none_is_like_nothing_else() -> None:
    known = [molecule((i, j, 1, 1)) for i in range(3) for j in range(3)]
    outside = Chem.CanonSmiles("C1CCCCCCCCCCC1")  # the toy model cannot encode it
    z = FakeModel().encode(known).astype(np.float64)
    gp = StructureGP(feature_cache(["latent"], FakeModel()))
    h = Hyperparameters(np.array([0.7]), np.array([1.0, 2.0, 3.0, 4.0]))
    gp.fit(known, np.linspace(0.0, 1.0, 9), [h])
    covariance = 0.7 * np.exp(-0.5 * (((z[:, None] - z[None]) / h.lengths) ** 2).sum(-1)) + 1e-4 * np.eye(9)
    expected = multivariate_normal(np.zeros(9), covariance).logpdf(np.linspace(0.0, 1.0, 9))
    assert gp.log_evidence()[0] == pytest.approx(expected, abs=1e-6)
    mean, variance = gp.predict([outside])
    assert (mean[0, 0], variance[0, 0]) == (0.0, pytest.approx(0.7))
    np.testing.assert_array_equal(gp.prior().lengths, [2.0] * 4)  # sqrt(D)


def test_the_evidence_is_the_density_of_the_scores() -> None:
    h = hyperparameters()
    gp = StructureGP(FeatureCache(), noise=1e-2).fit(SMILES[:-1], SCORES[:-1], [h])
    covariance = covariance_by_rdkit(SMILES[:-1], SMILES[:-1], h) + 1e-2 * np.eye(len(SMILES) - 1)
    expected = multivariate_normal(np.zeros(len(covariance)), covariance).logpdf(SCORES[:-1])
    assert gp.log_evidence()[0] == pytest.approx(expected, abs=1e-3)


def test_the_botorch_posterior_is_the_same() -> None:
    gp = StructureGP(FeatureCache()).fit(SMILES[:8], SCORES[:8])
    mean, variance = gp.predict(SMILES[8:])
    posterior = gp.posterior(SMILES[8:])
    np.testing.assert_allclose(posterior.mean.numpy().ravel(), mean[0])
    np.testing.assert_allclose(posterior.variance.numpy().ravel(), variance[0], atol=1e-6)


def test_a_growing_training_set_gives_what_a_fresh_surrogate_gives() -> None:
    grown = StructureGP(FeatureCache())
    for n in (4, 7, 12):
        grown.fit(SMILES[:n], SCORES[:n])
    shuffled = np.random.default_rng(0).permutation(12)[:10]  # some leave, the others change places
    names, y = [SMILES[i] for i in shuffled], SCORES[shuffled]
    fresh = StructureGP(FeatureCache()).fit(names, y)
    for one, other in zip(grown.fit(names, y).predict(SMILES), fresh.predict(SMILES), strict=True):
        np.testing.assert_array_equal(one, other)


def test_learning_finds_what_the_score_depends_on() -> None:
    # Scores are a smooth function of logP alone: its length comes out shorter than every other, and the learned model
    # is the more probable one even after paying for its priors.
    rng = np.random.default_rng(0)
    pieces = ["C", "CC", "O", "N", "C(c1ccccc1)", "C(=O)N", "C(Cl)", "C(F)", "S", "C(C)C", "C1CC1", "OC"]
    smiles = sorted({Chem.CanonSmiles("C" + "".join(rng.choice(pieces, rng.integers(1, 6))) + "C") for _ in range(90)})
    y = np.array([0.5 + 0.4 * np.sin(Crippen.MolLogP(Chem.MolFromSmiles(s))) for s in smiles])
    gp = StructureGP(FeatureCache())
    learned = gp.learn(smiles, y)
    assert np.argmin(learned.lengths) == list(DESCRIPTOR_UNITS).index("logP")
    evidence = gp.fit(smiles, y, [gp.prior(), learned]).log_evidence()
    assert evidence[1] > evidence[0] + 20


def test_evidence_comes_from_the_top_and_from_the_rest() -> None:
    y = np.random.default_rng(0).random(1000)
    rows = evidence_rows(y, limit=100)
    assert len(set(rows.tolist())) == 100
    assert set(np.argsort(-y)[:50]) <= set(rows.tolist())
    assert y[rows].min() == y.min()
    np.testing.assert_array_equal(np.sort(evidence_rows(y, limit=2000)), np.arange(1000))


def test_the_active_set_keeps_the_best_and_the_latest() -> None:
    scores = np.random.default_rng(1).random(500)
    scores[[3, 499]] = np.nan
    rows = active_set(scores, 100, np.random.default_rng(0))
    assert len(rows) == 100 and (np.diff(rows) > 0).all()
    assert not {3, 499} & set(rows.tolist())
    assert set(np.argsort(-np.nan_to_num(scores))[:50]) <= set(rows.tolist())
    assert set(range(485, 499)) <= set(rows.tolist())
    np.testing.assert_array_equal(active_set(scores, 600, np.random.default_rng(0)), np.flatnonzero(np.isfinite(scores)))


def test_the_active_set_of_a_longer_history_is_nearly_the_same() -> None:
    scores = np.random.default_rng(1).random(1020)
    before = active_set(scores[:1000], 200, np.random.default_rng(0))
    after = active_set(scores, 200, np.random.default_rng(0))
    # 20 more scores push out at most 20 recent ones, and 20 of the best for those of them that are better.
    assert len(set(before.tolist()) - set(after.tolist())) <= 40
    assert len(set(after.tolist()) - set(before.tolist())) <= 40


def test_units_of_scores() -> None:
    assert score_units(np.array([0.0, 0.3, np.nan, 1.0])) == (0.0, 1.0)
    assert score_units(np.array([np.nan])) == (0.0, 1.0)
    assert score_units(np.array([7.0, 7.0])) == (7.0, 1.0)
    shift, scale = score_units(np.arange(-100.0, 1.0))
    assert (shift, scale) == (-95.0, 95.0)


def test_what_is_left_out_is_predicted_from_the_others() -> None:
    members = [hyperparameters(seed) for seed in (0, 1)]
    smiles, scores = SMILES[:8], SCORES[:8]
    mean, variance = StructureGP(FeatureCache(), noise=1e-2).fit(smiles, scores, members).leave_one_out()
    for i in range(len(smiles)):
        others = [j for j in range(len(smiles)) if j != i]
        gp = StructureGP(FeatureCache(), noise=1e-2).fit([smiles[j] for j in others], scores[others], members)
        expected, noise_free = gp.predict([smiles[i]])
        np.testing.assert_allclose(mean[:, i], expected[:, 0], atol=1e-8)
        np.testing.assert_allclose(variance[:, i], noise_free[:, 0] + 1e-2, atol=1e-8)
