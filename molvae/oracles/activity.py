"""Predicted activity on a protein: the probability that a logistic classifier of our own gives, read from one small file.

    p(active) = 1 / (1 + exp(-(b + sum_i w_i log2(1 + c_i))))

c: folded count fingerprint of the molecule (Rogers & Hahn, J. Chem. Inf. Model. 50:742, 2010); w, b: weights and intercept
of L2-regularised logistic regression, trained by `benchmarks/activity.py`. `gsk3b` and `jnk3` bear the names of two tasks of
PMO and learn from the labels that its classifiers learned from (ExCAPE-DB, by way of Li et al., J. Cheminform. 10:33, 2018,
and Jin et al., ICML 2020), but they are other classifiers: their scores cannot be compared with published ones.

A file is safetensors: `weights` (D,) float32, `intercept` (1,) float64, and in its header one JSON text that says what it is
and its own SHA-256. Nothing in it can run code.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from molvae.chem import COUNT_KINDS, Mol, count_fingerprints
from molvae.errors import OracleError
from molvae.files import atomic_path, file_hash
from molvae.oracles.base import ORACLES, MoleculeOracle

FORMAT = 1
KIND = "molvae classifier of activity"
LARGEST = 1_000_000  # bytes of a file that is read at all
_HEADER = "molvae"  # a single entry, because safetensors writes several in any order

# SHA-256 of the files beside this one, so that a run says which classifier it was scored by.
SHIPPED = {
    "gsk3b": "43767092aafc1466edf4ad567362cd1ac3a5bbf65f9f628841f6874fd136d571",
    "jnk3": "d66ddb77e90822748bb616df5145090bfac043a0872b21221a8917d0311fb264",
}


@dataclass(frozen=True)
class Classifier:
    """A logistic classifier on a folded count fingerprint.

    target: what it predicts activity on.  fingerprint: one of chem.COUNT_KINDS.  weights: (D,) float32, D the size that the
    fingerprint is folded to.  intercept: of the logit.  about: where it comes from, as JSON can hold it.
    """

    target: str
    fingerprint: str
    weights: np.ndarray
    intercept: float
    about: Mapping[str, Any] = field(default_factory=dict)

    def logit(self, mol: Mol) -> float:
        """The logarithm of the odds that `mol` is active."""
        counts = count_fingerprints([mol], self.fingerprint, len(self.weights))[0]
        present = np.flatnonzero(counts)
        return self.intercept + float(features(counts[present]) @ self.weights[present].astype(np.float64))

    def probability(self, mol: Mol) -> float:
        """The probability that `mol` is active, at the share of actives among the labels."""
        return 0.5 * (1.0 + math.tanh(0.5 * self.logit(mol)))  # = 1 / (1 + exp(-logit)), without overflow

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file that `read_classifier` reads, whole or not at all; the same classifier gives the same bytes."""
        from safetensors.numpy import save_file

        tensors = {"weights": self.weights, "intercept": np.array([self.intercept], np.float64)}
        about = {
            "kind": KIND,
            "format": FORMAT,
            "target": self.target,
            "fingerprint": self.fingerprint,
            "about": dict(self.about),
        }
        header = json.dumps(about | {"sha256": _content_hash(about, tensors)}, sort_keys=True)
        with atomic_path(path) as partial:
            save_file(tensors, partial, metadata={_HEADER: header})


def features(counts: np.ndarray) -> np.ndarray:
    """What the weights multiply, float64 of the shape of `counts`: log2(1 + count), 0 for an absent environment."""
    return np.log2(1.0 + counts.astype(np.float64))


class Activity(MoleculeOracle):
    """The probability that a molecule is active, by the classifier in the file `path`.

    sha256: what the file must have, "" for any. Raises OracleError for a file that is not such a classifier.
    """

    unit = "probability by a classifier"

    def __init__(self, path: str | os.PathLike[str], sha256: str = "") -> None:
        self.classifier = read_classifier(path)
        if sha256 and file_hash(path) != sha256:
            raise OracleError(f"{path} is not the file that this molvae came with. Install molvae again.")

    def score(self, mol: Mol) -> float:
        return self.classifier.probability(mol)


@ORACLES.register("gsk3b")
def gsk3b() -> Activity:
    """Inhibits glycogen synthase kinase 3 beta, says a classifier of our own: not PMO's task of this name."""
    return shipped("gsk3b")


@ORACLES.register("jnk3")
def jnk3() -> Activity:
    """Inhibits c-Jun N-terminal kinase 3, says a classifier of our own: not PMO's task of this name."""
    return shipped("jnk3")


def shipped(name: str) -> Activity:
    """The classifier `name` of SHIPPED. Raises OracleError if its file is not the one that molvae came with."""
    return Activity(folder() / f"{name}.safetensors", SHIPPED[name])


def folder() -> Path:
    """Where the files of SHIPPED lie."""
    return Path(__file__).parent


def read_classifier(path: str | os.PathLike[str]) -> Classifier:
    """The classifier that `Classifier.save` wrote. Raises OracleError with what is wrong with the file and what to do."""
    from safetensors import SafetensorError, safe_open

    path = Path(path).expanduser()
    if not path.is_file():
        raise OracleError(f"there is no file {path}; give a classifier as activity:path/to/file.safetensors.")
    if path.stat().st_size > LARGEST:
        raise OracleError(f"{path} has more than {LARGEST:,} bytes, so it is no classifier of benchmarks/activity.py.")
    try:
        with safe_open(path, framework="numpy") as stream:
            header = (stream.metadata() or {}).get(_HEADER, "")
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - it is no mapping
    except OSError as error:
        raise OracleError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (SafetensorError, TypeError) as error:  # TypeError: a type of number that numpy does not have
        raise OracleError(f"{path} is cut short or is not a safetensors file. Write or fetch it again.") from error
    about = _about(header, path)
    weights, intercept = _arrays(tensors, path)
    said = about.pop("sha256", None)
    if said != _content_hash(about, tensors):
        raise OracleError(f"{path} is damaged: its content has another hash than it says. Write or fetch it again.")
    kind = about.get("fingerprint")
    if kind not in COUNT_KINDS:
        raise OracleError(f"{path} needs the fingerprint {kind!r}, which this molvae does not know. Upgrade molvae.")
    return Classifier(str(about.get("target")), kind, weights, intercept, about.get("about") or {})


def _about(header: str, path: Path) -> dict[str, Any]:
    try:
        about = json.loads(header)
    except ValueError:
        about = None
    if not isinstance(about, dict) or about.get("kind") != KIND or not isinstance(about.get("format"), int):
        raise OracleError(
            f"{path} is a safetensors file, but no classifier of activity. `benchmarks/activity.py` writes such a file."
        )
    if about["format"] > FORMAT:
        raise OracleError(f"{path} has format {about['format']}; this molvae reads up to {FORMAT}. Upgrade molvae.")
    return about


def _arrays(tensors: Mapping[str, np.ndarray], path: Path) -> tuple[np.ndarray, float]:
    weights, intercept = tensors.get("weights"), tensors.get("intercept")
    if (
        set(tensors) != {"weights", "intercept"}
        or weights is None
        or intercept is None
        or (weights.dtype, weights.ndim) != (np.float32, 1)
        or (intercept.dtype, intercept.shape) != (np.float64, (1,))
        or not weights.size
        or not (np.isfinite(weights).all() and np.isfinite(intercept).all())
    ):
        raise OracleError(f"{path} does not hold finite weights (D,) and one intercept. Write or fetch it again.")
    return weights, float(intercept[0])


def _content_hash(about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of what a file says and holds, its own hash left out."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode() + np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()
