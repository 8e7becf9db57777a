"""The scorecard of a set of molecules beside the set that a model was trained on and a set that it never saw.

MOSES (Polykovskiy et al. 2020, Front. Pharmacol. 11:565644) compares distributions with a test set, and novelty with the
training set; GuacaMol (Brown et al. 2019, J. Chem. Inf. Model. 59:1096) compares everything with the training set, on 10,000
molecules of each. Here the reference is the training set. Distributions and the FCD are compared with the test set if there
is one, else with the reference; the KL score with the reference if there is one, else with the test set; novelty with the
reference alone.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from molvae.chem.filters import UNSEEN_RING_SYSTEM
from molvae.errors import ConfigError, DataError, MolvaeError
from molvae.evaluation.distributions import (
    cosine_similarity,
    fcd_score,
    guacamol_subset,
    kl_divergences,
    kl_score,
    wasserstein,
)
from molvae.evaluation.profile import PROPERTIES, Profile, Wanted, described, profiles
from molvae.evaluation.samples import kind_of_reason, novelty, uniqueness
from molvae.evaluation.scorecard import Scorecard
from molvae.evaluation.similarity import internal_diversity, nearest_neighbour_similarity
from molvae.processes import Pool
from molvae.strings.tokens import Decoded

log = logging.getLogger(__name__)

LIBRARY, REFERENCE, TEST = "library", "reference", "test set"
SAMPLE = 10_000  # GuacaMol's number of molecules for the KL score and the FCD

#: (stage, done, total); the total is 0 while it is unknown.
StageProgress = Callable[[str, int, int], None]
Rows = Iterable[str | None]


@dataclass(frozen=True)
class Known:
    """What is known of a model's training set when the set itself is not at hand.

    is_training: whether a canonical SMILES is in it.  ring_systems: those that occur in it, None if nobody noted them.
    """

    is_training: Callable[[str], bool]
    ring_systems: frozenset[str] | None


def library_scorecard(
    samples: Iterable[Decoded | str | None],
    *,
    reference: Rows | None = None,
    test: Rows | None = None,
    known: Known | None = None,
    sample: int = SAMPLE,
    fcd: bool = True,
    device: str = "auto",
    workers: int = 0,
    progress: StageProgress | None = None,
) -> Scorecard:
    """Measure a set of molecules. All three sets are read once, as they come; an invalid row counts against `valid` only.

    Parameters
    ----------
    samples: SMILES, or what a decoder wrote; repetitions count where MOSES counts them.
    reference: the training set.  test: molecules that no training saw.  Invalid rows are left out with a warning.
    known: stands in for `reference` where that is not given: for novelty, sanity and new ring systems.
    sample: molecules of each side for the KL score (the first distinct ones) and the FCD (the first ones); of the other set
        those that GuacaMol draws from a training set.
    fcd: whether to measure the Frechet ChemNet distance, the slowest figure. Without the package `fcd` it is missing.
    workers: extra processes for the RDKit work; the figures do not depend on them.

    Raises DataError for a set without one valid molecule, ConfigError for a wrong `sample`.
    """
    if sample < 2:
        raise ConfigError(f"the KL score and the FCD need at least 2 molecules of each set, not {sample}. Give 10,000.")
    faithful: list[bool | None] = []
    faults: Counter[str] = Counter()

    def strings() -> Iterable[str | None]:
        for row in samples:
            if isinstance(row, Decoded):
                faithful.append(row.faithful)
                if not row.faithful:
                    faults[f"unfaithful: {kind_of_reason(row.reason)}"] += 1
                yield row.smiles
            else:
                faithful.append(None)
                yield row

    # 1. One pass over each set, and the part of the KL score that worker processes do.
    hear = progress or (lambda stage, done, total: None)
    sets: dict[str, tuple[Wanted, Rows]] = {LIBRARY: (Wanted(features=True, rings=True, judgement=True), strings())}
    if reference is not None:
        sets[REFERENCE] = (Wanted(rings=True, features=test is None), reference)
    if test is not None:
        sets[TEST] = (Wanted(features=True), test)
    with Pool(workers) as pool:
        found = profiles(sets, pool, lambda name, done: hear(name, done, 0))
        for name, part in found.items():
            _check(name, part)
        made, train = found[LIBRARY], found.get(REFERENCE)
        other = found.get(TEST, train)
        baseline = train or other
        kl = _divergences(made, baseline, sample, pool, hear) if baseline is not None else {}
    training = None if train is None else set(train.valid)
    if training is not None and TEST in found and other is not None:
        _warn_of_overlap(training, other.valid)
    if training is not None and train is not None:
        known = Known(training.__contains__, train.known_systems)

    # 2. What the library is by itself, and beside what is known of the training set.
    valid, n = made.valid, len(made.smiles)
    values: dict[str, float] = {"valid": len(valid) / n}
    said = [flag for flag in faithful if flag is not None]
    values["faithful"] = sum(said) / n if len(said) == n else math.nan
    values["sane"] = _sane(made, known, faults) / n
    values["unique"] = uniqueness(valid)
    values["unique@1k"] = uniqueness(valid, 1000)
    values["unique@10k"] = uniqueness(valid, 10_000)
    values["novel"] = novelty(valid, known.is_training) if known else math.nan
    values["int_div_1"], values["int_div_2"] = internal_diversity(made.bits, _stage(hear, "internal diversity"))
    values["scaffold_diversity"] = len(set(made.plain_scaffolds)) / len(set(valid))
    values["ring_system_novelty"] = _ring_system_novelty(made, known)
    values["filters"] = sum(not reason for reason in made.filtered) / len(valid)
    faults.update(f"filtered: {reason.split(':')[0]}" for reason in made.filtered if reason)

    # 3. What it is beside the other set.
    values |= distances(made, other, hear)
    reasons: dict[str, str] = {}
    values["kl_score"] = kl_score(kl) if kl else math.nan
    values["fcd"] = values["fcd_score"] = math.nan
    if other is not None and fcd:
        values["fcd"], why = _fcd(valid[:sample], other.valid, sample, device, hear)
        values["fcd_score"] = fcd_score(values["fcd"])
        reasons |= dict.fromkeys(("fcd", "fcd_score"), why) if why else {}
    reasons = _reasons(values, known is not None, other is not None, fcd) | reasons
    drawn = {LIBRARY: made} | ({} if other is None else {TEST if test is not None else REFERENCE: other})
    return Scorecard(
        values=values,
        reasons=reasons,
        faults=faults,
        kl_divergences=kl,
        about={
            "library": n,
            "valid": len(valid),
            "distinct": len(set(valid)),
            "reference": len(train.valid) if train else None,
            "test": len(found[TEST].valid) if TEST in found else None,
            "sample": sample,
        },
        properties={name: dict(zip(PROPERTIES, part.properties.T, strict=True)) for name, part in drawn.items()},
    )


def _check(name: str, found: Profile) -> None:
    n, n_valid = len(found.smiles), len(found.valid)
    if not n:
        raise DataError(f"the {name} holds no molecules. Give one molecule a row.")
    if not n_valid:
        raise DataError(f"none of the {n:,} rows of the {name} is a valid SMILES. Is it the right column?")
    if n_valid < n and name != LIBRARY:
        log.warning("%d of %d rows of the %s are not valid and left out", n - n_valid, n, name)


def _warn_of_overlap(training: set[str], test: Sequence[str]) -> None:
    shared = len(training.intersection(test))
    if shared:
        log.warning("%d molecules of the test set are in the reference too: figures against it flatter", shared)


def _sane(made: Profile, known: Known | None, faults: Counter[str]) -> int:
    """How many molecules have no structural problem; counts the problems of the others."""
    seen = known.ring_systems if known else None
    sane = 0
    for found, systems in zip(made.faults, made.systems, strict=True):
        unseen = seen is not None and not seen.issuperset(systems)
        reasons = [*found, *([UNSEEN_RING_SYSTEM] if unseen else [])]
        faults.update(f"not sane: {reason}" for reason in reasons)
        sane += not reasons
    return sane


def _ring_system_novelty(made: Profile, known: Known | None) -> float:
    """#{distinct ring systems not in the training set} / #{distinct ring systems}; NaN without rings or training set."""
    systems, seen = made.known_systems, known.ring_systems if known else None
    return len(systems - seen) / len(systems) if systems and seen is not None else math.nan


