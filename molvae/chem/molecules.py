"""Parsing and canonical SMILES: one molecule, one string. RDKit's log is silenced around each call, never globally."""

from __future__ import annotations

from collections.abc import Sequence

from rdkit import Chem, rdBase
from rdkit.Chem.Scaffolds import MurckoScaffold

Mol = Chem.Mol


def parse(smiles: str) -> Mol | None:
    """The sanitised molecule, or None if RDKit cannot parse it or it has no atoms."""
    if not isinstance(smiles, str) or not smiles.strip():
        return None
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
    return mol if mol is not None and mol.GetNumAtoms() else None


def canonical(molecule: str | Mol) -> str | None:
    """Canonical isomeric SMILES of a SMILES string or molecule, or None if it is invalid."""
    form = canonical_form(molecule)
    return None if form is None else form[0]


def canonical_form(molecule: str | Mol) -> tuple[str, Mol] | None:
    """The canonical isomeric SMILES and the molecule that is parsed from it, or None if there is none.

    The string is parsed again after writing until it is stable: RDKit's first canonical string of an unusual stereo
    molecule can differ from the string of its own re-parse, and a cache keyed by it would count that molecule twice.
    """
    return canonical_forms([molecule])[0]


def canonical_forms(molecules: Sequence[str | Mol]) -> list[tuple[str, Mol] | None]:
    """`canonical_form` of each molecule. All are parsed before the first is written, and so on: going through the steps
    molecule by molecule, the code of each would leave the processor's caches, which takes longer."""
    mols = [parse(molecule) if isinstance(molecule, str) else molecule for molecule in molecules]
    with rdBase.BlockLogs():
        written = [None if mol is None else Chem.MolToSmiles(mol) for mol in mols]
        forms = [None if text is None else (text, mol) for text, mol in zip(written, mols, strict=True)]
        # What is written as it came was parsed from its own writing already.
        new = [i for i, text in enumerate(written) if text is not None and text != molecules[i]]
        again = [Chem.MolFromSmiles(written[i]) for i in new]
        rewritten = [None if mol is None else Chem.MolToSmiles(mol) for mol in again]
    for i, mol, text in zip(new, again, rewritten, strict=True):
        forms[i] = (text, mol) if text == written[i] else stable_form(written[i])
    return forms


def stable_form(smiles: str) -> tuple[str, Mol] | None:
    """`canonical_form` of a molecule that RDKit has written as `smiles`: parsed and written until it is stable."""
    with rdBase.BlockLogs():
        for _ in range(4):
            again = Chem.MolFromSmiles(smiles)
            if again is None:
                return None
            rewritten = Chem.MolToSmiles(again)
            if rewritten == smiles:
                break
            smiles = rewritten
    return smiles, again


def first_writing(molecule: str | Mol) -> str | None:
    """RDKit's canonical isomeric SMILES as it is first written, or None if the molecule is invalid.

    It equals `canonical`, at half the cost, where the molecule is parsed from that same SMILES.
    """
    mol = parse(molecule) if isinstance(molecule, str) else molecule
    if mol is None:
        return None
    with rdBase.BlockLogs():
        return Chem.MolToSmiles(mol)


def random_smiles(mol: Mol, n: int, seed: int) -> list[str]:
    """`n` isomeric SMILES of one molecule, in random atom orders (Arus-Pous et al., J. Cheminform. 11:71,
    2019). They depend on `seed` alone; some may be equal."""
    with rdBase.BlockLogs():
        return list(Chem.MolToRandomSmilesVect(mol, n, randomSeed=seed % 2**31))


def scaffold(mol: Mol) -> str:
    """Bemis-Murcko scaffold as canonical SMILES without stereo; '' for an acyclic molecule (J. Med. Chem. 39:2887, 1996)."""
    with rdBase.BlockLogs():
        return Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(mol), isomericSmiles=False)
