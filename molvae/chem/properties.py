"""Named molecular properties with units, each a function of one molecule; SA and NP scores come from RDKit's Contrib folder.

QED: Bickerton et al., Nat. Chem. 4:90, 2012. logP: Wildman & Crippen, J. Chem. Inf. Comput. Sci. 39:868, 1999.
TPSA: Ertl et al., J. Med. Chem. 43:3714, 2000. SA: Ertl & Schuffenhauer, J. Cheminform. 1:8, 2009.
NP: Ertl et al., J. Chem. Inf. Model. 48:68, 2008. Fsp3: Lovering et al., J. Med. Chem. 52:6752, 2009.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from rdkit import Chem, RDConfig, rdBase
from rdkit.Chem import QED, Crippen, Descriptors, FilterCatalog, rdFingerprintGenerator
from rdkit.Chem import rdMolDescriptors as descriptors

from molvae.chem.molecules import Mol
from molvae.errors import MolvaeError, UnknownName, nearest


@dataclass(frozen=True)
class Property:
    """A number that a molecule has: `function(mol) -> float`, its unit, and one line about it.

    parts: functions that it asks too, whose answers are kept with the molecule; see `values`.
    """

    function: Callable[[Mol], float]
    unit: str
    description: str
    parts: tuple[Callable[[Mol], float], ...] = ()

    def values(self, mols: Sequence[Mol]) -> list[float]:
        """The property of each molecule. Each part is asked of all of them before the next one is, which is faster: the code
        that it needs stays in the processor's caches."""
        for part in self.parts:
            for mol in mols:
                part(mol)
        return [self.function(mol) for mol in mols]


def sa_score(mol: Mol) -> float:
    """Synthetic accessibility, 1 (easy) to 10 (hard), with the fragment contributions of RDKit's Contrib and its formula.

    The mean contribution of the fragments, log(atoms / distinct fragments) / 2 if that is positive, and penalties for size,
    n^1.005 - n, and for stereocentres, spiro and bridgehead atoms, log10(1 + count), and macrocycles, log10(2); brought from
    [-4, 2.5] to [10, 1], with a logarithmic end above 8. Contrib counts stereocentres several times more slowly.
    """
    counts = _morgan2().GetSparseCountFingerprint(mol).GetNonzeroElements()
    known = _fragment_contributions()
    n = mol.GetNumAtoms()
    raw = sum(known.get(fragment, -4.0) * count for fragment, count in counts.items()) / sum(counts.values())
    raw -= n**1.005 - n
    if not mol.HasProp("_StereochemDone"):
        Chem.AssignStereochemistry(mol, flagPossibleStereoCenters=True)
    for count in (descriptors.CalcNumAtomStereoCenters, descriptors.CalcNumSpiroAtoms, descriptors.CalcNumBridgeheadAtoms):
        raw -= math.log10(count(mol) + 1)
    if any(len(ring) > 8 for ring in mol.GetRingInfo().AtomRings()):
        raw -= math.log10(2)
    raw += max(0.0, 0.5 * math.log(n / len(counts)))
    score = 11.0 - (raw + 5.0) / 6.5 * 9.0
    return min(10.0, max(1.0, score if score <= 8.0 else 8.0 + math.log(score - 8.0)))


def np_score(mol: Mol) -> float:
    """Natural-product likeness, about -5 (synthetic) to 5 (natural): the contributions of RDKit's Contrib and its formula.

    The sum of the contributions of the distinct fragments over the number of atoms, with logarithmic ends beyond 4 and -4.
    """
    fragments = _morgan2().GetSparseCountFingerprint(mol).GetNonzeroElements()
    known = _natural_product_model()
    raw = sum(known[fragment] for fragment in fragments if fragment in known) / mol.GetNumAtoms()
    return math.copysign(4.0 + math.log10(abs(raw) - 3.0), raw) if abs(raw) > 4.0 else float(raw)


def qed(mol: Mol) -> float:
    """Quantitative estimate of drug-likeness, 0 to 1: RDKit's `QED.qed`, with its 116 alerts matched in one call."""
    if mol.GetNumHeavyAtoms() < mol.GetNumAtoms():  # the atoms may be hydrogens
        mol = Chem.RemoveHs(mol)
    return QED.qed(
        mol,
        qedProperties=QED.QEDproperties(
            MW=Descriptors.MolWt(mol),
            ALOGP=logp(mol),
            HBA=_qed_acceptors(mol),
            HBD=descriptors.CalcNumHBD(mol),
            PSA=descriptors.CalcTPSA(mol),
            ROTB=rotatable_bonds(mol),
            AROM=_qed_aromatic_rings(mol),
            ALERTS=_qed_alerts(mol),
        ),
    )


def logp(mol: Mol) -> float:
    """Wildman-Crippen logP; kept with the molecule, since QED asks too and RDKit adds the hydrogens for each question."""
    if not mol.HasProp("_logP"):
        keep_logp(mol, Crippen.MolLogP(mol))
    return mol.GetDoubleProp("_logP")


