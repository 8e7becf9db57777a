"""Files of molecules, packed by a model's language model: its probabilities p(x | z = 0) drive a range coder.

What comes back, line by line and in order, is the canonical isomeric SMILES of every molecule. A row that is no valid SMILES
comes back as it was written. Names are not kept. Rows that the vocabulary cannot write, or would not read back exactly, are
kept as text, packed by zlib. The ideal size is sum(nll) / ln 2 bits; rounding probabilities to whole numbers costs little.

Both sides must compute the same whole numbers. They use one thread, float64, batches of one fixed size, and the same order,
so the same machine with the same versions of torch gives the same numbers; other processors and libraries round the last of
16 digits in another way, which mostly vanishes in the rounding to whole numbers, and need not. So the file is a package
between like machines and not an archive: it needs the model, and it is decoded once before `compress` answers. A check of 16
bits after every batch, and a checksum of the whole text, turn a difference into a sentence and never into another molecule.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from molvae.chem import canonical
from molvae.errors import CheckpointError, DataError, RunError
from molvae.generation.model import Model, load
from molvae.models.networks import State, keep_rows
from molvae.processes import in_processes
from molvae.strings.tokens import BOS, EOS, MAX_LENGTH, PAD, Vocabulary
from molvae.uses.likelihood import has_language_model
from molvae.uses.range_coder import RangeDecoder, RangeEncoder

MAGIC = b"molvae packed molecules\n"
FORMAT = 1
ROWS = 256  # molecules coded together; a part of the format
TOTAL = 1 << 18  # what the probabilities of a token add up to, about
CHECK = 1 << 16
PACKAGES = ("torch", "numpy", "rdkit", "selfies")  # whose versions may change what is computed
HEADER = {"model": str, "weights": str, "molecules": int, "coded": int, "payload": int, "sha256": str, "versions": dict}
LARGEST_HEADER = 1 << 16
FEW = 1000  # molecules below which starting processes costs more than it saves

Progress = Callable[[str, int, int], None]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Packed:
    """What was packed: molecules, how many of them are kept as text, and bytes of the file."""

    molecules: int
    as_text: int
    size: int

    @property
    def bits(self) -> float:
        """Bits of the file a molecule."""
        return 8.0 * self.size / max(self.molecules, 1)


def compress(
    smiles: Sequence[str],
    out: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | Model = "zinc250k",
    progress: Progress | None = None,
) -> Packed:
    """Pack molecules into the file `out`, and read it again before answering. progress: called with (stage, done, all).

    Raises RunError if this machine does not give the same probabilities twice, or the file cannot be written.
    """
    from molvae.report.page import write_bytes

    name = model.name if isinstance(model, Model) else os.fspath(model)
    model = model if isinstance(model, Model) else load(model, device="cpu")
    if not has_language_model(model):
        _log.warning(
            f"{name} has not learned to write without z, so the file will be large. Train with model.unconditional above 0."
        )
    say = progress or (lambda stage, done, total: None)
    texts, rows = _written(model, smiles, say)
    kept = [text for text, ids in zip(texts, rows, strict=True) if ids is None]
    places = [i for i, ids in enumerate(rows) if ids is None]
    coded = [ids for ids in rows if ids is not None]
    probabilities = Probabilities(model)
    payload = probabilities.encode(coded, lambda done: say("packing", done, len(coded)))
    try:
        same = probabilities.decode(payload, len(coded), lambda done: say("checking", done, len(coded))) == coded
    except DataError:
        same = False
    if not same:
        raise RunError("this machine computes other probabilities each time, so nothing it packs could be read again.")
    exceptions = zlib.compress(json.dumps([np.diff(places, prepend=0).tolist(), kept]).encode(), 9)
    header = {
        "format": FORMAT,
        "model": name,
        "weights": model.weights_hash,
        "molecules": len(texts),
        "coded": len(coded),
        "payload": len(payload),
        "sha256": _checksum(texts),
        "versions": {package: version(package) for package in PACKAGES},
    }
    packed = zlib.compress(json.dumps(header).encode(), 9)
    content = MAGIC + len(packed).to_bytes(4, "big") + packed + payload + exceptions
    write_bytes(out, content)
    return Packed(len(texts), len(kept), len(content))


def decompress(
    path: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | Model | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """The lines that `compress` packed: canonical isomeric SMILES in their order. model: where it is, if it has moved.

    Raises DataError for a file that is damaged, foreign, or was packed where probabilities are other than here, and
    CheckpointError for another model.
    """
    header, payload, exceptions = _read(path)
    model = load(header["model"] if model is None else model, device="cpu") if not isinstance(model, Model) else model
    if model.weights_hash != header["weights"]:
        raise CheckpointError(f"{path} was packed with other weights than {model.name} has. Name its model with --model.")
    say = progress or (lambda stage, done, total: None)
    n = header["coded"]
    try:
        rows = Probabilities(model).decode(payload, n, lambda done: say("unpacking", done, n))
        gaps, texts = json.loads(zlib.decompress(exceptions))
        kept = dict(zip(accumulate(gaps), texts, strict=True))
        if not kept.keys() <= set(range(header["molecules"])) or len(kept) + len(rows) != header["molecules"]:
            raise DataError("the numbers of molecules do not add up")
    except (DataError, ValueError, TypeError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}. {_why(header)}") from error
    read = iter(in_processes(_read_rows, list(_shares(model.vocabulary, rows)), _workers(model, n)))
    found = [kept[i] if i in kept else next(read) for i in range(header["molecules"])]
    if _checksum(found) != header["sha256"]:
        raise DataError(f"{path} cannot be read: its molecules do not have the checksum of those packed. {_why(header)}")
    return found


class Probabilities:
    """The decoder of a model as a source of whole-number frequencies, the same ones each time on one machine.

    A copy in float64 on the CPU; the model itself is left as it is.
    """

    def __init__(self, model: Model) -> None:
        self._decoder = copy.deepcopy(model.vae.decoder).to("cpu", torch.float64).eval()
        self._hidden = model.vae.hidden(1).to("cpu", torch.float64)

    def encode(self, rows: Sequence[Sequence[int]], done: Callable[[int], None]) -> bytes:
        """Bytes of token rows, each 1 to MAX_LENGTH - 1 ids without begin and end."""
        coder = RangeEncoder()
        for first in range(0, len(rows), ROWS):
            batch = [[*row, EOS] for row in rows[first : first + ROWS]]

            def write(step: int, alive: list[int], ends: np.ndarray, batch: list[list[int]] = batch) -> list[int]:
                tokens = [batch[row][step] for row in alive]
                for line, token in zip(ends, tokens, strict=True):
                    start = int(line[token - 1])
                    coder.encode(start, int(line[token]) - start, int(line[-1]))
                return tokens

            self._run(len(batch), write)
            coder.encode(_check(batch), 1, CHECK)
            done(first + len(batch))
        return coder.finish()

    def decode(self, data: bytes, n: int, done: Callable[[int], None]) -> list[list[int]]:
        """The n token rows of `encode`. Raises DataError where the check after a batch fails."""
        coder = RangeDecoder(data)
        rows: list[list[int]] = []
        for first in range(0, n, ROWS):
            batch: list[list[int]] = [[] for _ in range(min(ROWS, n - first))]

            def read(step: int, alive: list[int], ends: np.ndarray, batch: list[list[int]] = batch) -> list[int]:
                tokens = []
                for row, line in zip(alive, ends, strict=True):
                    total = int(line[-1])
                    token = int(line.searchsorted(coder.target(total), side="right"))
                    start = int(line[token - 1])
                    coder.remove(start, int(line[token]) - start, total)
                    batch[row].append(token)
                    tokens.append(token)
                return tokens

            self._run(len(batch), read)
            found = coder.target(CHECK)
            coder.remove(found, 1, CHECK)
            if found != _check(batch):
                raise DataError(f"the check after molecule {first + len(batch):,} fails")
            rows += [row[:-1] for row in batch]
            done(len(rows))
        return rows

    @torch.inference_mode()
    def _run(self, n: int, tokens_of: Callable[[int, list[int], np.ndarray], list[int]]) -> None:
        """Step n rows side by side; `tokens_of(step, rows, ends)` says or learns the token of each row that goes on.

        ends: (rows, V) int64: where the interval of each token ends, so that it begins where the token before it ends.
        """
        with _one_thread():
            alive = list(range(n))
            state = _wide(self._decoder.start(self._hidden.expand(n, -1, -1).contiguous(), MAX_LENGTH))
            last = torch.full((n,), BOS)
            for step in range(MAX_LENGTH):
                logits, state = self._decoder.step(last, state)
                state = _wide(state)
                tokens = tokens_of(step, alive, cumulative(logits))
                going = [i for i, token in enumerate(tokens) if token != EOS]
                if not going:
                    return
                alive, last = [alive[i] for i in going], torch.tensor([tokens[i] for i in going])
                if len(going) < len(tokens):
                    state = keep_rows(state, torch.tensor(going))
        raise DataError(f"a molecule has no end after {MAX_LENGTH} tokens")


def cumulative(logits: Tensor) -> np.ndarray:
    """(B, V) float64 logits -> (B, V) int64: where the interval of each token ends.

    The size of an interval is 1 + floor(p (TOTAL - V)), so that none is empty; padding and begin, which nobody writes,
    have none.
    """
    logits = logits.double().clone()
    logits[:, PAD] = logits[:, BOS] = float("-inf")
    sizes = 1 + (logits.softmax(-1) * (TOTAL - logits.shape[1])).floor().long()
    sizes[:, PAD] = sizes[:, BOS] = 0
    return sizes.cumsum(-1).numpy()


def _wide(state: State) -> State:
    """The state with its floating-point tensors in float64: decoders keep some of theirs in float32."""
    return {k: v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in state.items()}


@contextmanager
def _one_thread() -> Iterator[None]:
    """How a product is split among threads decides how it is rounded."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check(batch: Sequence[Sequence[int]]) -> int:
    return zlib.crc32(np.array([token for row in batch for token in row], "<i2").tobytes()) % CHECK


