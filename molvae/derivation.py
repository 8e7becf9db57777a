"""The jobs that worker processes do: strings to ids, and SELFIES to molecules. No torch here, so a worker starts fast."""

from __future__ import annotations

from collections.abc import Sequence

from molvae.chem import canonical
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
