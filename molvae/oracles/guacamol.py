"""The goal-directed tasks of GuacaMol v2 and of PMO that need only RDKit, one function a task.

GuacaMol: Brown et al., J. Chem. Inf. Model. 59:1096, 2019. PMO: Gao et al., NeurIPS Datasets and Benchmarks 2022 (it scores
with TDC, whose values agree with GuacaMol's). Names are PMO's. Written from the published definitions; no task shares state
with another, so the order of use does not change a value.
"""

from __future__ import annotations

from molvae.oracles.base import ORACLES
from molvae.oracles.modifiers import Clip, Gaussian, MaxGaussian, MinGaussian, arithmetic_mean, geometric_mean
from molvae.oracles.parts import Composite, Descriptor, ElementCount, Formula, Part, Pattern, Similarity, molecule

ALBUTEROL = "CC(C)(C)NCC(O)c1ccc(O)c(CO)c1"
AMLODIPINE = r"Clc1ccccc1C2C(=C(/N/C(=C2/C(=O)OCC)COCCN)C)\C(=O)OC"
ARIPIPRAZOLE = "Clc4cccc(N3CCN(CCCCOc2ccc1c(NC(=O)CC1)c2)CC3)c4Cl"
CAMPHOR = "CC1(C)C2CCC1(C)C(=O)C2"
CELECOXIB = "CC1=CC=C(C=C1)C1=CC(=NN1C1=CC=C(C=C1)S(N)(=O)=O)C(F)(F)F"
FEXOFENADINE = "CC(C)(C(=O)O)c1ccc(cc1)C(O)CCCN2CCC(CC2)C(O)(c3ccccc3)c4ccccc4"
HOP_TARGET = "CCCOc1cc2ncnc(Nc3ccc4ncsc4c3)c2cc1S(=O)(=O)C(C)(C)C"
MENTHOL = "CC(C)C1CCC(C)CC1O"
MESTRANOL = "COc1ccc2[C@H]3CC[C@@]4(C)[C@@H](CC[C@@]4(O)C#C)[C@@H]3CCc2c1"
OSIMERTINIB = "COc1cc(N(C)CCN(C)C)c(NC(=O)C=C)cc1Nc2nccc(n2)c3cn(C)c4ccccc34"
PERINDOPRIL = "O=C(OCC)C(NC(C(=O)N1C(C(=O)O)CC2CCCCC12)C)CCC"
RANOLAZINE = "COc1ccccc1OCC(O)CN2CCN(CC(=O)Nc3c(C)cccc3C)CC2"
SILDENAFIL = "CCCC1=NN(C2=C1N=C(NC2=O)C3=C(C=CC(=C3)S(=O)(=O)N4CCN(CC4)C)OCC)C"
SITAGLIPTIN = "Fc1cc(c(F)cc1F)CC(N)CC(=O)N3Cc2nnc(n2CC3)C(F)(F)F"
TADALAFIL = "O=C1N(CC(N2C1CC3=C(C2C4=CC5=C(OCO5)C=C4)NC6=C3C=CC=C6)=O)C"
THIOTHIXENE = "CN(C)S(=O)(=O)c1ccc2Sc3ccccc3C(=CCCN4CCN(C)CC4)c2c1"
TROGLITAZONE = "Cc1c(C)c2OC(C)(COc3ccc(CC4SC(=O)NC4=O)cc3)CCc2c(C)c1O"
ZALEPLON = "O=C(C)N(CC)C1=CC=CC(C2=CC=NC3=C(C=NN23)C#N)=C1"

# Pieces of HOP_TARGET: the quinazoline that deco_hop keeps and scaffold_hop leaves, and what is attached to it.
HOP_SCAFFOLD = "[#7]-c1n[c;h1]nc2[c;h1]c(-[#8])[c;h0][c;h1]c12"
HOP_SULFONE = "CS([#6])(=O)=O"
HOP_BENZOTHIAZOLE = "[#7]-c1ccc2ncsc2c1"
HOP_CHAIN = "[#6]-[#6]-[#6]-[#8]-[#6]~[#6]~[#6]~[#6]~[#6]-[#7]-c1ccc2ncsc2c1"
VALSARTAN_CORE = "CN(C=O)Cc1ccc(c2ccccc2)cc1"

