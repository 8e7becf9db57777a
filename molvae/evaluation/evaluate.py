"""evaluate(): the figures of a library of molecules, or of a model, whose samples are measured like any library.

To those of its samples a model adds exact reconstruction (`evaluation/reconstruction.py`), and what its latent space carries
(`evaluation/channel.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from molvae.data.tables import FORMATS, Layout, block_smiles, opened, read_molecules, read_rows, reading, stated_layout
from molvae.errors import ConfigError, DataError
from molvae.evaluation.library import SAMPLE, Known, Rows, StageProgress, library_scorecard
from molvae.evaluation.scorecard import Scorecard
from molvae.strings.tokens import Decoded

if TYPE_CHECKING:
    from molvae.generation.model import Model

Source = str | os.PathLike[str] | Sequence[str]


def evaluate(
    subject: str | os.PathLike[str] | Sequence[Decoded | str | None] | Model,
    *,
    reference: Source | None = None,
    test: Source | None = None,
    column: str | None = None,
    n: int = 10_000,
    seed: int = 0,
    prior: str | None = None,
    sample: int = SAMPLE,
    fcd: bool = True,
    device: str = "auto",
    workers: int = 0,
    progress: StageProgress | None = None,
) -> Scorecard:
    """Measure a library of molecules, or a model.

    Parameters
    ----------
    subject: a file of molecules (.smi, .csv, ..., "-" for standard input), or SMILES, or what `Model.sample` returned: a
        library. Anything else is a model: its name, the path of a trained one, or a loaded one.
    reference: file or SMILES of the training set. A model knows its own by hash; the KL score still needs the molecules.
    test: file or SMILES of molecules that no training saw; a model also reconstructs them.
    column: the SMILES column of all files that are tables.
    n, seed, prior: how many molecules a model draws, the seed of the draws, and from which prior.
    sample: molecules of each side for the KL score and the FCD.  fcd: whether to measure the FCD, the slowest figure.
    device: for the network and the FCD.  workers: extra processes for the RDKit work; a script that uses them must call this
        under `if __name__ == "__main__":`. The figures do not depend on them.
    progress: called with (stage, done, total); the total is 0 while it is unknown.

    Raises DataError for a set that cannot be read or has no valid molecule, CheckpointError for a model that cannot be
    loaded, ConfigError for wrong settings.

    >>> card = evaluate("library.csv", reference="train.smi", test="test.smi")      # doctest: +SKIP
    >>> card.values["snn"], card.reasons.get("fcd")                                  # doctest: +SKIP
    """
    if device != "auto":
        from molvae.generation.model import pick_device

        pick_device(device)  # a wrong one is told before the work, not after
    sets = {"reference": None if reference is None else rows_of(reference, column, "reference")}
    settings = {"sample": sample, "fcd": fcd, "device": device, "workers": workers, "progress": progress}
    if is_library(subject):
        sets["test"] = None if test is None else rows_of(test, column, "test set")
        return library_scorecard(rows_of(subject, column, "library"), **sets, **settings)  # type: ignore[arg-type]
    if n < 1:
        raise ConfigError(f"n is {n}; draw at least 1 molecule.")
    if isinstance(subject, str | os.PathLike):
        from molvae.generation.model import load

        subject = load(subject, device=device, workers=workers)
    held = None if test is None else list(rows_of(test, column, "test set"))
    return _model_scorecard(subject, n, seed, prior, held, sets["reference"], settings)  # type: ignore[arg-type]


def is_library(subject: object) -> bool:
    """Whether `evaluate` takes it for a library: "-", a file of a format of molecules, or a sequence of them."""
    if isinstance(subject, str | os.PathLike):
        name = Path(subject).name.lower().removesuffix(".gz")
        return str(subject) == "-" or (Path(name).suffix in FORMATS and not Path(subject).is_dir())
    return isinstance(subject, Sequence)


def rows_of(source: object, column: str | None, name: str) -> Rows:
    """The SMILES of a file as they come, or the given ones. Raises DataError for a file that holds none."""
    if isinstance(source, str | os.PathLike):
        return iter(read_molecules("-").smiles) if str(source) == "-" else _file_rows(source, column)
    if not isinstance(source, Iterable) or not source:
        raise DataError(f"the {name} holds no molecules. Give at least one SMILES.")
    return source


def _file_rows(path: str | os.PathLike[str], column: str | None) -> Iterator[str]:
    layout = stated_layout(path, column)
    if layout.ending != ".parquet":
        with reading(path), opened(path):  # a missing file is told before the work on the other sets, not after
            pass
    return _read(path, layout)


def _read(path: str | os.PathLike[str], layout: Layout) -> Iterator[str]:
    is_sdf = layout.ending == ".sdf"
    n = 0
    for row in read_rows(path, layout):
        if row.text or is_sdf:
            n += 1
            yield block_smiles(row.text) if is_sdf else row.text
    if not n:
        raise DataError(f"{path} holds no molecules. Give a file with one molecule a row.")


def _model_scorecard(
    model: Model,
    n: int,
    seed: int,
    prior: str | None,
    test: list[str] | None,
    reference: Rows | None,
    settings: dict[str, object],
) -> Scorecard:
    from molvae.evaluation.channel import channel
    from molvae.evaluation.reconstruction import reconstruction

    hear: StageProgress = settings["progress"] or (lambda stage, done, total: None)  # type: ignore[assignment]
    hear("samples", 0, n)
    samples = model.sample(n, seed=seed, prior=prior)
    known = Known(lambda text: bool(model.is_training_molecule([text])[0]), model.ring_systems or None)
    card = library_scorecard(
        samples,
        reference=reference,
        test=test,
        known=known,
        **settings,  # type: ignore[arg-type]
    )
    values = dict(card.values)
    if test is not None:
        for kind in ("mean", "sample"):
            stage = f"reconstruction from the {kind}"
            found = reconstruction(
                model, test, sample=kind == "sample", seed=seed, progress=lambda done, total, s=stage: hear(s, done, total)
            )
            values[f"exact_{kind}"] = found.exact
            if kind == "mean":
                values["stereo_free_mean"], values["unencodable"] = found.stereo_free, float(found.unencodable)
        carried = channel(model, test, seed=seed)
        values |= {name: getattr(carried, name) for name in ("nll", "rate", "active_units")}
    about = {"model": model.name, "prior": prior or next(iter(model.priors), "normal"), "seed": seed, **card.about}
    return replace(card, values=values, about=about)