def distances(made: Profile, other: Profile | None, hear: StageProgress) -> dict[str, float]:
    """SNN, fragments, scaffolds and the Wasserstein distances of two sets by their names in MEASURES; NaN without the other.

    hear: told of the stages that take long.
    """
    names = ("snn", "fragments", "scaffolds", *(f"w_{name}" for name in PROPERTIES))
    if other is None:
        return dict.fromkeys(names, math.nan)
    found = [
        nearest_neighbour_similarity(made.bits, other.bits, _stage(hear, "nearest neighbours")),
        cosine_similarity(made.fragments, other.fragments),
        cosine_similarity(made.scaffolds, other.scaffolds),
        *(wasserstein(made.properties[:, i], other.properties[:, i]) for i in range(len(PROPERTIES))),
    ]
    return dict(zip(names, found, strict=True))


def _divergences(made: Profile, baseline: Profile, sample: int, pool: Pool, hear: StageProgress) -> dict[str, float]:
    first = dict(islice(made.log_p.items(), sample))
    known, rows = baseline.log_p, baseline.valid
    drawn = {rows[i]: known[rows[i]] for i in guacamol_subset(len(rows), sample)}
    sides = described((first, drawn), pool, _stage(hear, "KL score"))
    return kl_divergences(*sides, _stage(hear, "similarities for the KL score"))


