"""Out-of-distribution detection: how foreign is a molecule to a reference set, as a trained model sees it?

Scores, larger is more foreign. mu is the posterior mean, nll as in `uses.likelihood`:

    mahalanobis    sqrt((mu - m)' S^-1 (mu - m)), m and S mean and covariance of the reference (Lee et al. 2018, arXiv
                   1807.03888), S shrunk as by Ledoit & Wolf (J. Multivar. Anal. 88:365, 2004)
    knn            Euclidean distance of mu to the k-th nearest reference molecule (Sun et al. 2022, arXiv 2204.06507), in
                   coordinates in which the reference has covariance 1
    nll_per_token  nll(x) / tokens of x. Not nll: it grows with length, and so finds small molecules usual
    typicality     |nll(x) - E nll|, E over the reference (Nalisnick et al. 2019, arXiv 1906.02994)

A p-value is conformal: the share of held-out reference molecules at least as foreign, (1 + #{s_i >= s}) / (1 + n) (Bates
et al. 2023, Ann. Stat. 51:149). If the reference is what the model was trained on, held-out molecules are still known to the
model, and p-values of new molecules of the same kind come out a little too small.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from molvae.errors import CheckpointError, ConfigError, DataError
from molvae.files import atomic_path, file_hash, write_json
from molvae.generation.model import Model, load
from molvae.randomness import stream
from molvae.uses.likelihood import Measured, has_language_model, measure

METHODS = ("mahalanobis", "knn", "nll_per_token", "typicality")
FORMAT = 1
HELD_OUT = 0.2  # share of the reference that p-values are read from
LARGEST = 20_000  # molecules that distances are taken to
FEWEST = 50  # encodable reference molecules; of fewer, neither a covariance nor a p-value says anything

_BLOCK = 2048


@dataclass(frozen=True)
class Scores:
    """Scores of N molecules: method -> (N,) float64; NaN where a molecule cannot be encoded, with the reason.

    p_values: method -> (N,) float64, small for a foreign molecule.  reasons: "" for those that can be encoded.
    """

    scores: dict[str, np.ndarray]
    p_values: dict[str, np.ndarray]
    reasons: list[str]


class Detector:
    """A fitted detector of one model.

    mean: (D,) float64 of the reference's posterior means.  whitening: (D, D) float64 W with W' W = S^-1.
    neighbours: (M, D) float32 whitened reference molecules.  nll: their mean nll.
    held_out: method -> sorted (n,) float64 scores of the held-out reference molecules.
    about: what `detector.json` says: the model's name and weights, k, seed, numbers of molecules.
    """

    def __init__(
        self,
        mean: np.ndarray,
        whitening: np.ndarray,
        neighbours: np.ndarray,
        nll: float,
        about: dict[str, object],
        held_out: dict[str, np.ndarray] | None = None,
    ) -> None:
        self.mean, self.whitening, self.neighbours, self.nll = mean, whitening, neighbours, nll
        self.about, self.held_out = about, held_out or {}

    def of(self, measured: Measured) -> dict[str, np.ndarray]:
        """Method -> (N,) scores of measured molecules."""
        white = (measured.means.astype(np.float64) - self.mean) @ self.whitening.T
        return {
            "mahalanobis": np.sqrt(np.square(white).sum(1)),
            "knn": kth_distance(white.astype(np.float32), self.neighbours, int(self.about["k"])),  # type: ignore[call-overload]
            "nll_per_token": measured.nll_per_token,
            "typicality": np.abs(measured.nll - self.nll),
        }

    def score(
        self, smiles: Sequence[str], model: Model | None = None, progress: Callable[[int, int], None] | None = None
    ) -> Scores:
        """Scores and p-values of molecules. model: that of the detector, which is loaded if none is given.

        Raises CheckpointError if the model is not the one that the detector was fitted with.
        """
        model = load(str(self.about["model"])) if model is None else model
        if model.weights_hash != self.about["weights"]:
            raise CheckpointError(
                f"the detector was fitted with other weights than {model.name} has. Fit it again, or name its model."
            )
        measured = measure(model, smiles, progress)
        scores = self.of(measured)
        values = {method: p_values(scores[method], self.held_out[method]) for method in METHODS}
        return Scores(scores, values, measured.reasons)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `detector.safetensors` and `detector.json` into a folder; no pickle. Raises RunError."""
        tensors = {"mean": self.mean, "whitening": self.whitening, "neighbours": self.neighbours}
        tensors |= {f"held_out.{method}": values for method, values in self.held_out.items()}
        with atomic_path(Path(folder) / "detector.safetensors") as partial:
            save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, partial)
        tensors_hash = file_hash(Path(folder) / "detector.safetensors")
        about = {"format": FORMAT, **self.about, "nll": self.nll, "tensors": tensors_hash}
        write_json(Path(folder) / "detector.json", about)


