"""The jobs that worker processes do: strings to ids, SELFIES to molecules, properties. No torch, so a worker starts fast."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from molvae.chem import canonical, first_writing, parse, random_smiles, scaffold, stable_form, standard_molecule
from molvae.chem.properties import property_named
from molvae.data.tables import block_smiles
from molvae.randomness import child_seed
from molvae.strings.tokens import Decoded, Vocabulary, spell

Job = tuple[Vocabulary, Sequence[str]]
Key = Literal["smiles", "inchikey"]

Form = tuple[str, str, str]  # canonical SMILES, SELFIES, ""; or "", "" and why there are none

_ATOM = re.compile(r"\[\d*([A-Za-z][a-z]?)[^\]]*\]|(Br|Cl|[BCNOPSFIbcnops])")


def text_hashes(texts: Iterable[str]) -> np.ndarray:
    """BLAKE2b hashes of strings, (n,) int64; among 10^7 strings two collide with probability 3e-6."""
    return np.frombuffer(b"".join(hashlib.blake2b(t.encode(), digest_size=8).digest() for t in texts), np.int64)


def derive_strings(job: Job) -> list[Decoded]:
    """The molecule of each SELFIES string, with its faithfulness."""
    vocabulary, strings = job
    return [decoded for decoded, _ in vocabulary.read(strings)]


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


@dataclass(frozen=True)
class Standard:
    """What is done to each molecule of a data set before it is written: options of `chem.standardise`, and what is computed.

    key: what tells two molecules apart, the canonical isomeric SMILES or the InChIKey.  scaffolds: whether they are wanted.
    spelling: that of the vocabulary, see `tokens.Vocabulary`.
    """

    neutralise: bool = False
    tautomer: bool = False
    stereo: Literal["keep", "drop"] = "keep"
    key: Key = "smiles"
    scaffolds: bool = False
    spelling: str = "selfies"


@dataclass
class Written:
    """A chunk of rows, standardised and written once; entries of one row have one place.

    smiles: as RDKit first writes the molecule, "" where there is a reason.  keys: (n,) int64 hashes of them.
    reasons: why there is no molecule, "" if there is.
    """

    smiles: list[str]
    reasons: list[str]
    keys: np.ndarray


@dataclass
class Standardised:
    """A chunk of rows, standardised and encoded; entries of one row have one place.

    smiles, selfies: canonical, "" where there is a reason.
    reasons: why a row cannot be used, "" if it can.  keys, scaffolds: (n,) int64 hashes, 0 where there is a reason.
    symbols: all symbols that occur, in the spelling.
    """

    smiles: list[str] = field(default_factory=list)
    selfies: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    keys: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    scaffolds: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    symbols: set[str] = field(default_factory=set)


def write_rows(job: tuple[Standard, Sequence[str], bool]) -> Written:
    """(standard, SMILES or, if the last is true, MOL blocks) -> the rows standardised and written."""
    standard, texts, is_blocks = job
    options = {"neutralise": standard.neutralise, "tautomer": standard.tautomer, "stereo": standard.stereo}
    smiles, reasons = [], []
    for text in map(block_smiles, texts) if is_blocks else texts:
        mol, reason = standard_molecule(text, fragment=True, **options) if text else (None, "no SMILES in this row")
        smiles.append("" if mol is None else first_writing(mol))
        reasons.append(reason)
    return Written(smiles, reasons, text_hashes(smiles))


def encode_rows(job: tuple[Standard, Written, np.ndarray]) -> Standardised:
    """(standard, written rows, (n,) bool: which are known) -> the rows in SELFIES, read back.

    A known row has a writing that is the canonical SMILES of an earlier row: it can be used, and is not encoded again.
    """
    standard, written, known = job
    grammar = Vocabulary([])
    forms: list[Form] = [(text, "", reason) for text, reason in zip(written.smiles, written.reasons, strict=True)]
    new = [i for i, (_, _, reason) in enumerate(forms) if not reason and not known[i]]
    for i, form in zip(new, _canonical_forms(grammar, [written.smiles[i] for i in new]), strict=True):
        forms[i] = form
    done = Standardised()
    keys, scaffolds = [], []
    for smiles, selfies, reason in forms:
        done.smiles.append(smiles)
        done.selfies.append(selfies)
        done.reasons.append(reason)
        if not reason:
            done.symbols.update(spell(selfies, standard.spelling) or ())
            keys.append(_inchikey(smiles) if standard.key == "inchikey" else smiles)
            scaffolds.append(scaffold(parse(smiles)) if selfies and standard.scaffolds else "")
    usable = np.array([not reason for reason in done.reasons], bool)
    done.keys, done.scaffolds = np.zeros((2, len(usable)), np.int64)
    done.keys[usable], done.scaffolds[usable] = text_hashes(keys), text_hashes(scaffolds)
    return done


def _canonical_forms(grammar: Vocabulary, writings: Sequence[str]) -> list[Form]:
    """The form of each molecule that RDKit has written once.

    The SMILES that is read back from the SELFIES has the atoms in the order of the first writing. Where RDKit writes both
    alike, the first writing is its own re-parse's, hence canonical; elsewhere the stable writing is sought.
    """
    forms = _read_back(grammar, writings, first_writing)
    left = [i for i, (smiles, _, _) in enumerate(forms) if not smiles]
    stable = [form and form[0] for form in (stable_form(writings[i]) for i in left)]
    for i, form in zip(left, _read_back(grammar, stable, canonical), strict=True):
        forms[i] = form
    return forms


def _read_back(grammar: Vocabulary, smiles: Sequence[str | None], write: Callable[[str], str | None]) -> list[Form]:
    """Each molecule in SELFIES, and whether `write` writes what is read back from it alike.

    All go through one stage before the next begins: row by row, the code of three stages would not stay in the processor's
    caches, and it would take a fifth longer.
    """
    strings = [
        (None, "its standardised form is not a valid molecule") if s is None else grammar.to_selfies(s) for s in smiles
    ]
    derived = [grammar.reads(string) if string is not None else None for string, _ in strings]
    again = [write(text) if text is not None else None for text in derived]
    return [
        ("", "", reason or "SELFIES reads it back as another molecule")
        if text is None or selfies is None or same != text
        else (text, selfies, "")
        for text, (selfies, reason), same in zip(smiles, strings, again, strict=True)
    ]


def _inchikey(smiles: str) -> str:
    """The InChIKey, or the SMILES where InChI has none."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        return Chem.MolToInchiKey(parse(smiles)) or smiles


