"""Filters that say why: structural sanity of generated molecules, ring systems, and the named alert catalogues of RDKit.

PAINS: Baell & Holloway, J. Med. Chem. 53:2719, 2010. BRENK: Brenk et al., ChemMedChem 3:435, 2008. NIH: Jadhav et al.,
J. Med. Chem. 53:37, 2010. Judging molecules by ring systems absent from a reference set follows P. Walters' analyses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from rdkit import Chem, rdBase
from rdkit.Chem import FilterCatalog

from molvae.chem.molecules import Mol, parse
from molvae.errors import UnknownName, nearest

MAX_RING_SIZE = 8
MAX_STRAINED_RING = 8  # trans-cyclooctene, cyclooctyne and cyclonona-1,2-diene are about the smallest isolable ones
MIN_HEAVY_ATOMS, MAX_HEAVY_ATOMS = 3, 70

FRAGMENTS = "more than one fragment"
TOO_SMALL = f"fewer than {MIN_HEAVY_ATOMS} heavy atoms"
TOO_LARGE = f"more than {MAX_HEAVY_ATOMS} heavy atoms"
RADICAL = "radical"
LARGE_RING = f"ring of more than {MAX_RING_SIZE} atoms"
RING_TRIPLE_BOND = f"triple bond in a ring of at most {MAX_STRAINED_RING} atoms"
RING_CUMULENE = f"cumulated double bonds in a ring of at most {MAX_STRAINED_RING} atoms"
UNSEEN_RING_SYSTEM = "ring system not seen in training"
SANITY_REASONS = (
    FRAGMENTS, TOO_SMALL, TOO_LARGE, RADICAL, LARGE_RING, RING_TRIPLE_BOND, RING_CUMULENE, UNSEEN_RING_SYSTEM,
)  # fmt: skip


def problems(mol: Mol, ring_systems: frozenset[str] | None = None) -> list[str]:
    """The entries of SANITY_REASONS that apply to `mol`; empty for a sane molecule.

    `ring_systems`: the systems of the training set as `ring_systems(mol)` writes them, or None to skip that check.
    """
    found = []
    rings = mol.GetRingInfo()
    if len(Chem.GetMolFrags(mol)) > 1:
        found.append(FRAGMENTS)
    if mol.GetNumHeavyAtoms() < MIN_HEAVY_ATOMS:
        found.append(TOO_SMALL)
    if mol.GetNumHeavyAtoms() > MAX_HEAVY_ATOMS:
        found.append(TOO_LARGE)
    if any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()):
        found.append(RADICAL)
    if any(len(ring) > MAX_RING_SIZE for ring in rings.AtomRings()):
        found.append(LARGE_RING)
    kinds = [bond.GetBondType() for bond in mol.GetBonds()]
    strained = [ring for ring in rings.BondRings() if len(ring) <= MAX_STRAINED_RING]
    if any(kinds[bond] == Chem.BondType.TRIPLE for ring in strained for bond in ring):
        found.append(RING_TRIPLE_BOND)
    if any(_are_cumulated(mol, [bond for bond in ring if kinds[bond] == Chem.BondType.DOUBLE]) for ring in strained):
        found.append(RING_CUMULENE)
    if ring_systems is not None and any(system not in ring_systems for system in _systems_of(mol)):
        found.append(UNSEEN_RING_SYSTEM)
    return found


def ring_systems(mol: Mol) -> list[str]:
    """Canonical SMILES, without stereo, of each fused, bridged or spiro ring system, sorted, with repetitions.

    A system keeps the atoms that are double-bonded to it (the O of a pyridone); every other substituent becomes hydrogen.

    >>> from molvae.chem import parse
    >>> ring_systems(parse("Cn1cccc1C(=O)Nc1ccccc1"))
    ['c1cc[nH]c1', 'c1ccccc1']
    """
    return sorted(_systems_of(mol))


@dataclass(frozen=True)
class Alert:
    """One structural alert: its name, the catalogue, the paper it comes from, and the atoms of the molecule it matched."""

    name: str
    catalogue: str
    reference: str
    atoms: tuple[int, ...]


ALERT_CATALOGUES = ("PAINS", "BRENK", "NIH")


def alerts(mol: Mol, catalogues: Sequence[str] = ALERT_CATALOGUES) -> list[Alert]:
    """Every alert of the named RDKit catalogues (also "ZINC", "CHEMBL_Glaxo", ...) that `mol` triggers, once for each place.

    Raises UnknownName for a catalogue that RDKit does not have, with the nearest name.
    """
    found = []
    with rdBase.BlockLogs():
        for name in catalogues:
            for entry in _catalogue(name).GetMatches(mol):
                reference = entry.GetProp("Reference") if "Reference" in entry.GetPropList() else ""
                for match in entry.GetFilterMatches(mol):
                    atoms = tuple(sorted({target for _, target in match.atomPairs}))
                    found.append(Alert(entry.GetDescription(), name, reference, atoms))
    return found


@cache
def _catalogue(name: str) -> FilterCatalog.FilterCatalog:
    known = FilterCatalog.FilterCatalogParams.FilterCatalogs.names
    if name not in known:
        raise UnknownName(f"no alert catalogue named {name!r}.{nearest(name, known)} Known: {', '.join(sorted(known))}.")
    return FilterCatalog.FilterCatalog(FilterCatalog.FilterCatalogParams(known[name]))


def _are_cumulated(mol: Mol, bonds: Sequence[int]) -> bool:
    """Whether two of the double bonds (indices) share a carbon or nitrogen; N=S=N in a ring is sound chemistry."""
    seen: set[int] = set()
    for index in bonds:
        bond = mol.GetBondWithIdx(index)
        ends = {atom.GetIdx() for atom in (bond.GetBeginAtom(), bond.GetEndAtom()) if atom.GetAtomicNum() in (6, 7)}
        if ends & seen:
            return True
        seen |= ends
    return False


def _systems_of(mol: Mol) -> list[str]:
    """`ring_systems` in no particular order."""
    systems: list[set[int]] = []
    for ring in mol.GetRingInfo().AtomRings():
        joined = set(ring)
        apart = []
        for system in systems:
            if system & joined:
                joined |= system
            else:
                apart.append(system)
        systems = [*apart, joined]
    return [_canonical_system(_cut_out(mol, system)) for system in systems]


def _cut_out(mol: Mol, system: set[int]) -> str:
    """SMILES of one ring system with its double-bonded neighbours; cut bonds are filled with hydrogen."""
    piece, index_of, within = Chem.RWMol(), {}, set()
    for index in system:
        for bond in mol.GetAtomWithIdx(index).GetBonds():
            if bond.GetOtherAtomIdx(index) in system or bond.GetBondType() == Chem.BondType.DOUBLE:
                within.add(bond.GetIdx())
    bonds = [mol.GetBondWithIdx(index) for index in within]
    for atom in {a.GetIdx(): a for bond in bonds for a in (bond.GetBeginAtom(), bond.GetEndAtom())}.values():
        index_of[atom.GetIdx()] = new = piece.AddAtom(atom)
        if atom.GetAtomicNum() != 6 or atom.GetNoImplicit():  # plain carbon gets its hydrogens back by itself
            lost = sum(round(bond.GetBondTypeAsDouble()) for bond in atom.GetBonds() if bond.GetIdx() not in within)
            piece.GetAtomWithIdx(new).SetNumExplicitHs(atom.GetTotalNumHs() + lost)
            piece.GetAtomWithIdx(new).SetNoImplicit(True)
        if atom.GetIdx() not in system:  # a neighbour may sit in another, aromatic ring; here it is only =X
            piece.GetAtomWithIdx(new).SetIsAromatic(False)
    for bond in bonds:
        piece.AddBond(index_of[bond.GetBeginAtomIdx()], index_of[bond.GetEndAtomIdx()], bond.GetBondType())
    piece.UpdatePropertyCache(strict=False)
    return Chem.MolToSmiles(piece, isomericSmiles=False)


@lru_cache(maxsize=20_000)
def _canonical_system(smiles: str) -> str:
    """The system as RDKit writes it after reading it; the cut-out text itself where RDKit cannot read it."""
    mol = parse(smiles)
    return smiles if mol is None else Chem.MolToSmiles(mol, isomericSmiles=False)
