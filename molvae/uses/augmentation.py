"""Data augmentation for small sets of labelled molecules: molecules near each one in latent space, with its label.

    z = mu(x) + s e,  e ~ N(0, I)

is decoded greedily; s grows where mostly x itself comes back, and shrinks where hardly anything known does. A neighbour is
kept if it is faithful, its Tanimoto similarity to x (count Morgan, radius 2) is at least as large as asked, and it is
neither in the input nor held out; stereoisomers count as one molecule there, because to most models they are. One that is
near to several molecules is kept once, with the one that it is most similar to. Its label is that of its parent x, or

    y' = m + T^c (y - m)

with m the mean of the labels, T the similarity and c the setting `shrink`: for c = 1, what a Gaussian process with the
Tanimoto kernel would predict from the parent alone; for c = 0, y itself.

A neighbour has its parent's label by decree, not by measurement: split the data first, and augment the training part.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from molvae.chem import parse, sparse_counts, tanimoto
from molvae.data.tables import read_rows
from molvae.errors import ConfigError, DataError
from molvae.evaluation.reconstruction import without_stereo
from molvae.generation.model import Model, load
from molvae.randomness import stream
from molvae.strings.tokens import Decoded
from molvae.uses.probing import distinct, label_layout, number

SCALES = tuple(0.1 * 1.5**k for k in range(7))  # standard deviations of the noise, 0.1 to 1.1
FIRST = 2  # where a molecule begins: 0.225
FEW_KNOWN, MANY_KNOWN = 0.2, 0.5  # share of the draws that bring nothing new: below, narrower; above, wider
DRAWS = 8  # latents a molecule and round
ROUNDS = 8  # of 8 draws, about one in ten is near enough at a similarity of 0.5, so these find five neighbours of most
BLOCK = 2000  # molecules whose neighbours are looked for together

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Near:
    """A molecule near another: canonical SMILES, the same without stereo, and the similarity of the two."""

    smiles: str
    flat: str
    similarity: float


@dataclass(frozen=True)
class Augmented:
    """Rows of a data set, each input molecule followed by its neighbours; entries of one row have one place.

    smiles: canonical.  labels: as given, or shrunk.  parents: the input molecule that a row comes from, itself if it is one.
    similarity: to the parent.  sources: "input" or "latent".
    left_out: why other rows of the input are not there.  short: input molecules with fewer neighbours than asked for.
    unencodable: those of them that the model cannot encode.  also_held_out: input molecules that are in the held-out set.
    unknown_held_out: rows of the held-out set that are no valid SMILES, and so cannot be kept away.
    """

    smiles: list[str]
    labels: list[Any]
    parents: list[str]
    similarity: list[float]
    sources: list[str]
    left_out: Counter[str]
    short: int
    unencodable: int
    also_held_out: int
    unknown_held_out: int

    @property
    def n_new(self) -> int:
        """Neighbours in all."""
        return self.sources.count("latent")


def augment(
    smiles: Sequence[str],
    labels: Sequence[Any],
    *,
    n: int = 5,
    model: str | os.PathLike[str] | Model = "zinc250k",
    similarity: float = 0.5,
    held_out: Collection[str] = (),
    shrink: float = 0.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Augmented:
    """Labelled molecules and up to n neighbours of each.

    labels: one a molecule: numbers or anything else; a row whose label is None, NaN or "" is left out.  similarity: the
    smallest to the parent.  held_out: SMILES that no neighbour may be.  shrink: c of the formula above, for numbers.
    seed: of the noise.  progress: called with (stage, done, all).
    Raises ConfigError for a wrong setting, DataError if no molecule has a label, or none has a neighbour.
    """
    if n < 1 or not 0.0 < similarity < 1.0 or not 0.0 <= shrink < math.inf:
        raise ConfigError(
            f"n is {n}, similarity {similarity}, shrink {shrink}: give 1 or more, a number between 0 and 1, and 0 or more."
        )
    if len(labels) != len(smiles):
        raise ConfigError(f"there are {len(labels)} labels for {len(smiles)} molecules. Give one each.")
    rows, left_out = distinct(zip(smiles, labels, strict=True))
    if not rows:
        raise DataError(f"none of the {len(smiles)} rows has a molecule and a label. Check the columns.")
    if shrink and not all(isinstance(label, Real) for label in rows.values()):
        raise ConfigError("only numbers can be shrunk, and some labels are none. Leave shrink at 0.")
    model = model if isinstance(model, Model) else load(model)
    parents = list(rows)
    own = {without_stereo(text) or text for text in parents}
    readable = [flat for text in held_out if (flat := without_stereo(text)) is not None]
    kept_away = set(readable)
    found = neighbourhoods(
        model, parents, n, similarity=similarity, excluded=own | kept_away, seed=seed, progress=progress
    )  # fmt: skip
    lists = once([near or [] for near in found])
    if not any(lists):
        raise DataError(f"no molecule with a similarity of {similarity} was found near any input. Lower --similarity.")
    values = relabelled(list(rows.values()), lists, shrink)
    table = [
        (text, label, parent, alike, source)
        for parent, near, (own_label, *new) in zip(parents, lists, values, strict=True)
        for text, label, alike, source in [
            (parent, own_label, 1.0, "input"),
            *((one.smiles, label, one.similarity, "latent") for one, label in zip(near, new, strict=True)),
        ]
    ]
    columns = [list(column) for column in zip(*table, strict=True)]
    return Augmented(
        *columns,
        left_out=left_out,
        short=sum(len(near) < n for near in lists),
        unencodable=sum(near is None for near in found),
        also_held_out=sum((without_stereo(text) or text) in kept_away for text in parents),
        unknown_held_out=len(held_out) - len(readable),
    )


def neighbourhoods(
    model: Model,
    smiles: Sequence[str],
    n: int,
    *,
    similarity: float = 0.5,
    excluded: Collection[str] = frozenset(),
    seed: int = 0,
    progress: Progress | None = None,
) -> list[list[Near] | None]:
    """Up to n molecules near each canonical SMILES, in the order in which they were met; None if it cannot be encoded.

    excluded: SMILES without stereo that are never taken.  What is found near a molecule depends on the seed and on the
    molecule, not on the others.
    """
    say = progress or (lambda stage, done, total: None)
    z = model.encode(smiles, progress=lambda done, total: say("encoding", done, total))
    searches = [
        None if np.isnan(point[0]) else _Search(text, point, n, similarity, excluded, seed)
        for text, point in zip(smiles, z, strict=True)
    ]
    for first in range(0, len(searches), BLOCK):
        block = [search for search in searches[first : first + BLOCK] if search is not None]
        for draw in range(ROUNDS):
            wanting = [search for search in block if len(search.found) < n]
            if not wanting:
                break
            decoded = model.decode(np.concatenate([search.points(draw) for search in wanting]))
            for i, search in enumerate(wanting):
                search.take(decoded[i * DRAWS : (i + 1) * DRAWS])
            say("neighbours", first + len(block) * (draw + 1) // ROUNDS, len(searches))
        say("neighbours", min(first + BLOCK, len(searches)), len(searches))
    return [None if search is None else search.found for search in searches]


class _Search:
    """The neighbours of one molecule that have been met so far."""

    def __init__(
        self, smiles: str, centre: np.ndarray, n: int, similarity: float, excluded: Collection[str], seed: int
    ) -> None:
        self._smiles, self._centre, self._n, self._least, self._seed = smiles, centre, n, similarity, seed
        self._excluded, self._met = excluded, {smiles}
        self._counts: Any = sparse_counts(parse(smiles), "morgan2")
        self._scale = FIRST
        self.found: list[Near] = []

    def points(self, draw: int) -> np.ndarray:
        """(DRAWS, D) float32 latents around the molecule."""
        noise = stream(self._seed, "augment", self._smiles, draw).standard_normal((DRAWS, len(self._centre)), np.float32)
        return self._centre + np.float32(SCALES[self._scale]) * noise

    def take(self, decoded: Sequence[Decoded]) -> None:
        """Keep what is new and near, and choose the noise of the next draw."""
        known = 0
        for one in decoded:
            if one.smiles in self._met:
                known += 1
            elif one.smiles is not None:
                self._met.add(one.smiles)
                if one.faithful and len(self.found) < self._n:
                    self._judge(one.smiles)
        share = known / len(decoded)
        step = 1 if share > MANY_KNOWN else -1 if share < FEW_KNOWN else 0
        self._scale = min(max(self._scale + step, 0), len(SCALES) - 1)

    def _judge(self, smiles: str) -> None:
        alike = tanimoto(self._counts, sparse_counts(parse(smiles), "morgan2"))
        if alike < self._least:
            return
        flat = without_stereo(smiles)
        if flat is not None and flat not in self._excluded and all(flat != near.flat for near in self.found):
            self.found.append(Near(smiles, flat, alike))


def once(lists: Sequence[Sequence[Near]]) -> list[list[Near]]:
    """The lists with every molecule (without stereo) in one of them: where it is most similar, the first of equals."""
    best: dict[str, tuple[float, int]] = {}
    for i, near in enumerate(lists):
        for one in near:
            best[one.flat] = max(best.get(one.flat, (-1.0, 0)), (one.similarity, -i))
    return [[one for one in near if best[one.flat][1] == -i] for i, near in enumerate(lists)]


def relabelled(labels: Sequence[Any], lists: Sequence[Sequence[Near]], shrink: float) -> list[list[Any]]:
    """For each molecule its label, then those of its neighbours by the formula above."""
    if not shrink:
        return [[label] * (1 + len(near)) for label, near in zip(labels, lists, strict=True)]
    mean = math.fsum(labels) / len(labels)
    return [
        [label, *(mean + one.similarity**shrink * (label - mean) for one in near)]
        for label, near in zip(labels, lists, strict=True)
    ]


def read_labels(path: str | os.PathLike[str], label: str, column: str | None = None) -> tuple[list[str], list[Any]]:
    """SMILES and labels of a table as they stand there: whole numbers or numbers if all of them are, else text.

    Raises DataError if there is no such column, ConfigError if the file has no columns with names, or it holds the SMILES.
    """
    layout = label_layout(path, label, column, "--label-col")
    if layout.names == layout.column:
        raise ConfigError(f"the column {label!r} of {path} holds the molecules, not their labels. Give another --label-col.")
    rows = list(read_rows(path, layout))
    texts = [row.name for row in rows]
    known = [text for text in texts if text]
    labels: list[Any] = [text or None for text in texts]
    if known and not any(math.isnan(number(text)) for text in known):
        whole = all(text.lstrip("+-").isdecimal() for text in known)
        labels = [None if not text else int(text) if whole else float(text) for text in texts]
    return [row.text for row in rows], labels
