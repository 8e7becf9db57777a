"""`molvae ood`: what is foreign to a set of molecules. `molvae compress` and `decompress`: files of them, packed.
`molvae probe`: what latents tell of a property. `molvae map`: a map of latents. `molvae augment`: more rows for a small
data set. `molvae disentangle`: whether one coordinate means one property.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from molvae.cli.generation import ModelName, Out, Seed, SmilesColumn
from molvae.cli.running import load_model, write_columns
from molvae.cli.terminal import Verbs, plain_table, progress_bar, say, stages
from molvae.errors import ConfigError

ood = typer.Typer(
    cls=Verbs, no_args_is_help=True, rich_markup_mode=None, help="Tell molecules that are foreign to a set of molecules."
)

File = Annotated[str, typer.Argument(help="Molecules: .smi, .csv, .tsv, .sdf, .parquet, or - for SMILES on stdin.")]
UNUSUAL = 0.05  # a p-value below which a molecule is counted as foreign


@ood.command("fit")
def fit(
    reference: File,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the detector.")],
    model: ModelName = "zinc250k",
    neighbour: Annotated[int, typer.Option("--neighbour", "-k", help="Which nearest neighbour's distance counts.")] = 10,
    smiles_col: SmilesColumn = None,
    seed: Seed = 0,
) -> None:
    """Learn what is usual.

    From molecules that are usual; a fifth of them is held out, for p-values.
    """
    from molvae.data.tables import read_molecules
    from molvae.files import writable_folder
    from molvae.uses.ood import fit_detector

    molecules = read_molecules(reference, smiles_col)
    writable_folder(out)
    loaded = load_model(model, len(molecules))
    with progress_bar("molecules") as progress:
        detector = fit_detector(molecules.smiles, model=loaded, k=neighbour, seed=seed, progress=progress)
    detector.about["model"] = model
    detector.save(out)
    about = detector.about
    say(f"Detector: {out}   (molvae ood score {out} FILE)")
    say(f"{about['reference']:,} molecules; {about['held_out']:,} held out, {about['unencodable']:,} cannot be encoded.")


@ood.command("score")
def score(
    detector: Annotated[Path, typer.Argument(help="A folder that `molvae ood fit` wrote.")],
    data: File,
    out: Out = "-",
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The detector's model, if it is not where it was.")
    ] = None,
    smiles_col: SmilesColumn = None,
) -> None:
    """How foreign molecules are.

    Four scores each, larger is more foreign, and their p-values; a molecule that cannot be encoded has none, and a reason.
    """
    from molvae.data.tables import format_of, read_molecules
    from molvae.uses.ood import METHODS, load_detector

    if out != "-":
        format_of(out)
    fitted = load_detector(detector)
    molecules = read_molecules(data, smiles_col)
    loaded = load_model(str(fitted.about["model"]) if model is None else model, len(molecules))
    with progress_bar("molecules") as progress:
        found = fitted.score(molecules.smiles, loaded, progress)
    columns: dict[str, list[Any]] = {"smiles": molecules.smiles, "id": molecules.ids}
    for method in METHODS:
        columns[method] = [round(float(value), 4) for value in found.scores[method]]
        columns[f"{method}_p"] = [round(float(value), 5) for value in found.p_values[method]]
    write_columns(out, columns | {"reason": found.reasons})
    n_known = sum(not reason for reason in found.reasons)
    counts = ", ".join(f"{method} {int((found.p_values[method] < UNUSUAL).sum()):,}" for method in METHODS)
    say(f"p < {UNUSUAL} for so many of {n_known:,}: {counts}.")
    for reason, count in Counter(reason for reason in found.reasons if reason).most_common(5):
        say(f"  {count:,} of {len(molecules):,} without a score: {reason}")


def compress(
    data: File,
    out: Annotated[Path, typer.Option("--out", "-o", help="The packed file.")],
    model: ModelName = "zinc250k",
    smiles_col: SmilesColumn = None,
) -> None:
    """Pack a file of molecules.

    What comes back is the canonical isomeric SMILES of every molecule, in order; names are not kept. The file can only be
    read with the same model, on a machine that computes alike (see docs/uses.md); it is read once before this command ends.
    """
    from molvae.data.tables import read_molecules
    from molvae.uses.compression import compress as pack

    molecules = read_molecules(data, smiles_col)
    loaded = load_model(model, len(molecules), device="cpu")
    loaded.name = model
    with stages() as progress:
        packed = pack(molecules.smiles, out, model=loaded, progress=progress)
    plain = sum(len(text.encode()) + 1 for text in molecules.smiles)
    say(f"{packed.molecules:,} molecules in {out}: {packed.size:,} bytes, {packed.bits:.1f} bits each; {plain:,} as text.")
    if packed.as_text:
        say(f"  {packed.as_text:,} of them as text: the model's vocabulary cannot write them.")


def decompress(
    data: Annotated[Path, typer.Argument(help="A file that `molvae compress` wrote.")],
    out: Out = "-",
    model: Annotated[str | None, typer.Option("--model", "-m", help="The file's model, if it is not where it was.")] = None,
) -> None:
    """Unpack a file of molecules."""
    from molvae.data.tables import format_of
    from molvae.uses.compression import decompress as unpack

    if out != "-":
        format_of(out)
    with stages() as progress:
        smiles = unpack(data, model=model, progress=progress)
    write_columns(out, {"smiles": smiles})
    say(f"{len(smiles):,} molecules.")


def probe(
    data: Annotated[
        Path, typer.Argument(help="A table of molecules with values: .csv, .tsv (each optionally .gz), .parquet.")
    ],
    target: Annotated[str, typer.Option(help="The column of the values to predict.")],
    split: Annotated[str, typer.Option(help="scaffold, random, or both with a comma.")] = "scaffold,random",
    seeds: Annotated[int, typer.Option(help="Splits of each kind.")] = 5,
    test: Annotated[float, typer.Option(help="Share of the rows that is predicted.")] = 0.2,
    gp_rows: Annotated[int, typer.Option(help="Training rows of the Gaussian process; 0 leaves it out.")] = 1000,
    model: ModelName = "zinc250k",
    smiles_col: SmilesColumn = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write every seed's figures to this .csv file.")] = None,
) -> None:
    """How much of a property latents tell.

    Ridge regression and a Gaussian process on latents, beside fingerprints and descriptors, on the same splits: test R2 and
    RMSE, mean and standard deviation over the seeds.
    """
    from molvae.benchmark.tabulate import spread, write_csv
    from molvae.uses.probing import probe as run
    from molvae.uses.probing import read_labelled

    if out is not None and out.suffix.lower() != ".csv":
        raise ConfigError(f"the figures are written as CSV, and {out} does not end so. Give -o NAME.csv.")
    labelled = read_labelled(data, target, smiles_col)
    loaded = load_model(model, len(labelled.smiles))
    names = [name.strip() for name in split.split(",") if name.strip()]
    with stages() as progress:
        results = run(
            labelled, model=loaded, splits=names, seeds=seeds, test=test, gp_rows=gp_rows, progress=progress
        )  # fmt: skip
    for reason, count in labelled.left_out.most_common():
        if count:
            say(f"  {count:,} rows left out: {reason}")
    if out is not None:
        rows = [
            {"representation": one.representation, "regressor": one.regressor, "split": one.split, "seed": seed, "r2": r2,
             "rmse": rmse, "n_train": one.n_train, "n_test": one.n_test}
            for one in results for seed, (r2, rmse) in enumerate(zip(one.r2, one.rmse, strict=True))
        ]  # fmt: skip
        write_csv(out, rows)
    header = ["split", "representation", "regressor", "learned from", "R2", "RMSE"]
    lines = [
        [one.split, one.representation, one.regressor, f"{one.n_train:,}", spread(one.r2, 3), spread(one.rmse, 3)]
        for one in results
    ]
    print(plain_table(header, lines, left=(0, 1, 2)))


def map_(
    data: File,
    out: Annotated[Path, typer.Option("--out", "-o", help="The map: .png, or .html to look around in.")],
    color: Annotated[
        str,
        typer.Option("--color", "--colour", help="A property (logP, QED, SA, ...), or a column of numbers of the table."),
    ] = "logP",
    method: Annotated[str, typer.Option(help="pca or tsne.")] = "pca",
    seed: Seed = 0,
    model: ModelName = "zinc250k",
    smiles_col: SmilesColumn = None,
) -> None:
    """Draw a map of molecules.

    Their latents in two dimensions, coloured by a property. The page loads nothing from elsewhere.
    """
    from molvae.data.tables import read_molecules
    from molvae.files import write_text
    from molvae.report.page import write_bytes
    from molvae.uses.latent_map import colour_column, latent_map, map_html, map_png

    ending = out.suffix.lower()
    if ending not in (".png", ".html"):
        raise ConfigError(f"a map is a .png or an .html file, and {out} does not end so. Give -o NAME.png.")
    molecules = read_molecules(data, smiles_col)
    values = colour_column(data, color, smiles_col)
    loaded = load_model(model, len(molecules))
    drawn = latent_map(
        molecules.smiles,
        color=color if values is None else values,
        label="" if values is None else color,
        ids=molecules.ids,
        model=loaded,
        method=method,
        seed=seed,
    )
    if ending == ".png":
        write_bytes(out, map_png(drawn))
    else:
        write_text(out, map_html(drawn))
    say(f"{len(drawn.smiles):,} molecules in {out}; {drawn.axes[0]}, {drawn.axes[1]}.")
    for reason, count in drawn.left_out.most_common(5):
        say(f"  {count:,} of {len(molecules):,} left out: {reason}")


def augment(
    data: Annotated[Path, typer.Argument(help="A table of labelled molecules: .csv, .tsv (each optionally .gz), .parquet.")],
    label_col: Annotated[str, typer.Option(help="The column of the labels: numbers or text.")],
    n: Annotated[int, typer.Option("-n", help="Neighbours of each molecule, at most.", min=1)] = 5,
    similarity: Annotated[
        float, typer.Option(help="The smallest to the molecule whose label is taken (Tanimoto, 0 to 1).")
    ] = 0.5,
    hold_out: Annotated[
        Path | None, typer.Option(help="A file of molecules that no neighbour may be: the test set.")
    ] = None,
    shrink: Annotated[
        float, typer.Option(help="Draw a neighbour's label to the mean: 0 not at all, 1 as its similarity is.")
    ] = 0.0,
    seed: Seed = 0,
    model: ModelName = "zinc250k",
    smiles_col: SmilesColumn = None,
    out: Out = "-",
) -> None:
    """More rows for a small data set.

    Each labelled molecule, and molecules near it in latent space with its label. Split first, by molecules, and augment the
    training part only: a neighbour tells a test what its parent's label is.
    """
    from molvae.data.tables import format_of, read_molecules
    from molvae.uses.augmentation import augment as run
    from molvae.uses.augmentation import read_labels

    if out != "-" and format_of(out) in (".smi", ".txt"):
        raise ConfigError(f"{out} has no room for labels. Give -o NAME.csv, .tsv, .sdf or .parquet.")
    if label_col in ("smiles", "parent", "similarity", "source"):
        raise ConfigError(
            f"{label_col!r} is a column of what is written, and cannot be the labels' name. Rename the column."
        )
    smiles, labels = read_labels(data, label_col, smiles_col)
    held_out = read_molecules(hold_out, smiles_col).smiles if hold_out is not None else []
    loaded = load_model(model, 8 * len(smiles))
    with stages() as progress:
        made = run(
            smiles, labels, n=n, model=loaded, similarity=similarity, held_out=held_out, shrink=shrink, seed=seed,
            progress=progress,
        )  # fmt: skip
    write_columns(
        out,
        {
            "smiles": made.smiles,
            label_col: made.labels,
            "parent": made.parents,
            "similarity": [round(value, 4) for value in made.similarity],
            "source": made.sources,
        },
    )
    n_input = len(made.smiles) - made.n_new
    say(f"{n_input:,} molecules and {made.n_new:,} neighbours; {made.short:,} molecules have fewer than {n}.")
    for reason, count in made.left_out.most_common():
        say(f"  {count:,} rows left out: {reason}")
    if made.unencodable:
        say(f"  {made.unencodable:,} molecules have none: the model cannot encode them.")
    if made.unknown_held_out:
        say(f"molvae: {made.unknown_held_out:,} rows of {hold_out} are no valid SMILES, so nothing is kept from being one.")
    if made.also_held_out:
        say(f"molvae: {made.also_held_out:,} molecules of {data} are in {hold_out}, too. Take them out of one of the two.")


def disentangle(
    model: Annotated[str, typer.Argument(help="A shipped model, or the path of a trained one.")],
    data: Annotated[
        str, typer.Option("--data", help="Molecules: .smi, .csv, .tsv, .sdf, .parquet, or - for SMILES on stdin.")
    ],
    properties: Annotated[str, typer.Option(help="Properties to tell apart, with commas.")] = "logP,TPSA,MW,QED,SA,rings",
    importance: Annotated[str, typer.Option(help="What DCI asks how important a coordinate is: lasso or forest.")] = "lasso",
    bins: Annotated[int, typer.Option(help="Bins of mutual information.")] = 20,
    rotations: Annotated[int, typer.Option(help="Random rotations to compare with.")] = 3,
    seed: Seed = 0,
    smiles_col: SmilesColumn = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write every property's figures to this .csv file.")
    ] = None,
) -> None:
    """Whether one latent coordinate means one property.

    MIG and DCI of latents against RDKit's properties, beside principal components, random rotations and fingerprints.
    """
    import numpy as np

    from molvae.benchmark.tabulate import write_csv
    from molvae.data.tables import read_molecules
    from molvae.uses.disentanglement import disentangle as run

    if out is not None and out.suffix.lower() != ".csv":
        raise ConfigError(f"the figures are written as CSV, and {out} does not end so. Give -o NAME.csv.")
    molecules = read_molecules(data, smiles_col)
    loaded = load_model(model, len(molecules))
    names = [name.strip() for name in properties.split(",") if name.strip()]
    settings = {"importance": importance, "bins": bins, "rotations": rotations, "seed": seed}
    with stages() as progress:
        found = run(molecules.smiles, model=loaded, names=names, progress=progress, **settings)
    if out is not None:
        write_csv(out, [{"representation": one.representation, **row} for one in found.rows for row in one.by_property()])
    say(f"{found.n:,} molecules, {len(found.rows[0].properties)} properties.")
    for reason, count in found.left_out.most_common(5):
        say(f"  {count:,} of {len(molecules):,} left out: {reason}")
    lines = [
        [one.representation, str(one.codes), f"{one.mig:.3f}", f"{one.disentanglement:.3f}",
         f"{np.mean(one.completeness):.3f}", f"{np.mean(one.r2):.3f}"]
        for one in found.rows
    ]  # fmt: skip
    print(plain_table(["representation", "codes", "MIG", "disentanglement", "completeness", "R2"], lines, left=(0,)))
    for one in found.rows:
        if untold := [name for name, value in zip(one.properties, one.completeness, strict=True) if np.isnan(value)]:
            say(f"  No code of {one.representation} matters to {', '.join(untold)}: completeness has no value there.")