@dataclass
class Segmented:
    """A chunk of molecules as token ids.

    ids: (sum of lengths,) int16.  lengths: (n,) int32, 0 where there is a reason.  reasons: "" if the tokens can be used.
    elements: atoms by element, of the molecules that can be used.
    """

    ids: np.ndarray
    lengths: np.ndarray
    reasons: list[str]
    elements: Counter[str]


def segment_rows(job: tuple[Vocabulary, Sequence[str], Sequence[str]]) -> Segmented:
    """(vocabulary, canonical SMILES, their SELFIES) -> token ids."""
    vocabulary, smiles, selfies = job
    rows, reasons = [], []
    for text in selfies:
        ids, reason = vocabulary.segment(text)
        if ids and vocabulary.text(ids) != text:
            ids, reason = None, "its tokens are read back as another SELFIES string"
        rows.append(ids or [])
        reasons.append(reason)
    lengths = np.array([len(row) for row in rows], np.int32)
    flat = np.array([i for row in rows for i in row], np.int16)
    used = " ".join(text for text, reason in zip(smiles, reasons, strict=True) if not reason)
    return Segmented(flat, lengths, reasons, count_elements(used))


def count_elements(smiles: str) -> Counter[str]:
    """Atoms by element in a SMILES string, or in several with spaces between; hydrogens count where they are atoms."""
    return Counter((bracket or plain).capitalize() for bracket, plain in _ATOM.findall(smiles))


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