def _checksum(texts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()


def _why(header: dict[str, Any]) -> str:
    differ = [
        f"{name} {theirs} (here {version(name)})"
        for name in PACKAGES
        if (theirs := header["versions"].get(name)) != version(name)
    ]
    made = f"It was packed with {', '.join(differ)}" if differ else "It was packed with the same versions as here"
    return f"{made}. Unpack it on the machine that packed it, or fetch the file again."


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], bytes, bytes]:
    """Header, payload and exceptions of a packed file. Raises DataError."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.") from error
    if not content.startswith(MAGIC):
        raise DataError(f"{path} was not written by `molvae compress`.")
    at = len(MAGIC) + 4
    try:
        end = at + int.from_bytes(content[len(MAGIC) : at], "big")
        header = json.loads(zlib.decompressobj().decompress(content[at:end], LARGEST_HEADER))
        if header["format"] > FORMAT:
            raise DataError(f"{path} has format {header['format']}; this molvae reads up to {FORMAT}. Upgrade molvae.")
        if not all(type(header[key]) is kind for key, kind in HEADER.items()):
            raise TypeError("a wrong type")
        middle = end + header["payload"]
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise DataError(f"{path} is damaged: its beginning cannot be read. Fetch it again.") from error
    return header, content[end:middle], content[middle:]


def _written(model: Model, smiles: Sequence[str], say: Progress) -> tuple[list[str], list[list[int] | None]]:
    """What is to come back of each row, and its token ids; None for a row that is kept as text."""
    jobs = [(model.vocabulary, list(smiles[i : i + ROWS])) for i in range(0, len(smiles), ROWS)]
    pairs = in_processes(_write_rows, jobs, _workers(model, len(smiles)), lambda done: say("reading", done, len(smiles)))
    return [text for text, _ in pairs], [ids for _, ids in pairs]


def _write_rows(job: tuple[Vocabulary, Sequence[str]]) -> list[tuple[str, list[int] | None]]:
    """What is to come back of each row, and the ids that it can be read from exactly, or None."""
    vocabulary, texts = job
    written = []
    for text in texts:
        smiles = canonical(text)
        if smiles is None:
            written.append((text, None))
            continue
        ids, _ = vocabulary.encode(smiles, as_written=True)
        written.append((smiles, ids if ids and _read_row(vocabulary, ids) == smiles else None))
    return written


def _read_rows(job: tuple[Vocabulary, Sequence[Sequence[int]]]) -> list[str]:
    vocabulary, rows = job
    return [_read_row(vocabulary, ids) for ids in rows]


def _read_row(vocabulary: Vocabulary, ids: Sequence[int]) -> str:
    """Canonical SMILES of a row of ids; "" if it is no molecule."""
    return canonical(vocabulary.reads(vocabulary.text(ids)) or "") or ""


def _shares(vocabulary: Vocabulary, rows: Sequence[list[int]]) -> Iterator[tuple[Vocabulary, Sequence[list[int]]]]:
    return ((vocabulary, rows[i : i + ROWS]) for i in range(0, len(rows), ROWS))


def _workers(model: Model, n: int) -> int:
    return model.workers if n >= FEW else 0
