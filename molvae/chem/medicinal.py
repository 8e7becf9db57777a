"""The filter of the MOSES benchmark: medicinal-chemistry alerts (MCF), PAINS, and the atoms, charges and rings it allows.

MOSES: Polykovskiy et al., Front. Pharmacol. 11:565644, 2020. PAINS: Baell & Holloway, J. Med. Chem. 53:2719, 2010, as the
480 SMARTS that RDKit carries. MOSES has an older copy, in which RDKit has since corrected 17: of 12,000 test molecules of
ZINC250k, 5 are judged otherwise. The other alerts are written here for molecules with implicit hydrogens.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np
from rdkit import Chem, RDConfig, rdBase
from rdkit.DataStructs import BitVectToBinaryText

from molvae.chem.molecules import Mol
from molvae.errors import MolvaeError

ALLOWED_ATOMS = frozenset({"C", "N", "S", "O", "F", "Cl", "Br", "H"})
SMALLEST_MACROCYCLE = 8
MOST_HALOGENS = {"Br": 2, "Cl": 3, "F": 6}

_ALERTS = {
    "acrylonitrile": "[#6]=!@[#6]-[#6]#[#7]",
    "vinyl sulfone": "[#6]=!@[#6]-[#16](=[#8])=[#8]",
    "acrylamide": "[#6]=!@[#6;!H0]-!@[#6](=[#8])-!@[#7]",
    "alkyl halide": "[C;!H0;!H1]([#6])[F,Cl,Br,I]",
    "epoxide": "[#6]1-[#8]-[#6]-1",
    "isocyanate": "[#6]-[#7]=[#6]=[#8]",
    "aldehyde": "[#6;!H0]=[#8]",
    "imine": "[#6](=!@[#7;!H0])-!@[#6,#7,#8,#16]",
    "aziridine": "[#6]1-[#7]-[#6]-1",
    "acyclic hydrazine": "[#6]~!@[#7]~!@[#7]~!@[#6]",
    "azo group": "[#7]=!@[#7]",
    "furan": "[#6;!H0]1=[#6;!H0]-[#6]=[#6;X3]-[#8]1",
    "thiophene": "[#6;!H0]1=[#6;!H0]-[#6]=[#6;X3]-[#16]1",
    "halogen beside a ring hetero atom": "[#17,#35,#53]-c(:*):[!#1;!#6]:*",
    "aniline": "[#7;!H0;!H1]-[#6]1=[#6]-[#6]=[#6]-[#6]=[#6]1",
    "disulfide": "[#16]~[#16]",
    "triazene": "[#7]~!@[#7]~!@[#7]",
    "aminal": "[#7]-!@[#6;!H0;!H1]-!@[#7]",
    "acetal": "[#6;!H0](-!@[#8])-!@[#8]",
}
_SCREEN_BITS = 4096


def medicinal_fault(mol: Mol) -> str:
    """Why MOSES's filter rejects `mol`: the first reason found, or "" for a molecule that passes.

    Rejected are rings of 8 atoms or more, charged atoms, atoms other than C, N, S, O, F, Cl, Br and H, 19 structural alerts,
    more than 2 Br, 3 Cl or 6 F, and the PAINS. (Alerts for furan, thiophene and aniline are MOSES's own: written with single
    and double bonds, they do not match the aromatic forms.)

    >>> from molvae.chem import parse
    >>> medicinal_fault(parse("CCCC=O"))
    'aldehyde'
    """
    symbols = [atom.GetSymbol() for atom in mol.GetAtoms()]
    if any(len(ring) >= SMALLEST_MACROCYCLE for ring in mol.GetRingInfo().AtomRings()):
        return f"ring of {SMALLEST_MACROCYCLE} atoms or more"
    if any(atom.GetFormalCharge() for atom in mol.GetAtoms()):
        return "charged atom"
    if not ALLOWED_ATOMS.issuperset(symbols):
        return f"atom other than {', '.join(sorted(ALLOWED_ATOMS))}"
    if many := next((symbol for symbol, most in MOST_HALOGENS.items() if symbols.count(symbol) > most), ""):
        return f"more than {MOST_HALOGENS[many]} {many}"
    for name, alert in _alerts().items():
        if mol.HasSubstructMatch(alert):
            return name
    return _pains_of(mol)


def _pains_of(mol: Mol) -> str:
    """The first PAINS alert that matches, or "". Only alerts whose pattern bits are all in the molecule's are tried: that is
    RDKit's substructure screen, which loses no match."""
    names, alerts, bits = _pains()
    missing = bits & ~_pattern_bits(mol)
    for i in np.flatnonzero(~missing.any(axis=1)):
        if mol.HasSubstructMatch(alerts[i]):
            return f"PAINS: {names[i]}"
    return ""


def _pattern_bits(mol: Mol) -> np.ndarray:
    return np.frombuffer(BitVectToBinaryText(Chem.PatternFingerprint(mol, _SCREEN_BITS)), np.uint64)


@cache
def _alerts() -> dict[str, Mol]:
    return {name: Chem.MolFromSmarts(text) for name, text in _ALERTS.items()}


@cache
def _pains() -> tuple[list[str], list[Mol], np.ndarray]:
    """Names, patterns and (480, 64) pattern bits of the PAINS in RDKit's data folder."""
    path = Path(RDConfig.RDDataDir) / "Pains" / "wehi_pains.csv"
    if not path.exists():
        raise MolvaeError(f"RDKit's PAINS are not at {path}. Install the rdkit wheel from PyPI, which carries them.")
    with path.open(newline="", encoding="utf-8") as stream, rdBase.BlockLogs():
        rows = [(smarts.strip(), name.strip("<>").removeprefix("regId=")) for smarts, name in csv.reader(stream)]
        # Hydrogen atoms of the patterns become counts of hydrogens, so that molecules need no explicit ones.
        alerts = [Chem.MolFromSmarts(smarts, mergeHs=True) for smarts, _ in rows]
    return [name for _, name in rows], alerts, np.stack([_pattern_bits(alert) for alert in alerts])
