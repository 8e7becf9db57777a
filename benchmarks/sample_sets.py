"""What the benchmarks of samples share: how a set of 10,000 molecules is measured, and the sets that stand beside a model's.

The Frechet ChemNet distance is to all test rows with their stereo (the GDSS protocol), and again with stereo stripped from
both sides; MOSES's figures are to the same test rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from common import Split, show_progress
from ngram import NGram

from molvae.chem import canonical
from molvae.evaluation.fcd import LONGEST, Activations, chemnet_activations, frechet_distance, reference_activations
from molvae.evaluation.library import distances
from molvae.evaluation.profile import Profile, Wanted, profiles
from molvae.evaluation.reconstruction import without_stereo
from molvae.evaluation.samples import sample_metrics
from molvae.evaluation.similarity import internal_diversity
from molvae.generation.model import Model
from molvae.processes import Pool
from molvae.randomness import stream
from molvae.strings.tokens import Decoded, Vocabulary

Samples = Sequence[Decoded | str]


@dataclass(frozen=True)
class Reference:
    """What samples are compared with: the profile of the test rows, and ChemNet's statistics of them, with and without
    stereo."""

    profile: Profile
    activations: Activations
    stripped: Activations

    @classmethod
    def of(cls, smiles: Sequence[str], cache: str | os.PathLike[str], *, device: str, workers: int = 0) -> Reference:
        """Measure the test rows; what ChemNet says of them is kept in the folder `cache`."""
        kept = [text for text in map(canonical, smiles) if text]
        flat = [text for text in map(without_stereo, kept) if text]
        statistics = [
            reference_activations(of, cache, device=device, progress=show_progress(name))
            for of, name in ((kept, "test FCD"), (flat, "test FCD, no stereo"))
        ]
        with Pool(workers) as pool:
            profile = profiles({"test": (Wanted(features=True), kept)}, pool)["test"]
        return cls(profile, *statistics)


def rates(
    samples: Samples,
    known: Callable[[str], bool],
    ring_systems: frozenset[str],
) -> dict[str, object]:
    """The sample metrics of one set; the five most frequent faults as one text."""
    found = sample_metrics(samples, is_training=known, ring_systems=ring_systems)
    faults = "; ".join(f"{reason} {count}" for reason, count in found.reasons.most_common(5))
    return {**{key: value for key, value in asdict(found).items() if key != "reasons"}, "faults": faults}


def smiles_of(samples: Samples) -> list[str]:
    """Canonical SMILES of the valid samples, repetitions included."""
    found = (one.smiles if isinstance(one, Decoded) else canonical(one) for one in samples)
    return [text for text in found if text]


def fcd(smiles: Sequence[str], reference: Activations, device: str, name: str) -> float:
    """The FCD of canonical SMILES."""
    features = chemnet_activations(smiles, canonicalise=False, device=device, progress=show_progress(f"{name}: FCD"))
    return frechet_distance(Activations.of(features), reference)


def fcds(smiles: Sequence[str], reference: Reference, device: str, name: str) -> dict[str, float]:
    """`fcd` of canonical SMILES, and `fcd_stripped`. A molecule without stereo is read by the network once."""
    kept = [text for text in smiles if len(text) <= LONGEST]
    flat = [text for text in map(without_stereo, kept) if text]
    every = list(dict.fromkeys([*kept, *flat]))
    row = {text: i for i, text in enumerate(every)}
    features = chemnet_activations(every, canonicalise=False, device=device, progress=show_progress(f"{name}: FCD"))
    distance = {}
    for key, side, other in (("fcd", kept, reference.activations), ("fcd_stripped", flat, reference.stripped)):
        distance[key] = frechet_distance(Activations.of(features[[row[text] for text in side]]), other)
    return distance


def compared(samples: Samples, reference: Reference, device: str, name: str, workers: int = 0) -> dict[str, float]:
    """FCDs, MOSES's distances from the test rows, and internal diversity, of one set."""
    smiles = smiles_of(samples)
    with Pool(workers) as pool:
        made = profiles({"samples": (Wanted(features=True), smiles)}, pool)["samples"]
    hear = show_progress(f"{name}: similarities")
    int_div_1, int_div_2 = internal_diversity(made.bits)
    return {
        **fcds(smiles, reference, device, name),
        **distances(made, reference.profile, lambda stage, done, total: hear(done, total)),
        "int_div_1": int_div_1,
        "int_div_2": int_div_2,
    }


def known_to(model: Model) -> Callable[[str], bool]:
    """Whether a canonical SMILES was in the training set of a model."""
    return lambda smiles: bool(model.is_training_molecule([smiles])[0])


def perfect_sampler(split: Split, n: int, seed: int) -> list[str]:
    """Random training molecules, none twice: the best that a sampler of n molecules can be expected to do."""
    picked = stream(seed, "perfect sampler").choice(len(split.train), min(n, len(split.train)), replace=False)
    return [split.train[i] for i in picked]


def ngrams(vocabulary: Vocabulary, rows: list[list[int]], n: int, seed: int) -> Mapping[str, list[Decoded]]:
    """Samples of n-gram models of the training strings (`ngram.py`), which are always valid."""
    sets = {}
    for order, name in ((1, "unigram"), (3, "trigram")):
        drawn = NGram(order, rows).sample(n, stream(seed, "n-gram", order))
        sets[f"SELFIES {name}"] = [vocabulary.decode(row) for row in drawn]
    return sets


def rows_of(table) -> list[list[int]]:
    """The token ids of each row of a TokenTable."""
    return [part.tolist() for part in np.split(table.tokens.numpy(), table.offsets.numpy()[1:-1])]
