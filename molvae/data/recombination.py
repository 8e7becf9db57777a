"""Recombined molecules: new ones made of halves of the training set's, for an autoencoder that must copy what it never saw.

A string autoencoder trained for many epochs on a few hundred thousand molecules copies those better than new ones. Here
every molecule is cut at one random acyclic single bond, and its second half is exchanged for another molecule's that was cut
from the same pair of atom types and has about the same size. So lengths and elements stay as they were, and the molecules
are new. The crossover is that of graph genetic algorithms (Jensen 2019, Chem. Sci. 10:3567); no score is involved.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

import numpy as np
import torch
from rdkit import Chem
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from molvae.chem import parse
from molvae.data.datasets import CHUNK, TokenTable, tokenise
from molvae.errors import RunError
from molvae.files import atomic_path
from molvae.processes import in_processes
from molvae.randomness import stream
from molvae.strings.tokens import Vocabulary

SMALLEST_HALF = 3  # heavy atoms
SIZE_STEP = 3  # halves whose sizes fall in the same class of this width may replace each other

_FIRST_ATOM = re.compile(r"^\*(\[[^\]]*\]|Br|Cl|[A-Za-z])")

Cut = tuple[str, str, str]  # first half, second half, class of the second half


def tokens(
    smiles: Sequence[str],
    passes: int,
    vocabulary: Vocabulary,
    path: Path,
    *,
    avoid: AbstractSet[str],
    randomised: int = 0,
    seed: int = 0,
    workers: int = 0,
) -> tuple[TokenTable, TokenTable | None]:
    """Distinct recombined molecules as token rows, and `randomised` other writings of each if asked for (see `tokenise`).

    avoid: canonical SMILES that must not come back. Kept in `path`, so that a resumed run goes on with the same.
    Raises RunError if `path` holds others, or is torn.
    """
    asked = {"passes": str(passes), "seed": str(seed), "molecules": str(len(smiles)), "randomised": str(randomised)}
    if not path.exists():
        made = tokenise(recombine(smiles, passes, seed=seed, workers=workers), vocabulary,
                        randomised=randomised, seed=seed, workers=workers)  # fmt: skip
        first = {text: row for row, text in reversed(list(enumerate(made.smiles)))}
        rows = torch.tensor(sorted(row for text, row in first.items() if text not in avoid), dtype=torch.int64)
        tables = {"": made.table.select(rows)}
        if made.sources is not None:
            tables["source_"] = made.sources.select(
                (rows[:, None] * (randomised + 1) + torch.arange(randomised + 1)).flatten()
            )
        with atomic_path(path) as partial:
            tensors = {f"{kind}tokens": table.tokens for kind, table in tables.items()}
            save_file(tensors | {f"{kind}offsets": table.offsets for kind, table in tables.items()}, partial, asked)
    try:
        with safe_open(path, "pt") as stored:
            if stored.metadata() != asked:
                raise RunError(f"{path} is of other settings ({stored.metadata()}). Remove it, or choose another directory.")
            kinds = ("", "source_") if randomised else ("",)
            found = [TokenTable(stored.get_tensor(f"{kind}tokens"), stored.get_tensor(f"{kind}offsets")) for kind in kinds]
    except SafetensorError as error:
        raise RunError(f"{path} is torn. Remove it to recombine the molecules again.") from error
    return found[0], found[1] if randomised else None


def recombine(smiles: Sequence[str], passes: int, *, seed: int = 0, workers: int = 0) -> list[str]:
    """SMILES, not canonical, of at most `passes` new molecules for each given one; equal for any number of workers.

    Molecules without a bond to cut are left out. Some results may repeat each other or, rarely, a given molecule.
    """
    made = []
    for number in range(passes):
        jobs = [(list(smiles[i : i + CHUNK]), seed, f"{number}.{i}") for i in range(0, len(smiles), CHUNK)]
        cuts = in_processes(cut_molecules, jobs, workers)
        classes: dict[str, list[int]] = defaultdict(list)
        for i, (_, _, kind) in enumerate(cuts):
            classes[kind].append(i)
        rng = stream(seed, "recombination", number)
        for members in classes.values():
            made += [
                f"{cuts[i][0]}.{cuts[j][1]}"
                for i, j in zip(members, rng.permutation(members).tolist(), strict=True)
                if cuts[i][1] != cuts[j][1]
            ]
    return made


def cut_molecules(job: tuple[Sequence[str], int, str]) -> list[Cut]:
    """The cuts of a chunk of molecules, as a job for a worker process: (smiles, seed, name of the chunk)."""
    smiles, seed, name = job
    rng = stream(seed, "cuts", name)
    cuts = (cut(text, rng) for text in smiles)
    return [found for found in cuts if found is not None]


def cut(smiles: str, rng: np.random.Generator) -> Cut | None:
    """Cut a molecule at one random acyclic single bond; None if it has none with a large enough half on both sides.

    The halves are SMILES with an open ring bond 99 at the cut, so that "first.second" is one molecule.
    """
    mol = parse(smiles)
    if mol is None:
        return None
    bonds = [b for b in mol.GetBonds() if b.GetBondType() == Chem.BondType.SINGLE and not b.IsInRing()]
    for index in rng.permutation(len(bonds)).tolist():
        bond = bonds[index]
        broken = Chem.FragmentOnBonds(mol, [bond.GetIdx()], dummyLabels=[(0, 0)])
        halves = Chem.GetMolFrags(broken, asMols=True, sanitizeFrags=False)
        if len(halves) != 2 or min(h.GetNumAtoms() for h in halves) <= SMALLEST_HALF:
            continue
        written = sorted(((_type(half), _open(half), half.GetNumAtoms()) for half in halves), key=lambda h: h[0])
        (near, first, _), (far, second, size) = (
            written if rng.random() < 0.5 or written[0][0] != written[1][0] else written[::-1]
        )
        return first, second, f"{near} {far} {size // SIZE_STEP}"
    return None


def _dummy(half: Chem.Mol) -> Chem.Atom:
    return next(atom for atom in half.GetAtoms() if atom.GetAtomicNum() == 0)


def _type(half: Chem.Mol) -> str:
    atom = _dummy(half).GetNeighbors()[0]
    return f"{atom.GetSymbol()}{int(atom.GetIsAromatic())}"


def _open(half: Chem.Mol) -> str:
    text = Chem.MolToSmiles(half, rootedAtAtom=_dummy(half).GetIdx(), canonical=False)
    return _FIRST_ATOM.sub(r"\1-%99", text, count=1)