def _fcd(smiles: Sequence[str], others: Sequence[str], sample: int, device: str, hear: StageProgress) -> tuple[float, str]:
    """The distance and "", or NaN and why there is none."""
    from molvae.evaluation.fcd import fcd_version, frechet_chemnet_distance

    try:
        fcd_version()
    except MolvaeError as error:  # the optional package is missing
        return math.nan, str(error)
    from molvae.generation.model import pick_device

    drawn = [others[i] for i in guacamol_subset(len(others), sample)]
    chosen = str(pick_device(device))
    try:
        distance = frechet_chemnet_distance(smiles, drawn, canonicalise=False, device=chosen, progress=_stage(hear, "FCD"))
    except DataError as error:  # fewer than two molecules
        return math.nan, str(error)
    return distance, ""


def _reasons(values: dict[str, float], knows_training: bool, has_other: bool, fcd: bool) -> dict[str, str]:
    """Why each figure that is NaN is."""
    why: dict[str, str] = {}
    for name, value in values.items():
        if not math.isnan(value):
            continue
        if name == "faithful":
            why[name] = "SMILES do not say what their decoder wrote; measure the model itself"
        elif name in ("novel", "ring_system_novelty") and not knows_training:
            why[name] = "no --reference to compare with"
        elif name in ("fcd", "fcd_score") and not fcd:
            why[name] = "not asked for"
        elif not has_other and name not in ("novel", "ring_system_novelty"):
            why[name] = "no --reference and no --test to compare with"
        elif name == "kl_score":
            why[name] = "a property does not vary in one of the sets, or the sets do not overlap in it"
        else:
            why[name] = "one of the sets has nothing of that kind"
    return why


def _stage(hear: StageProgress, name: str) -> Callable[[int, int], None]:
    return lambda done, total: hear(name, done, total)


__all__ = ["SAMPLE", "Known", "Rows", "StageProgress", "distances", "library_scorecard"]
