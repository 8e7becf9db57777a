"""`molvae generate`, and what else a trained model does: reconstruct, interpolate, neighbours, encode, decode."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from molvae.cli.running import leave_room, load_model, n_cores, write_columns
from molvae.cli.terminal import MISTAKE, plain_table, progress_bar, say
from molvae.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np

    from molvae.strings.tokens import Decoded

ModelName = Annotated[str, typer.Option("--model", "-m", help="A shipped model, or the path of a trained one.")]
Seed = Annotated[int, typer.Option("--seed", "-s", help="The same seed gives the same molecules.")]
Out = Annotated[
    str, typer.Option("--out", "-o", help="File to write (.csv .tsv .smi .sdf .parquet; text also .gz); - is CSV on stdout.")
]
SmilesColumn = Annotated[str | None, typer.Option(help="SMILES column of a table.")]

Filters = Annotated[
    list[str] | None,
    typer.Option("--filter", help='Only what passes: sane, alerts (or PAINS, BRENK, NIH), bounds: sane,alerts,"SA<=4".'),
]

Keep = Annotated[str, typer.Option(help="A core that every molecule must hold, as SMILES or SMARTS.")]

Beams = Annotated[
    int,
    typer.Option(help="Let the encoder choose among so many strings: slower, more exact; 0 decodes greedily.", min=0),
]

Unconstrained = Annotated[
    bool, typer.Option("--unconstrained", help="Let the decoder write what no molecule is written as, too.")
]

FEW = 400  # molecules below which starting worker processes costs more than it saves


def generate(
    n: Annotated[int, typer.Option("-n", help="Molecules to make.")] = 100,
    seed: Seed = 0,
    out: Out = "-",
    model: ModelName = "zinc250k",
    temperature: Annotated[float, typer.Option(help="0 writes the likeliest token; above 0 tokens are drawn.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Draw tokens from the likeliest ones that make up this share.")] = 1.0,
    prior: Annotated[str | None, typer.Option(help="The model's prior to draw from; its best one by default.")] = None,
    unique: Annotated[bool, typer.Option("--unique", help="No molecule twice.")] = False,
    novel: Annotated[bool, typer.Option("--novel", help="No molecule of the training set.")] = False,
    filter_: Filters = None,
    keep: Keep = "",
    keep_unfaithful: Annotated[
        bool, typer.Option("--keep-unfaithful", help="Keep molecules that the SELFIES grammar had to repair.")
    ] = False,
    unconstrained: Unconstrained = False,
    condition: Annotated[
        str | None, typer.Option(help="Ask a model that can be asked for property values: logP=2.5,QED=0.9.")
    ] = None,
    guidance: Annotated[
        float, typer.Option(help="How hard to pull towards the condition; 1 as trained, 2 or 3 harder.")
    ] = 1.0,
    properties: Annotated[str | None, typer.Option(help="Columns: QED,logP,SA,...; none for SMILES only.")] = None,
    max_draws: Annotated[int | None, typer.Option(help="Draw at most so many; by default 50 N + 5,000.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes for the RDKit work; by default one a core.")] = None,
) -> None:
    """Draw molecules from a trained model.

    Exactly N that pass every filter, with their properties, or a statement why not.
    """
    from molvae.data.tables import format_of, write_csv
    from molvae.generation import library
    from molvae.generation.conditioning import read_condition

    if out != "-":
        format_of(out)  # a wrong ending is told before the work, not after
    asked = None if condition is None else read_condition(condition)
    columns = library.DEFAULT_PROPERTIES
    if properties is not None:
        columns = tuple(name.strip() for name in properties.split(",") if name.strip() not in ("", "none"))
    began = time.perf_counter()
    workers = (n_cores() if n > FEW else 0) if workers is None else workers
    leave_room(workers)
    with progress_bar("molecules") as progress:
        made = library.generate(
            n,
            model=load_model(model, constrained=False) if unconstrained else model,
            seed=seed,
            prior=prior,
            temperature=temperature,
            top_p=top_p,
            unique=unique,
            novel=novel,
            filters=filter_ or [],
            keep=keep,
            keep_unfaithful=keep_unfaithful,
            properties=columns,
            max_draws=max_draws,
            workers=workers,
            progress=progress,
            condition=asked,
            guidance=guidance,
        )
    for line in made.funnel.lines():
        say(line)
    if made.condition and len(made):
        found = [[name, f"{of.target:g}", f"{of.mean:.4g}", f"{of.mae:.3g}"] for name, of in made.achieved.items()]
        say(plain_table(["asked for", "target", "mean", "mean absolute error"], found, left=(0,)))
    if out == "-":
        write_csv(sys.stdout, made.columns)
    else:
        made.save(out)
    where = "" if out == "-" else f" in {out}"
    say(f"{len(made):,} molecules{where}, {time.perf_counter() - began:.1f} s")
    if made.statement:
        say(f"molvae: {made.statement}")
        raise typer.Exit(MISTAKE)


def reconstruct(
    data: Annotated[str, typer.Argument(help="Molecules: .smi, .csv, .tsv, .sdf, .parquet, or - for SMILES on stdin.")],
    out: Out = "-",
    model: ModelName = "zinc250k",
    smiles_col: SmilesColumn = None,
    beams: Annotated[
        int | None,
        typer.Option(help="The encoder chooses among so many strings, by default 16; 0 decodes greedily.", min=0),
    ] = None,
) -> None:
    """Encode molecules and decode them again.

    Says which come back exactly.
    """
    from molvae.chem import canonical
    from molvae.data.tables import read_molecules

    molecules = read_molecules(data, smiles_col)
    loaded = load_model(model, len(molecules))
    reasons = loaded.explain(molecules.smiles)
    rows = loaded.reconstruct(molecules.smiles, beams=beams)
    exact = [d is not None and d.smiles == canonical(s) for s, d in zip(molecules.smiles, rows, strict=True)]
    write_columns(
        out,
        {
            "smiles": molecules.smiles,
            "id": molecules.ids,
            "reconstructed": [d.smiles if d else None for d in rows],
            "exact": exact,
            "faithful": [d.faithful if d else None for d in rows],
            "reason": [d.reason if d else why for d, why in zip(rows, reasons, strict=True)],
        },
    )
    say(f"{sum(exact):,} of {len(molecules):,} came back exactly (canonical isomeric SMILES).")
    _tell_rejected(Counter(why for why in reasons if why), len(molecules))


def interpolate(
    first: Annotated[str, typer.Argument(help="SMILES to start at.")],
    last: Annotated[str, typer.Argument(help="SMILES to end at.")],
    steps: Annotated[int, typer.Option(help="Points, both ends included.", min=2)] = 10,
    mode: Annotated[str, typer.Option(help="linear or spherical.")] = "linear",
    every: Annotated[bool, typer.Option("--every", help="A row for every point, repeated molecules too.")] = False,
    out: Out = "-",
    model: ModelName = "zinc250k",
) -> None:
    """Molecules between two molecules.

    Each one that is met at even steps in latent space, once, with its similarity to both ends.
    """
    path = load_model(model).interpolate(first, last, steps=steps, mode=mode, unique=not every)
    columns = {
        "position": [round(point.position, 4) for point in path],
        "similarity_first": [round(point.similarity_first, 4) for point in path],
        "similarity_last": [round(point.similarity_last, 4) for point in path],
    }
    _write_decoded(out, [point.decoded for point in path], columns)
    if not every:
        say(f"{len(path)} distinct molecules at {steps} points.")


def neighbours(
    molecule: Annotated[str, typer.Argument(help="SMILES.")],
    n: Annotated[int, typer.Option("-n", help="Molecules to find.", min=1)] = 20,
    similarity: Annotated[float, typer.Option(help="How similar they should be (Tanimoto, 0 to 1).")] = 0.6,
    sigma: Annotated[
        float | None, typer.Option(help="Instead: standard deviation of the steps away from the molecule.")
    ] = None,
    keep: Keep = "",
    seed: Seed = 0,
    out: Out = "-",
    model: ModelName = "zinc250k",
) -> None:
    """Molecules near a molecule in latent space.

    Distinct ones at about the similarity that is wanted, most similar first.
    """
    found = load_model(model).neighbours(molecule, n, similarity=similarity, sigma=sigma, seed=seed, keep=keep)
    found.sort(key=lambda near: -near.similarity)
    _write_decoded(out, [near.decoded for near in found], {"similarity": [round(near.similarity, 4) for near in found]})
    if found:
        say(f"{len(found)} molecules, {found[0].similarity:.2f} to {found[-1].similarity:.2f} similar.")
    if len(found) < n:
        wider = ("a lower --similarity" if sigma is None else "a larger --sigma") + (", or a smaller core" if keep else "")
        say(f"molvae: only {len(found)} of {n} neighbours were found. Give {wider}.")
        raise typer.Exit(MISTAKE)


def encode(
    data: Annotated[str, typer.Argument(help="Molecules: .smi, .csv, .tsv, .sdf, .parquet, or - for SMILES on stdin.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .parquet, .csv, .tsv or .npy.")],
    model: ModelName = "zinc250k",
    smiles_col: SmilesColumn = None,
) -> None:
    """Latent vectors of molecules.

    Posterior means, one row each, ids kept; what cannot be encoded is told and left out.
    """
    import numpy as np

    from molvae.data.tables import format_of, read_molecules, write_table
    from molvae.files import atomic_path

    is_array = out.suffix == ".npy"
    if not is_array and format_of(out) not in (".csv", ".tsv", ".parquet"):
        raise ConfigError(f"latent vectors cannot be written to {out}. Use .parquet, .csv, .tsv or .npy.")
    molecules = read_molecules(data, smiles_col)
    loaded = load_model(model, len(molecules))
    began = time.perf_counter()
    with progress_bar("molecules") as progress:
        z = loaded.encode(molecules.smiles, progress=progress)
    seconds = time.perf_counter() - began
    known = np.flatnonzero(~np.isnan(z).any(axis=1))
    rejected = sorted(set(range(len(z))) - set(known.tolist()))
    columns: dict[str, Any] = {
        "smiles": [molecules.smiles[i] for i in known],
        "id": [molecules.ids[i] for i in known],
    }
    if is_array:
        with atomic_path(out) as partial, partial.open("wb") as stream:
            np.save(stream, z[known])
        write_table(_ids_of(out), columns)
    else:
        write_table(out, columns | {f"z{j}": z[known, j] for j in range(z.shape[1])})
    where = f"{out}, their ids in {_ids_of(out)}" if is_array else str(out)
    say(f"{len(known):,} of {len(molecules):,} molecules encoded in {where}; {z.shape[1]} numbers each, {seconds:.1f} s.")
    reasons = loaded.explain([molecules.smiles[i] for i in rejected])
    for i, why in list(zip(rejected, reasons, strict=True))[:10]:
        say(f"  left out: {molecules.ids[i]} {molecules.smiles[i][:60]}: {why}")
    _tell_rejected(Counter(reasons), len(molecules))
    if not len(known):
        raise DataError(f"none of the {len(molecules)} molecules of {data} can be encoded.")


def decode(
    data: Annotated[Path, typer.Argument(help="Latent vectors: .parquet, .csv or .tsv with columns z0, z1, ..., or .npy.")],
    out: Out = "-",
    model: ModelName = "zinc250k",
    n: Annotated[int, typer.Option("-n", help="Molecules a point; with more than one, give a temperature.", min=1)] = 1,
    temperature: Annotated[float, typer.Option(help="0 writes the likeliest token; above 0 tokens are drawn.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Draw tokens from the likeliest ones that make up this share.")] = 1.0,
    beams: Beams = 0,
    unconstrained: Unconstrained = False,
    seed: Seed = 0,
) -> None:
    """Molecules of latent vectors.

    One row each, in order; -n of them together if several are drawn at each point.
    """
    if n > 1 and not temperature:
        raise ConfigError(f"{n} molecules a point would all be the same at temperature 0. Give --temperature, such as 0.5.")
    ids, z = _read_latents(data)
    loaded = load_model(model, n * len(z), constrained=not unconstrained)
    decoded = loaded.decode(z, n=n, temperature=temperature, top_p=top_p, seed=seed, beams=beams)
    columns: dict[str, list[Any]] = {"id": [one for one in ids for _ in range(n)]}
    if n > 1:
        columns["draw"] = [draw for _ in ids for draw in range(1, n + 1)]
    _write_decoded(out, decoded, columns)


def _write_decoded(out: str, decoded: list[Decoded], columns: dict[str, list[Any]]) -> None:
    """Rows of decoded molecules; one that is no molecule has an empty SMILES and its reason."""
    write_columns(
        out,
        {
            "smiles": [d.smiles or "" for d in decoded],
            **columns,
            "faithful": [d.faithful for d in decoded],
            "reason": [d.reason for d in decoded],
        },
    )
    n_unfaithful = sum(not d.faithful for d in decoded)
    if n_unfaithful:
        say(f"{n_unfaithful} of {len(decoded)} are not faithful: the SELFIES grammar had to repair what was written.")


def _read_latents(path: Path) -> tuple[list[str], np.ndarray]:
    import numpy as np
    import pandas

    try:
        if path.suffix == ".npy":
            z = np.load(path, allow_pickle=False)
            return _ids_beside(path, len(z)), z
        if path.suffix == ".parquet":
            frame = pandas.read_parquet(path)
        else:
            frame = pandas.read_csv(path, sep="\t" if ".tsv" in path.suffixes else ",", dtype={"id": str})
    except FileNotFoundError as error:
        raise DataError(f"no file {path}. Check the path.") from error
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is not a table of latent vectors ({str(error).splitlines()[0]}).") from error
    columns = [name for name in frame.columns if name[:1] == "z" and name[1:].isdigit()]
    if not columns:
        raise DataError(f"{path} has no columns z0, z1, ... Give a file that `molvae encode` wrote.")
    ids = frame["id"].astype(str).tolist() if "id" in frame.columns else [str(i) for i in range(1, len(frame) + 1)]
    return ids, frame[sorted(columns, key=lambda name: int(name[1:]))].to_numpy(np.float32, copy=True)


def _ids_of(path: Path) -> Path:
    """Where the ids of an array of latents are: an array has no room for them."""
    return path.with_suffix(".ids.csv")


def _ids_beside(path: Path, n: int) -> list[str]:
    """The ids that `encode` wrote beside an array, or row numbers if it lies alone. Raises DataError if they do not fit."""
    import pandas

    if not _ids_of(path).exists():
        return [str(i) for i in range(1, n + 1)]
    ids = pandas.read_csv(_ids_of(path), dtype=str, keep_default_na=False)["id"].tolist()
    if len(ids) != n:
        raise DataError(f"{path} has {n} rows, and {_ids_of(path)} has {len(ids)} ids. Encode again, or move one away.")
    return ids


def _tell_rejected(reasons: Counter[str], n: int) -> None:
    for reason, count in reasons.most_common(5):
        say(f"  {count:,} of {n:,} rejected: {reason}")