PMO_TASKS = (
    "albuterol_similarity", "amlodipine_mpo", "celecoxib_rediscovery", "deco_hop", "fexofenadine_mpo", "isomers_c7h8n2o2",
    "isomers_c9h10n2o2pf2cl", "median1", "median2", "mestranol_similarity", "osimertinib_mpo", "perindopril_mpo", "qed",
    "ranolazine_mpo", "scaffold_hop", "sitagliptin_mpo", "thiothixene_rediscovery", "troglitazone_rediscovery",
    "valsartan_smarts", "zaleplon_mpo",
)  # fmt: skip
GUACAMOL_V2_TASKS = tuple(sorted({*PMO_TASKS, "aripiprazole_similarity", "isomers_c11h24"} - {"qed", "isomers_c7h8n2o2"}))


def _single(part: Part) -> Composite:
    """A task of one part."""
    return Composite(arithmetic_mean, {"score": part})


def _matching(name: str, target: str, sigma: float) -> Descriptor:
    """A descriptor that should be what it is for the molecule `target`."""
    return Descriptor(name, Gaussian(mu=Descriptor(name)(molecule(target)), sigma=sigma))


@ORACLES.register("albuterol_similarity")
def albuterol_similarity() -> Composite:
    """Similar to albuterol; full marks from 0.75."""
    return _single(Similarity(ALBUTEROL, "FCFP4", Clip(upper=0.75)))


@ORACLES.register("mestranol_similarity")
def mestranol_similarity() -> Composite:
    """Similar to mestranol; full marks from 0.75."""
    return _single(Similarity(MESTRANOL, "AP", Clip(upper=0.75)))


@ORACLES.register("aripiprazole_similarity")
def aripiprazole_similarity() -> Composite:
    """Similar to aripiprazole; full marks from 0.75. GuacaMol's definition (ECFP4; TDC's task of this name uses FCFP4)."""
    return _single(Similarity(ARIPIPRAZOLE, "ECFP4", Clip(upper=0.75)))


@ORACLES.register("celecoxib_rediscovery")
def celecoxib_rediscovery() -> Composite:
    """Find celecoxib."""
    return _single(Similarity(CELECOXIB, "ECFP4"))


@ORACLES.register("troglitazone_rediscovery")
def troglitazone_rediscovery() -> Composite:
    """Find troglitazone."""
    return _single(Similarity(TROGLITAZONE, "ECFP4"))


@ORACLES.register("thiothixene_rediscovery")
def thiothixene_rediscovery() -> Composite:
    """Find thiothixene."""
    return _single(Similarity(THIOTHIXENE, "ECFP4"))


@ORACLES.register("isomers_c7h8n2o2")
def isomers_c7h8n2o2() -> Composite:
    """Isomers of C7H8N2O2 (19 atoms)."""
    return _single(Formula("C7H8N2O2"))


@ORACLES.register("isomers_c9h10n2o2pf2cl")
def isomers_c9h10n2o2pf2cl() -> Composite:
    """Isomers of C9H10N2O2PF2Cl (27 atoms)."""
    return _single(Formula("C9H10N2O2PF2Cl"))


@ORACLES.register("isomers_c11h24")
def isomers_c11h24() -> Composite:
    """Isomers of C11H24; there are 159 without stereo. Not in PMO."""
    return _single(Formula("C11H24"))


@ORACLES.register("median1")
def median1() -> Composite:
    """Between camphor and menthol."""
    return Composite(geometric_mean, {"camphor": Similarity(CAMPHOR, "ECFP4"), "menthol": Similarity(MENTHOL, "ECFP4")})


@ORACLES.register("median2")
def median2() -> Composite:
    """Between tadalafil and sildenafil."""
    parts = {"tadalafil": Similarity(TADALAFIL, "ECFP6"), "sildenafil": Similarity(SILDENAFIL, "ECFP6")}
    return Composite(geometric_mean, parts)


@ORACLES.register("osimertinib_mpo")
def osimertinib_mpo() -> Composite:
    """Like osimertinib but not the same, more polar, less greasy."""
    parts = {
        "similarity": Similarity(OSIMERTINIB, "FCFP4", Clip(upper=0.8)),
        "novelty": Similarity(OSIMERTINIB, "ECFP6", MinGaussian(mu=0.85, sigma=0.1)),
        "tpsa": Descriptor("TPSA", MaxGaussian(mu=100.0, sigma=10.0)),
        "logp": Descriptor("logP", MinGaussian(mu=1.0, sigma=1.0)),
    }
    return Composite(geometric_mean, parts)


