"""The jobs that worker processes do: strings to ids, SELFIES to molecules, properties. No torch, so a worker starts fast."""

from __future__ import annotations

import math
from collections.abc import Sequence

from molvae.chem import canonical, parse, random_smiles
from molvae.chem.properties import property_named
from molvae.randomness import child_seed
from molvae.tokens import Decoded, Vocabulary

Job = tuple[Vocabulary, Sequence[str]]


def derive_strings(job: Job) -> list[Decoded]:
    """The molecule of each SELFIES string, with its faithfulness."""
    vocabulary, strings = job
    return [vocabulary.derive(text) for text in strings]


def encode_strings(job: Job) -> list[tuple[list[int] | None, str]]:
    """Token ids of each SMILES, or None and the reason."""
    vocabulary, smiles = job
    return [vocabulary.encode(text) for text in smiles]


def write_strings(job: Job) -> list[tuple[str | None, str]]:
    """(canonical SMILES, SELFIES) of each string, or (None, reason)."""
    vocabulary, strings = job
    results: list[tuple[str | None, str]] = []
    for text in strings:
        smiles = canonical(text)
        if smiles is None:
            results.append((None, "not a valid SMILES"))
            continue
        written, reason = vocabulary.to_selfies(smiles)
        results.append((None, reason) if written is None else (smiles, written))
    return results


def write_randomised(job: tuple[Vocabulary, Sequence[str], int, int]) -> list[list[str]]:
    """(vocabulary, canonical SMILES, n, seed) -> the SELFIES of up to n randomised SMILES of each.

    A molecule's draws depend on the seed and on itself, not on its place.
    """
    vocabulary, smiles, n, seed = job
    written = []
    for text in smiles:
        drawn = random_smiles(parse(text), n, child_seed(seed, "randomised SMILES", text))
        written.append([string for string, _ in map(vocabulary.to_selfies, drawn) if string is not None])
    return written


def measure_properties(job: tuple[Sequence[str], Sequence[str]]) -> list[list[float]]:
    """(names, canonical SMILES) -> the named properties of each molecule; NaN where RDKit fails on one."""
    names, smiles = job
    functions = [property_named(name).function for name in names]
    rows = []
    for text in smiles:
        mol = parse(text)
        row = []
        for function in functions:
            try:
                row.append(float(function(mol)))
            except (ValueError, RuntimeError, ZeroDivisionError):  # RDKit's own errors are of these types
                row.append(math.nan)
        rows.append(row)
    return rows