def _kept(name: str, count: Callable[[Mol], int]) -> Callable[[Mol], int]:
    """`count`, whose answer is kept with the molecule until it is changed."""

    def ask(mol: Mol) -> int:
        if not mol.HasProp(name):
            mol.SetIntProp(name, count(mol), computed=True)
        return mol.GetIntProp(name)

    return ask


def keep_logp(mol: Mol, value: float) -> None:
    """Keep a logP that is known with the molecule."""
    mol.SetDoubleProp("_logP", value, computed=True)


#: By RDKit's strict definition.
rotatable_bonds = _kept(
    "_rotatableBonds",
    lambda mol: descriptors.CalcNumRotatableBonds(mol, descriptors.NumRotatableBondsOptions.Strict),
)
_qed_acceptors = _kept("_qedAcceptors", lambda mol: sum(len(mol.GetSubstructMatches(one)) for one in QED.Acceptors))
_qed_alerts = _kept("_qedAlerts", lambda mol: len(_qed_catalogue().GetMatches(mol)))
_qed_aromatic_rings = _kept(
    "_qedAromaticRings", lambda mol: len(Chem.GetSSSR(Chem.DeleteSubstructs(Chem.Mol(mol), QED.AliphaticRings)))
)
_QED_PARTS = (logp, rotatable_bonds, _qed_acceptors, _qed_alerts, _qed_aromatic_rings)

PROPERTIES: dict[str, Property] = {
    "QED": Property(qed, "0 to 1", "quantitative estimate of drug-likeness", _QED_PARTS),
    "logP": Property(logp, "log10 ratio", "Wildman-Crippen octanol-water partition; larger is more lipophilic"),
    "SA": Property(sa_score, "1 to 10", "synthetic accessibility; 1 is easy to make"),
    "NP": Property(np_score, "-5 to 5", "natural-product likeness"),
    "TPSA": Property(descriptors.CalcTPSA, "square angstrom", "topological polar surface area of N and O"),
    "MW": Property(Descriptors.MolWt, "g/mol", "average molecular weight"),
    "HBD": Property(descriptors.CalcNumHBD, "count", "hydrogen-bond donors"),
    "HBA": Property(descriptors.CalcNumHBA, "count", "hydrogen-bond acceptors"),
    "rings": Property(descriptors.CalcNumRings, "count", "rings (smallest set)"),
    "aromatic_rings": Property(descriptors.CalcNumAromaticRings, "count", "aromatic rings"),
    "rotatable_bonds": Property(rotatable_bonds, "count", "rotatable bonds (strict definition)"),
    "Fsp3": Property(descriptors.CalcFractionCSP3, "0 to 1", "fraction of carbons that are sp3"),
    "heavy_atoms": Property(Mol.GetNumHeavyAtoms, "count", "atoms other than hydrogen"),
    "formal_charge": Property(Chem.GetFormalCharge, "elementary charge", "net formal charge"),
}


def properties(mol: Mol, names: Iterable[str]) -> dict[str, float]:
    """The named properties of `mol`, in the order asked. Raises UnknownName with the nearest name.

    >>> from molvae.chem import parse
    >>> properties(parse("CCO"), ["heavy_atoms", "HBD"])
    {'heavy_atoms': 3.0, 'HBD': 1.0}
    """
    return {name: float(property_named(name).function(mol)) for name in names}


def property_named(name: str) -> Property:
    """The entry of PROPERTIES called `name`. Raises UnknownName with the nearest name."""
    if name not in PROPERTIES:
        raise UnknownName(f"no property named {name!r}.{nearest(name, PROPERTIES)} Known: {', '.join(PROPERTIES)}.")
    return PROPERTIES[name]


@cache
def _contrib(folder: str, module: str) -> ModuleType:
    """A module of RDKit's Contrib folder, which the wheel carries but does not put on the import path."""
    path = Path(RDConfig.RDContribDir) / folder / f"{module}.py"
    spec = importlib.util.spec_from_file_location(f"molvae_contrib_{module}", path)
    if spec is None or spec.loader is None or not path.exists():
        raise MolvaeError(f"RDKit's {module} is not at {path}. Install the rdkit wheel from PyPI, which carries it.")
    loaded = importlib.util.module_from_spec(spec)
    with rdBase.BlockLogs():
        spec.loader.exec_module(loaded)
    return loaded


@cache
def _morgan2() -> Any:
    return rdFingerprintGenerator.GetMorganGenerator(radius=2)


@cache
def _fragment_contributions() -> dict[int, float]:
    """Contribution of each Morgan fragment of radius 2, from Contrib's table."""
    sascorer = _contrib("SA_Score", "sascorer")
    sascorer.readFragmentScores()
    return sascorer._fscores


@cache
def _qed_catalogue() -> FilterCatalog.FilterCatalog:
    catalogue = FilterCatalog.FilterCatalog()
    for number, pattern in enumerate(QED.StructuralAlerts):
        catalogue.AddEntry(FilterCatalog.FilterCatalogEntry(str(number), FilterCatalog.SmartsMatcher(str(number), pattern)))
    return catalogue


@cache
def _natural_product_model() -> dict[int, float]:
    with contextlib.redirect_stderr(io.StringIO()):  # the reader announces itself on stderr
        return _contrib("NP_Score", "npscorer").readNPModel()