@ORACLES.register("fexofenadine_mpo")
def fexofenadine_mpo() -> Composite:
    """Like fexofenadine, less greasy."""
    parts = {
        "similarity": Similarity(FEXOFENADINE, "AP", Clip(upper=0.8)),
        "tpsa": Descriptor("TPSA", MaxGaussian(mu=90.0, sigma=10.0)),
        "logp": Descriptor("logP", MinGaussian(mu=4.0, sigma=1.0)),
    }
    return Composite(geometric_mean, parts)


@ORACLES.register("ranolazine_mpo")
def ranolazine_mpo() -> Composite:
    """Like ranolazine, with one fluorine, greasier and more polar."""
    parts = {
        "similarity": Similarity(RANOLAZINE, "AP", Clip(upper=0.7)),
        "logp": Descriptor("logP", MaxGaussian(mu=7.0, sigma=1.0)),
        "fluorine": ElementCount("F", Gaussian(mu=1.0, sigma=1.0)),
        "tpsa": Descriptor("TPSA", MaxGaussian(mu=95.0, sigma=20.0)),
    }
    return Composite(geometric_mean, parts)


@ORACLES.register("perindopril_mpo")
def perindopril_mpo() -> Composite:
    """Like perindopril, with two aromatic rings."""
    parts = {
        "similarity": Similarity(PERINDOPRIL, "ECFP4"),
        "aromatic_rings": Descriptor("aromatic_rings", Gaussian(mu=2.0, sigma=0.5)),
    }
    return Composite(geometric_mean, parts)


@ORACLES.register("amlodipine_mpo")
def amlodipine_mpo() -> Composite:
    """Like amlodipine, with three rings."""
    parts = {"similarity": Similarity(AMLODIPINE, "ECFP4"), "rings": Descriptor("rings", Gaussian(mu=3.0, sigma=0.5))}
    return Composite(geometric_mean, parts)


@ORACLES.register("sitagliptin_mpo")
def sitagliptin_mpo() -> Composite:
    """Unlike sitagliptin, with its logP, polar surface and formula."""
    parts = {
        "dissimilarity": Similarity(SITAGLIPTIN, "ECFP4", Gaussian(mu=0.0, sigma=0.1)),
        "logp": _matching("logP", SITAGLIPTIN, 0.2),
        "tpsa": _matching("TPSA", SITAGLIPTIN, 5.0),
        "formula": Formula("C16H15F6N5O"),
    }
    return Composite(geometric_mean, parts)


@ORACLES.register("zaleplon_mpo")
def zaleplon_mpo() -> Composite:
    """Like zaleplon, with another formula."""
    return Composite(geometric_mean, {"similarity": Similarity(ZALEPLON, "ECFP4"), "formula": Formula("C19H17N3O2")})


@ORACLES.register("valsartan_smarts")
def valsartan_smarts() -> Composite:
    """Valsartan's core with the logP, polar surface and complexity of sitagliptin; exactly 0 without the core."""
    parts = {
        "core": Pattern(VALSARTAN_CORE),
        "logp": _matching("logP", SITAGLIPTIN, 0.2),
        "tpsa": _matching("TPSA", SITAGLIPTIN, 5.0),
        "complexity": _matching("BertzCT", SITAGLIPTIN, 30.0),
    }
    return Composite(geometric_mean, parts)


@ORACLES.register("deco_hop")
def deco_hop() -> Composite:
    """Keep the quinazoline and the pharmacophores, change what decorates it."""
    parts = {
        "pharmacophores": Similarity(HOP_TARGET, "PHCO", Clip(upper=0.85)),
        "no_sulfone": Pattern(HOP_SULFONE, wanted=False),
        "no_benzothiazole": Pattern(HOP_BENZOTHIAZOLE, wanted=False),
        "scaffold": Pattern(HOP_SCAFFOLD),
    }
    return Composite(arithmetic_mean, parts)


@ORACLES.register("scaffold_hop")
def scaffold_hop() -> Composite:
    """Keep the decoration and the pharmacophores, leave the quinazoline."""
    parts = {
        "pharmacophores": Similarity(HOP_TARGET, "PHCO", Clip(upper=0.75)),
        "decoration": Pattern(HOP_CHAIN),
        "other_scaffold": Pattern(HOP_SCAFFOLD, wanted=False),
    }
    return Composite(arithmetic_mean, parts)


@ORACLES.register("qed")
def qed() -> Composite:
    """Quantitative estimate of drug-likeness, as a PMO task; its maximum is about 0.948."""
    return _single(Descriptor("QED"))
