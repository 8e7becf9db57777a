"""`molvae train`, `molvae fit-prior` and `molvae doctor`."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

import molvae
from molvae.cli.generation import ModelName, Seed, SmilesColumn
from molvae.cli.running import n_cores
from molvae.cli.terminal import INTERRUPTED, MISTAKE, plain_table, say, stages

PACKAGES = ("torch", "rdkit", "selfies", "botorch", "gpytorch", "numpy", "pandas", "pyarrow")


def train(
    data: Annotated[
        Path, typer.Argument(help="Molecules to learn from: .smi, .csv, .tsv, .sdf, .parquet, or a prepared data set.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The run directory; the same command continues a stopped run.")],
    config: Annotated[Path | None, typer.Option("--config", "-c", help="TOML with tables data, model, training.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="One setting: --set training.molecules=500000.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="A variant of the VAE by name: info_vae, fsq_vae, ladder_vae, ...")
    ] = None,
    fine_tune: Annotated[
        str | None, typer.Option("--fine-tune", help="Go on from this model (shipped or trained), on 50 to 5,000 molecules.")
    ] = None,
    smiles_col: SmilesColumn = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    workers: Annotated[int | None, typer.Option(help="Processes that tokenise; by default one a core.")] = None,
) -> None:
    """Train a model on molecules, or fine-tune one.

    The result is a checkpoint folder that every other verb can use. Commented examples of every setting: docs/configs/.
    Several processes or GPUs: torchrun --nproc-per-node 2 -m molvae train ...
    """
    from molvae.cli.training_display import training_display
    from molvae.config import override, read_toml
    from molvae.training.experiment import train as run_training

    changes = [*(set_ or []), *([f"model.name={model}"] if model else [])]
    table = override(read_toml(config) if config else {}, changes)
    is_first = os.environ.get("RANK", "0") == "0"
    if not is_first:
        logging.getLogger("molvae").setLevel(logging.ERROR)  # what the first process says is enough
    with training_display(silent=not is_first) as (progress, evaluated):
        try:
            trained = run_training(
                data,
                out,
                config=table,
                fine_tune=fine_tune,
                column=smiles_col,
                device=device,
                workers=n_cores() if workers is None else workers,
                progress=progress,
                evaluated=evaluated,
            )
        except KeyboardInterrupt:
            say(f"molvae: stopped; the state is saved in {out}. Run the same command to continue.")
            raise typer.Exit(INTERRUPTED) from None
    if not is_first:
        return
    say(f"Checkpoint: {out / 'checkpoint'}   (molvae generate --model {out})")
    say(f"{trained.card['data']['rows']:,} molecules learned from, {trained.card.get('molecules_shown', 0):,} shown.")
    if tuned := trained.card.get("fine_tuning"):
        names = {"before": "samples before", "after": "samples after", "held_out": "molecules held back"}
        rows = [
            [name, f"{of['n']:,}", f"{of['exact']:.1%}", f"{of['near']:.1%}", f"{of['median_similarity']:.2f}"]
            for name, of in ((name, tuned.get(key)) for key, name in names.items())
            if of and of["n"]
        ]
        header = ["memorised", "n", "training molecules", "0.9 similar or more", "median similarity"]
        say(plain_table(header, rows, left=(0,)))
        say(f"Each sample with its similarity to the nearest training molecule: {out / 'memorisation.csv'}")


def fit_prior(
    data: Annotated[
        Path, typer.Argument(help="Molecules, best those of the training: .smi, .csv, .sdf, ..., or a prepared data set.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="A new folder, or the model's own, which gets one more prior."),
    ],
    model: ModelName = "zinc250k",
    prior: Annotated[str, typer.Option(help="flow, mixture, gaussian, or of models of codes codes.")] = "flow",
    ask: Annotated[str, typer.Option(help="Properties that it can be asked for: logP,QED,MW. Of flow alone.")] = "",
    set_: Annotated[list[str] | None, typer.Option("--set", help="A setting of the prior: --set steps=20000.")] = None,
    smiles_col: SmilesColumn = None,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    workers: Annotated[int | None, typer.Option(help="Processes for the RDKit work; by default one a core.")] = None,
) -> None:
    """Fit a prior to a trained model.

    Where its latents for new molecules come from; the model itself stays as it is. A prior fitted with --ask draws molecules
    of wanted properties: molvae generate --model OUT --condition logP=2.5.
    """
    from molvae.config import override
    from molvae.training.second_stage import fit_prior as fit

    names = tuple(name.strip() for name in ask.split(",") if name.strip())
    with stages() as progress:
        fitted = fit(
            model,
            data,
            prior,
            out=out,
            properties=names,
            settings=override({}, set_ or []),
            column=smiles_col,
            device=device,
            workers=n_cores() if workers is None else workers,
            seed=seed,
            progress=progress,
        )
    about = fitted.card["priors"][prior]
    more = f", {about['left_out']:,} left out, which cannot be encoded" if about["left_out"] else ""
    say(f"{prior} prior of {about['data']['rows']:,} molecules{more}.")
    asking = "".join(f" --condition {name}={about['properties'][name]['mean']:.3g}" for name in names[:1])
    say(f"Checkpoint: {out}   (molvae generate --model {out} --prior {prior}{asking})")


def doctor() -> None:
    """Check versions, device, models, places.

    Exit code 1 if something that molvae needs is wrong.
    """
    import platform
    import tempfile
    from importlib.metadata import PackageNotFoundError, version

    from molvae.checkpoint import PRETRAINED
    from molvae.errors import MolvaeError
    from molvae.generation.model import pick_device

    faults = []
    machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    lines = [("molvae", f"{molvae.__version__}, {machine}")]
    for name in PACKAGES:
        try:
            lines.append((name, version(name)))
        except PackageNotFoundError:
            lines.append((name, "not installed"))
            faults.append(f"{name} is not installed. Run: pip install -c constraints.txt .")
    lines.append(("cores", str(n_cores())))
    lines.append(("device", str(pick_device("auto"))))
    folders = sorted(path.parent for path in PRETRAINED.glob("*/card.json"))
    if not folders:
        faults.append(f"no model is shipped in {PRETRAINED}. Reinstall molvae, or give --model PATH to every verb.")
    for folder in folders:
        try:
            loaded = molvae.load(folder)
            size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
            lines.append((f"model {folder.name}", f"loads; {size:.1f} MiB, latent size {loaded.latent_size}"))
        except MolvaeError as error:
            lines.append((f"model {folder.name}", "does not load"))
            faults.append(str(error))
    for what, place in (("this directory", Path.cwd()), ("temporary files", Path(tempfile.gettempdir()))):
        is_writable = os.access(place, os.W_OK)
        lines.append((what, f"{place}, {'writable' if is_writable else 'NOT writable'}"))
        if not is_writable:
            faults.append(f"{place} is not writable. Run molvae elsewhere, or give -o.")
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        print(f"{name:<{width}}  {text}")
    if faults:
        sys.stdout.flush()
        for fault in faults:
            say(f"molvae: {fault}")
        raise typer.Exit(MISTAKE)
    print("all good")
