"""Recombined molecules: valid, new, of the elements and sizes of their parents, and the same for any number of workers."""

import pytest
import torch
from drugs import SMILES
from rdkit import Chem

from molvae.chem import canonical
from molvae.data.datasets import tokenise
from molvae.data.recombination import SIZE_STEP, cut, recombine, tokens
from molvae.errors import RunError
from molvae.randomness import stream

PAIRS = ["c1ccccc1CCN", "c1ccncc1CCO", "c1ccc(F)cc1CCS", "CCOc1ccccc1", "CCOc1ccncc1", "CC(C)Oc1ccc(Cl)cc1"]


def test_a_cut_gives_back_the_molecule_when_its_halves_are_joined():
    for smiles in SMILES:
        flat = Chem.MolToSmiles(Chem.MolFromSmiles(smiles), isomericSmiles=False)
        found = cut(flat, stream(0, smiles))
        if found is not None:
            first, second, _ = found
            assert Chem.CanonSmiles(f"{first}.{second}") == Chem.CanonSmiles(flat)


def test_a_molecule_without_an_acyclic_bond_to_cut_is_left_out():
    assert cut("c1ccccc1", stream(0)) is None
    assert cut("CC", stream(0)) is None
    assert cut("not a molecule", stream(0)) is None


def test_recombined_molecules_are_new_and_keep_sizes():
    made = recombine(PAIRS * 3, 4, seed=0)
    mols = [Chem.MolFromSmiles(text) for text in made]
    valid = [mol for mol in mols if mol is not None]
    assert len(valid) > 0.9 * len(mols) > 0
    given = {Chem.CanonSmiles(text) for text in PAIRS}
    assert {Chem.MolToSmiles(mol) for mol in valid} - given
    largest = max(Chem.MolFromSmiles(text).GetNumAtoms() for text in PAIRS)
    assert all(mol.GetNumAtoms() < largest + SIZE_STEP for mol in valid)


def test_the_same_for_any_number_of_workers_and_another_seed_gives_others():
    once = recombine(SMILES, 1, seed=5)
    assert once == recombine(SMILES, 1, seed=5, workers=1)
    assert once != recombine(SMILES, 1, seed=6)


def test_tokens_are_distinct_new_and_kept_for_the_next_time(tmp_path):
    known = [canonical(text) for text in PAIRS]
    made = recombine(known, 3, seed=1)
    vocabulary = tokenise([*known, *made]).vocabulary
    new = {canonical(text) for text in made} - {None, *known}
    avoided = sorted(new)[0]
    path = tmp_path / "recombined.safetensors"
    table, sources = tokens(known, 3, vocabulary, path, avoid={*known, avoided}, randomised=2, seed=1)
    rows = table.batch(torch.arange(len(table))).tolist()
    assert sorted(vocabulary.decode(row).smiles for row in rows) == sorted(new - {avoided})
    assert len(sources) == 3 * len(table)
    again, _ = tokens(known, 3, vocabulary, path, avoid=set(), randomised=2, seed=1)  # from the file
    assert again.batch(torch.arange(len(table))).tolist() == rows
    with pytest.raises(RunError, match="of other settings"):
        tokens(known, 4, vocabulary, path, avoid=set(), randomised=2, seed=1)
    path.write_bytes(b"torn")
    with pytest.raises(RunError, match="torn"):
        tokens(known, 3, vocabulary, path, avoid=set(), randomised=2, seed=1)
