"""Vocabulary: SMILES <-> SELFIES token ids, and the faithful-decode check.

SELFIES (Krenn et al. 2020, Mach. Learn.: Sci. Technol. 1:045024) turns any token string into some valid molecule, by
silently repairing what the tokens say. Validity therefore proves nothing; what counts is whether the molecule says what
the decoder wrote. `Vocabulary.decode` answers that for every string, with a reason.

What a token means depends on the SELFIES constraint table (the allowed valences), which the `selfies` package keeps as
process-global state. A vocabulary carries its own table, puts it in force only around its own calls, and restores the
caller's.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version

import selfies

from molvae.chem import Mol, canonical, canonical_forms
from molvae.errors import CheckpointError, ConfigError
from molvae.files import write_json
from molvae.strings.spelling import SPELLINGS, from_marks, selfies_symbols, to_marks
from molvae.strings.words import learn_words
from molvae.strings.writing import to_selfies

PAD, BOS, EOS = 0, 1, 2
SPECIALS = ("<pad>", "<bos>", "<eos>")
CUT = "<cut>"  # ends a written string that had no end token when the decoder's length limit came
LARGEST_VOCABULARY = 30_000  # token ids are kept as int16
MAX_LENGTH = 128  # tokens that a decoder writes at most, the end token included; ZINC250k needs 40
FORMAT = 2  # 1 had no spelling

SYMBOL = re.compile(r"\[[^\]]*\]")
_SYMBOLS_AND_DOTS = re.compile(r"\[[^\]]*\]|\.")
_SELFIES = re.compile(r"(?:\[[^\]]*\]\.?)*")
_table_lock = threading.RLock()


@contextmanager
def constraint_table(table: Mapping[str, int]) -> Iterator[None]:
    """Put a SELFIES constraint table in force, and restore the caller's on leaving. Serialises threads, because the
    table is global to the process."""
    with _table_lock:
        before = selfies.get_semantic_constraints()
        if before == dict(table):
            yield
            return
        selfies.set_semantic_constraints(dict(table))
        try:
            yield
        finally:
            selfies.set_semantic_constraints(before)


def split(string: str) -> list[str] | None:
    """The symbols of a SELFIES string, or None if it is not made of symbols in brackets, and dots between them, alone."""
    return _SYMBOLS_AND_DOTS.findall(string) if _SELFIES.fullmatch(string) else None


def spell(string: str, spelling: str) -> list[str] | None:
    """The symbols of a SELFIES string in a spelling; None if it has none there."""
    symbols = split(string)
    return symbols if symbols is None or spelling == "selfies" else to_marks(symbols)


def _idle_marks(derived: str, smiles: str) -> str:
    """Which stereo marks of a derived SMILES its canonical form no longer has, because they are on no stereo element."""
    lost = len(re.findall("@+", derived)) - len(re.findall("@+", smiles))
    if lost > 0:
        return f"{lost} stereo marks on atoms that are no stereocentres"
    if re.search(r"[/\\]", derived) and not re.search(r"[/\\]", smiles):
        return "direction marks on bonds beside no stereo double bond"
    return ""


def _unfaithful(symbols: Sequence[str], again: Sequence[str], derived: str, smiles: str) -> str:
    """Why a molecule does not say what the symbols say that it was derived from; "" if it does."""
    if "." in symbols:
        return "several fragments"
    if again == symbols:
        return _idle_marks(derived, smiles)
    if len(again) < len(symbols):
        return f"{len(symbols) - len(again)} of {len(symbols)} symbols unused"
    changes = (f"{a} became {b}" for a, b in zip(symbols, again, strict=False) if a != b)
    return f"repaired: {next(changes, 'symbols were added')}"


def _underivable(error: Exception) -> str:
    return f"SELFIES cannot derive a molecule: {str(error).strip().splitlines()[0]}"


@dataclass(frozen=True)
class Decoded:
    """One decoded token string.

    selfies: what the decoder wrote, special tokens left out.
    smiles: canonical isomeric SMILES, or None if there is no valid molecule.
    faithful: every symbol was used, and the molecule re-encodes to the same symbols.
    reason: why it is not faithful; "" if it is.
    """

    selfies: str
    smiles: str | None
    faithful: bool
    reason: str = ""


class Vocabulary:
    """Tokens <-> ids under one SELFIES constraint table. A token is a symbol, or a word of several symbols.

    spelling: "selfies" if the symbols are those of SELFIES, "marks" if branches end and rings begin with a symbol of their
    own, in place of counts (see `molvae.strings.spelling`). Strings that go in and come out are SELFIES in both cases.
    Ids 0, 1 and 2 are padding, begin and end; the tokens follow in the order given. There is no "unknown" id: a molecule
    with a symbol outside the vocabulary is rejected with the symbol's name.
    """

    def __init__(
        self, tokens: Sequence[str], constraints: Mapping[str, int] | None = None, spelling: str = "selfies"
    ) -> None:
        if spelling not in SPELLINGS:
            raise ConfigError(f"spelling is one of {', '.join(SPELLINGS)}, not {spelling!r}.")
        if len(set(tokens)) != len(tokens) or set(tokens) & set(SPECIALS):
            raise ValueError("tokens must be distinct and must not contain the special tokens")
        self.tokens = (*SPECIALS, *tokens)
        self.constraints = dict(constraints or selfies.get_preset_constraints("default"))
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self.spelling = spelling
        symbols = tuple(token for token in tokens if token.count("[") == 1)
        self.symbols = symbols if spelling == "selfies" else selfies_symbols(symbols)
        self._sizes: dict[str, list[int]] = {}  # of the tokens that begin with a symbol, the longest first
        for size in sorted({token.count("[") for token in tokens}, reverse=True):
            for symbol in {token[: token.find("]") + 1] for token in tokens if token.count("[") == size}:
                self._sizes.setdefault(symbol, []).append(size)

    @classmethod
    def build(
        cls,
        strings: Iterable[str],
        words: int = 0,
        constraints: Mapping[str, int] | None = None,
        also: Iterable[str] = (),
        spelling: str = "selfies",
    ) -> Vocabulary:
        """The vocabulary of some SELFIES strings: their symbols in sorted order, then `words` learned words.

        also: strings that only the encoder reads; their symbols are included, but no words are learned from them.
        """
        spelled = [spell(string, spelling) or [] for string in strings]
        symbols = {symbol for string in spelled for symbol in string}
        symbols.update(symbol for string in also for symbol in spell(string, spelling) or [])
        return cls(sorted(symbols) + (learn_words(spelled, words) if words else []), constraints, spelling)

    def extended(self, strings: Iterable[str]) -> Vocabulary:
        """This vocabulary with the symbols of more SELFIES strings behind its own tokens, whose ids stay as they are."""
        spelled = (symbol for string in strings for symbol in spell(string, self.spelling) or [])
        new = sorted({symbol for symbol in spelled if symbol not in self.ids})
        return Vocabulary([*self.tokens[len(SPECIALS) :], *new], self.constraints, self.spelling)

    def __len__(self) -> int:
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self._content == other._content

    __hash__ = None  # type: ignore[assignment]  # mutable dictionaries inside

    @property
    def _content(self) -> tuple[object, ...]:
        return self.tokens, self.constraints, self.spelling

    def to_selfies(self, smiles: str) -> tuple[str | None, str]:
        """SELFIES of a SMILES string as it is written, and "" - or None and the reason."""
        if "." in smiles:  # SELFIES would write the dot, but no other part of molvae means two molecules by one string
            return None, "several fragments (a salt or a mixture); keep one of them"
        written = to_selfies(smiles, self.constraints)
        if written is not None:
            return written, ""
        with constraint_table(self.constraints):
            try:
                return selfies.encoder(smiles), ""
            except selfies.EncoderError as error:
                lines = str(error).strip().splitlines()  # what, the SMILES, then (of valences) one line an atom
                why = getattr(error.__cause__, "reason", "") or lines[-1 if len(lines) > 2 else 0]
                return None, f"SELFIES cannot say it: {why.strip().strip('[]')}"

    def encode(self, smiles: str, *, as_written: bool = False) -> tuple[list[int] | None, str]:
        """Token ids of a molecule, without begin and end, and "" - or None and the reason.

        The molecule is written in canonical order first, unless `as_written` (for randomised input).
        """
        written = smiles if as_written else canonical(smiles)
        if written is None:
            return None, "not a valid SMILES"
        string, reason = self.to_selfies(written)
        if string is None:
            return None, reason
        return self.segment(string)

    def segment(self, string: str) -> tuple[list[int] | None, str]:
        """Token ids of a SELFIES string and "" - or None and the reason. Reads from the left, longest token first."""
        parts = split(string)
        if parts is None:
            return None, "not a SELFIES string"
        symbols = parts if self.spelling == "selfies" else to_marks(parts)
        if symbols is None:
            return None, "a branch or ring of the SELFIES string points outside it"
        ids, at = [], 0
        while at < len(symbols):
            for size in self._sizes.get(symbols[at], ()):
                token = self.ids.get("".join(symbols[at : at + size]))
                if token is not None and at + size <= len(symbols):
                    ids.append(token)
                    at += size
                    break
            else:
                return None, f"symbol {symbols[at]} is not in the vocabulary"
        if len(ids) >= MAX_LENGTH:
            return None, f"{len(ids)} tokens, more than the {MAX_LENGTH - 1} that a decoder writes"
        return ids, ""

    def decode(self, ids: Iterable[int]) -> Decoded:
        """The molecule of a row of ids; begin, end and padding may be there or not."""
        return self.derive(self.text(ids))

    def text(self, ids: Iterable[int]) -> str:
        """The SELFIES of a row of ids: reading stops at the first end or padding, a leading begin is skipped.

        What is wrong with the spelling, if anything, follows in angle brackets; `derive` reads it as the reason.
        """
        tokens: list[str] = []
        for i in ids:
            if i in (EOS, PAD):
                break
            if i != BOS:
                tokens.append(self.tokens[i])
        if self.spelling == "selfies":
            return "".join(tokens)
        symbols, fault = from_marks(SYMBOL.findall("".join(tokens)))
        return "".join(symbols) + (f"<{fault}>" if fault else "")

    def reads(self, written: str) -> str | None:
        """The SMILES that SELFIES derives from a string, in the order in which it is written; None if there is none."""
        with constraint_table(self.constraints):
            try:
                return selfies.decoder(written)
            except selfies.DecoderError:
                return None

    def derive(self, written: str) -> Decoded:
        """The molecule of a SELFIES string, and whether it says what the string says.

        The SMILES that SELFIES derives is encoded again in the order it was written. Symbols that the grammar dropped
        (after a saturated atom, a ring to nowhere), bonds it lowered and branches it cut all change the result.
        """
        return self.read([written])[0][0]

    def read(self, strings: Sequence[str]) -> list[tuple[Decoded, Mol | None]]:
        """What `derive` gives of each string, and the molecule as RDKit's object, parsed from the canonical SMILES.

        A step is taken for all strings before the next one begins, which is faster; see `chem.canonical_forms`.
        """
        parts = [written.partition("<") for written in strings]
        symbols = [split(beginning) or [] for beginning, _, _ in parts]
        derived, again, reasons = [""] * len(parts), [[]] * len(parts), [""] * len(parts)
        with constraint_table(self.constraints):
            for i, (written, _, _) in enumerate(parts):
                if not symbols[i]:
                    reasons[i] = "not a SELFIES string" if written else "empty string"
                    continue
                try:
                    derived[i] = selfies.decoder(written)
                except selfies.DecoderError as error:
                    reasons[i] = _underivable(error)
            for i, smiles in enumerate(derived):
                try:
                    rewritten = smiles and (to_selfies(smiles, self.constraints) or selfies.encoder(smiles, strict=False))
                    again[i] = split(rewritten) or []
                except selfies.EncoderError as error:
                    derived[i], reasons[i] = "", _underivable(error)
        read = []
        for i, form in enumerate(canonical_forms(derived)):
            written, _, fault = parts[i]
            reason = reasons[i]
            if fault:
                reason = "cut at the length limit" if f"<{fault}".endswith(CUT) else fault.removesuffix(">")
            elif form is None:
                reason = reason or "not a valid molecule"
            elif not reason:
                reason = _unfaithful(symbols[i], again[i], derived[i], form[0])
            smiles, mol = form or (None, None)
            read.append((Decoded(written, smiles, not reason, reason), mol))
        return read

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `vocabulary.json`: the tokens, the constraint table, and the selfies version it was built under."""
        write_json(
            path,
            {
                "format": FORMAT,
                "tokens": list(self.tokens[len(SPECIALS) :]),
                "constraints": self.constraints,
                "spelling": self.spelling,
                "selfies": version("selfies"),
            },
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Vocabulary:
        """Read `vocabulary.json`. Raises CheckpointError if it is missing, torn, or of a newer format."""
        try:
            with open(path, encoding="utf-8") as stream:
                table = json.load(stream)
            if table["format"] > FORMAT:
                raise CheckpointError(
                    f"{path} has format {table['format']}, this molvae reads up to {FORMAT}. Upgrade molvae."
                )
            return cls(table["tokens"], table["constraints"], table.get("spelling", "selfies"))
        except OSError as error:
            raise CheckpointError(f"cannot read {path}: {error.strerror}.") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{path} is not a molvae vocabulary (torn or foreign file). Fetch the checkpoint again."
            ) from error