def fit_detector(
    reference: Sequence[str],
    *,
    model: str | os.PathLike[str] | Model = "zinc250k",
    k: int = 10,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Detector:
    """A detector of what is foreign to reference molecules (SMILES).

    k: which nearest neighbour's distance `knn` takes.  seed: chooses the fifth of the reference that is held out.
    Reference molecules that cannot be encoded are left out and counted in `about`.
    Raises ConfigError for a bad k, DataError if fewer than 50 reference molecules can be encoded.
    """
    from sklearn.covariance import ledoit_wolf

    name = model.name if isinstance(model, Model) else os.fspath(model)
    model = model if isinstance(model, Model) else load(model)
    measured = measure(model, reference, progress)
    known = np.flatnonzero(measured.known)
    if len(known) < FEWEST:
        raise DataError(
            f"{FEWEST} reference molecules or more are needed; of the {len(reference)} given, {len(known)} can be encoded."
        )
    order = stream(seed, "detector").permutation(known)
    n_held_out = round(HELD_OUT * len(known))
    held_out, fitted = np.sort(order[:n_held_out]), np.sort(order[n_held_out:])
    if not 1 <= k <= len(fitted):
        raise ConfigError(f"k is {k}; give a number from 1 to the {len(fitted)} reference molecules that are not held out.")
    z = measured.means[fitted].astype(np.float64)
    covariance, shrinkage = ledoit_wolf(z)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))  # W S W' = 1, so W' W is the inverse of S
    near = order[n_held_out:][:LARGEST]
    white = (measured.means[np.sort(near)].astype(np.float64) - z.mean(0)) @ whitening.T
    about: dict[str, object] = {
        "model": name,
        "weights": model.weights_hash,
        "nll_given": "z = 0" if has_language_model(model) else "z = the posterior mean",
        "k": k,
        "seed": seed,
        "reference": len(reference),
        "unencodable": len(reference) - len(known),
        "held_out": n_held_out,
        "shrinkage": float(shrinkage),
    }
    detector = Detector(z.mean(0), whitening, white.astype(np.float32), float(measured.nll[fitted].mean()), about)
    rows = Measured(measured.means[held_out], measured.nll[held_out], measured.tokens[held_out], [""] * n_held_out)
    detector.held_out = {method: np.sort(scores) for method, scores in detector.of(rows).items()}
    return detector


def load_detector(folder: str | os.PathLike[str]) -> Detector:
    """Read what `Detector.save` wrote. Raises CheckpointError if it is missing, torn, or of a newer format."""
    folder = Path(folder)
    try:
        about = json.loads((folder / "detector.json").read_text(encoding="utf-8"))
        if about["format"] > FORMAT:
            raise CheckpointError(
                f"{folder} has format {about['format']}; this molvae reads up to {FORMAT}. Upgrade molvae."
            )
        if file_hash(folder / "detector.safetensors") != about["tensors"]:
            raise CheckpointError(f"{folder} holds halves of two detectors, or a damaged one. Fit it again.")
        tensors = load_file(folder / "detector.safetensors")
        held_out = {method: tensors[f"held_out.{method}"] for method in METHODS}
        told = {key: value for key, value in about.items() if key not in ("format", "nll", "tensors")}
        return Detector(tensors["mean"], tensors["whitening"], tensors["neighbours"], float(about["nll"]), told, held_out)
    except OSError as error:
        raise CheckpointError(f"no detector in {folder}. Make one: molvae ood fit REFERENCE -o {folder}.") from error
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"{folder} does not hold a molvae detector (torn or foreign files). Fit it again.") from error


def kth_distance(points: np.ndarray, reference: np.ndarray, k: int) -> np.ndarray:
    """(N,) float64 Euclidean distance of points (N, D) to the k-th nearest row of `reference` (M, D); NaN for NaN."""
    sizes, found = np.square(reference).sum(1), np.empty(len(points))
    for first in range(0, len(points), _BLOCK):
        block = points[first : first + _BLOCK]
        squares = np.square(block).sum(1)[:, None] + sizes - 2.0 * block @ reference.T
        found[first : first + _BLOCK] = np.partition(squares, k - 1, axis=1)[:, k - 1]
    found[np.isnan(points).any(1)] = np.nan
    return np.sqrt(np.maximum(found, 0.0))


def p_values(scores: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """(N,) conformal p-values of scores (N,) against sorted held-out scores (n,); NaN for NaN."""
    at_least = len(held_out) - np.searchsorted(held_out, scores, side="left")
    return np.where(np.isnan(scores), np.nan, (1 + at_least) / (1 + len(held_out)))
