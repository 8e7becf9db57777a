"""Single edits of a prepared molecule, without any draws: what random mutations and the exhaustive neighbourhood share.

Each operation gives an edited copy that still has to be sanitised (`editable.finish`), and trusts that it is possible: the
`can_...` functions and `other_orders` say so from valences and hydrogens alone, without touching RDKit.
"""

from __future__ import annotations

from collections.abc import Mapping

from rdkit import Chem

from molvae.search.proposals.editable import BOND_TYPES, Editable, Half

# Elements that an edit may write: (atomic number, valence, weight). The weights follow drug-like libraries; P and I are
# there because a formula may ask for them.
ELEMENTS = (
    (6, 4, 0.50),
    (7, 3, 0.17),
    (8, 2, 0.17),
    (9, 1, 0.06),
    (16, 2, 0.05),
    (17, 1, 0.035),
    (35, 1, 0.01),
    (15, 3, 0.003),
    (53, 1, 0.002),
)
VALENCE = {number: valence for number, valence, _ in ELEMENTS}


def append_atom(p: Editable, i: int, number: int, order: int) -> Chem.RWMol:
    """A new atom of element `number` on atom `i`, in place of `order` hydrogens."""
    edited = Chem.RWMol(p.mol)
    edited.AddBond(i, edited.AddAtom(Chem.Atom(number)), BOND_TYPES[order])
    return edited


def insert_atom(p: Editable, b: int, number: int) -> Chem.RWMol:
    """A new atom inside bond `b`; a multiple bond becomes two single ones."""
    i, j, _ = p.bonds[b]
    edited = Chem.RWMol(p.mol)
    edited.RemoveBond(i, j)
    new = edited.AddAtom(Chem.Atom(number))
    edited.AddBond(i, new, BOND_TYPES[1])
    edited.AddBond(new, j, BOND_TYPES[1])
    return edited


def can_delete(p: Editable, i: int) -> bool:
    """Whether atom `i` is an end, or lies between two others that are not bound to each other."""
    neighbours = p.neighbours[i]
    if p.n_atoms < 2 or len(neighbours) > 2 or i in p.fixed or any(j in p.fixed for j in neighbours):
        return False
    return len(neighbours) < 2 or neighbours[1] not in p.neighbours[neighbours[0]]


def delete_atom(p: Editable, i: int) -> Chem.RWMol:
    """An end removed, or an atom between two others removed and these two joined by the lower of its two bond orders."""
    neighbours = p.neighbours[i]
    edited = Chem.RWMol(p.mol)
    if len(neighbours) == 2:
        orders = [int(edited.GetBondBetweenAtoms(i, j).GetBondTypeAsDouble()) for j in neighbours]
        edited.AddBond(*neighbours, BOND_TYPES[min(orders)])
    edited.RemoveAtom(i)
    return edited


def can_exchange(p: Editable, i: int, j: int) -> bool:
    """Whether two atoms are of different elements, uncharged, and the bonds of each place suit the other's element."""
    first, second = p.atoms[i].GetAtomicNum(), p.atoms[j].GetAtomicNum()
    if first == second or p.charges[i] or p.charges[j] or i in p.fixed or j in p.fixed:
        return False
    return p.used[j] <= VALENCE.get(first, 0) and p.used[i] <= VALENCE.get(second, 0)


def change_atoms(p: Editable, elements: Mapping[int, int]) -> Chem.RWMol:
    """Atoms turned into other elements, uncharged: {atom: atomic number}."""
    edited = Chem.RWMol(p.mol)
    for i, number in elements.items():
        atom = edited.GetAtomWithIdx(i)
        atom.SetAtomicNum(number)
        atom.SetFormalCharge(0)
        atom.SetIsotope(0)
        atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
    return edited


def other_orders(p: Editable, b: int) -> list[int]:
    """The orders that bond `b` could have instead of its own; no triple bonds in rings."""
    i, j, order = p.bonds[b]
    most = min(order + min(p.hydrogens[i], p.hydrogens[j]), 2 if b in p.ring_bonds else 3)
    return [o for o in range(1, most + 1) if o != order]


def set_orders(p: Editable, orders: Mapping[int, int]) -> Chem.RWMol:
    """Bonds with other orders: {bond: order}; their stereo is lost."""
    edited = Chem.RWMol(p.mol)
    for b, order in orders.items():
        bond = edited.GetBondBetweenAtoms(*p.bonds[b][:2])
        bond.SetBondType(BOND_TYPES[order])
        bond.SetStereo(Chem.BondStereo.STEREONONE)
    return edited


def join_atoms(p: Editable, i: int, j: int) -> Chem.RWMol:
    """A single bond between two atoms: a new ring."""
    edited = Chem.RWMol(p.mol)
    edited.AddBond(i, j, BOND_TYPES[1])
    return edited


def remove_bond(p: Editable, b: int) -> Chem.RWMol:
    """Bond `b` removed; of a ring, or the molecule falls apart."""
    edited = Chem.RWMol(p.mol)
    edited.RemoveBond(*p.bonds[b][:2])
    return edited


def append_group(p: Editable, i: int, group: Half) -> Chem.RWMol:
    """A group with one open end on atom `i`, in place of hydrogens."""
    ((end, order),) = group.ends
    edited = Chem.RWMol(Chem.CombineMols(p.mol, group.mol))
    edited.AddBond(i, p.n_atoms + end, BOND_TYPES[order])
    return edited
