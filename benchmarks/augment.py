"""Does `molvae augment` help a property model that has few labels? Beside SMILES enumeration, and beside nothing.

    python benchmarks/augment.py --data FOLDER                   # six minutes on one core

FOLDER holds `esol.csv.gz` and `lipo.csv.gz` (MoleculeNet, Wu et al. 2018). Of each set, up to 1,128 random molecules that
the model can encode. A seed chooses a fifth of them for the test, and 50, 100 and 500 others as the labelled ones. Each
labelled molecule gets up to five neighbours, none of which is in the set. Three models of a property:

    forest    50 random regression trees on ECFP4 bits (Breiman 2001), sqrt(2048) bits tried at a split
    latents   ridge regression on posterior means
    n-grams   ridge regression on log(1 + count) of the 1 to 4 characters long parts of the SMILES string, hashed to 512

What enumeration (Bjerrum 2017, arXiv 1703.07076: other SMILES of a molecule) can change depends on what a model reads. ECFP4
is the same for all of them, so there it means copies, which only change the bootstrap of the forest: with them, each tree
sees nearly all molecules. Latents of other strings differ, but the encoder of the shipped model has only been trained on
canonical ones. N-grams read the string as it is: that is the field on which enumeration is at home. "averaged" also predicts
for five other strings of each test molecule.

A ridge penalty is chosen on a fifth of the labelled molecules, the same ones in all rows; their neighbours and other strings
are held back with them, and the error counts their own rows only. So nothing is judged by a label that it was given.

Change: RMSE with augmentation - RMSE without, on the same molecules; its mean over the seeds and the standard error of that
mean, which says nothing about other data sets.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, data_option, provenance, run_script, show_progress, table, write_csv
from sklearn.ensemble import RandomForestRegressor
from sklearn.feature_extraction.text import HashingVectorizer

import molvae
from molvae.chem import parse, random_smiles
from molvae.chem.fingerprints import count_fingerprints
from molvae.data.datasets import TokenTable
from molvae.errors import DataError
from molvae.evaluation.reconstruction import without_stereo
from molvae.files import file_hash
from molvae.generation.model import Model
from molvae.randomness import child_seed, stream
from molvae.uses.augmentation import Near, neighbourhoods, once, relabelled
from molvae.uses.probing import Labelled, read_labelled, scores
from molvae.uses.regression import ALPHAS, ridges, scaled

SETS = {"ESOL": ("esol.csv.gz", "measured log solubility in mols per litre"), "lipophilicity": ("lipo.csv.gz", "exp")}
MODELS = ("forest", "latents", "n-grams")
ARMS = ("none", "enumeration", "enumeration, averaged", "neighbours", "neighbours, shrunk")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data_option(parser)
    parser.add_argument("--model", default="zinc250k")
    parser.add_argument("--molecules", type=int, default=1128, help="of each set")
    parser.add_argument("--labels", type=int, nargs="+", default=[50, 100, 500])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("-n", type=int, default=5, help="neighbours, and other strings, of each molecule")
    parser.add_argument("--similarity", type=float, default=0.5)
    parser.add_argument("--only", choices=SETS, help="one data set")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "augment.csv")
    return parser.parse_args()


class Task:
    """A data set with all that any seed needs: neighbours, other strings, and the features of all of them."""

    def __init__(self, labelled: Labelled, model: Model, n: int, similarity: float, limit: int) -> None:
        kept_away = {without_stereo(text) or text for text in labelled.smiles}
        known = np.flatnonzero(~np.isnan(model.encode(labelled.smiles)[:, 0]))
        self.unencodable = len(labelled.smiles) - len(known)
        chosen = np.sort(stream(0, "augment", "molecules").permutation(known)[:limit])
        self.smiles, self.y = [labelled.smiles[i] for i in chosen], labelled.values[chosen]
        bar = show_progress("neighbours")
        settings = {"similarity": similarity, "excluded": kept_away, "progress": lambda _, done, total: bar(done, total)}
        self.near = [near or [] for near in neighbourhoods(model, self.smiles, n, **settings)]
        drawn = [random_smiles(parse(text), n, child_seed(0, "augment", text)) for text in self.smiles]
        self.strings = [[s for s in one if model.vocabulary.encode(s, as_written=True)[0]] for one in drawn]
        new = list(dict.fromkeys(one.smiles for near in self.near for one in near))
        self.place = {text: len(self.smiles) + i for i, text in enumerate(new)}  # of a neighbour's features
        z = model.encode([*self.smiles, *new]).astype(np.float64)
        self.readable = {text for text, i in self.place.items() if not np.isnan(z[i, 0])}
        mols = [parse(text) for text in (*self.smiles, *new)]
        bits = (count_fingerprints(mols, "morgan2") > 0).astype(np.float32)
        self.features = {"forest": bits, "latents": z, "n-grams": n_grams([*self.smiles, *new])}
        flat = [text for texts in self.strings for text in texts]
        self.written = {"latents": latents_as_written(model, flat), "n-grams": n_grams(flat)}
        ends = np.cumsum([len(texts) for texts in self.strings])
        self.spans = [range(end - len(texts), end) for end, texts in zip(ends.tolist(), self.strings, strict=True)]

    def evaluate(self, size: int, seed: int) -> tuple[dict[tuple[str, str], float], float]:
        """RMSE of each model and arm on the test molecules of a seed, and the mean number of neighbours."""
        order = stream(seed, "augment", "split").permutation(len(self.y))
        n_test = len(order) // 5
        test, train = order[:n_test], order[n_test : n_test + size]
        if len(train) < size:
            raise DataError(f"there are {len(train)} molecules beside the test, fewer than {size}. Give fewer --labels.")
        lists = once([[one for one in self.near[i] if one.smiles in self.readable] for i in train])
        errors = {}
        for model in MODELS:
            for arm in ARMS:
                if (model, arm) != ("forest", "enumeration, averaged"):
                    found = self._predict(model, arm, train, test, lists, seed)
                    errors[model, arm] = scores(self.y[test], found)[1]
        return errors, float(np.mean([len(near) for near in lists]))

    def _predict(
        self, model: str, arm: str, train: np.ndarray, test: np.ndarray, lists: Sequence[Sequence[Near]], seed: int
    ) -> np.ndarray:
        """(m,) predictions for the test molecules."""
        own, y = self.features[model], self.y[train]
        parents, labels, extra = np.arange(len(train)), y, own[:0]
        if arm.startswith("neighbours"):
            values = relabelled(y.tolist(), lists, float(arm.endswith("shrunk")))
            extra = own[[self.place[one.smiles] for near in lists for one in near]]
            parents = np.append(parents, np.repeat(parents, [len(near) for near in lists]))
            labels = np.append(labels, [label for of_one in values for label in of_one[1:]])
        elif arm != "none":
            spans = [self.spans[i] for i in train]
            if model == "forest":
                extra = np.repeat(own[train], [len(span) for span in spans], axis=0)
            else:
                extra = self.written[model][[place for span in spans for place in span]]
            repeated = np.repeat(parents, [len(span) for span in spans])
            parents, labels = np.append(parents, repeated), np.append(labels, y[repeated])
        x = np.concatenate([own[train], extra])
        if model == "forest":
            forest = RandomForestRegressor(50, max_features="sqrt", random_state=child_seed(seed, "augment") % 2**32)
            return forest.fit(x, labels).predict(own[test])
        if not arm.endswith("averaged"):
            return grouped_ridge(x, labels, parents, own[test], seed, model == "latents")
        spans = [self.spans[i] for i in test]
        asked = np.concatenate([own[test], self.written[model][[place for span in spans for place in span]]])
        found = grouped_ridge(x, labels, parents, asked, seed, model == "latents")
        of = np.append(np.arange(len(test)), np.repeat(np.arange(len(test)), [len(span) for span in spans]))
        return np.bincount(of, found) / np.bincount(of)


def grouped_ridge(x: np.ndarray, y: np.ndarray, parents: np.ndarray, test: np.ndarray, seed: int, scale: bool) -> np.ndarray:
    """Ridge predictions; the penalty is that of the least error on own rows of a fifth of the parents.

    parents: (n,) the number of each row's molecule; the first rows are the molecules' own, in order.
    """
    n = int(parents.max()) + 1
    held_back = stream(seed, "augment", "ridge").permutation(n)[: max(1, n // 5)]
    learned = ~np.isin(parents, held_back)
    if scale:
        inner, judged = scaled(x[learned], x[held_back])
        outer, asked = scaled(x, test)
    else:
        inner, judged, outer, asked = x[learned], x[held_back], x, test
    tried = ridges(inner, y[learned], judged, ALPHAS)
    best = int(np.argmin([np.square(found - y[held_back]).mean() for found in tried]))
    return ridges(outer, y, asked, (ALPHAS[best],))[0]


def n_grams(strings: Sequence[str]) -> np.ndarray:
    """(N, 512) float64 log(1 + count) of hashed parts of 1 to 4 characters."""
    hashed = HashingVectorizer(
        analyzer="char", ngram_range=(1, 4), n_features=512, lowercase=False, alternate_sign=False, norm=None
    )
    return np.log1p(hashed.transform(strings).toarray()).astype(np.float64)


@torch.inference_mode()
def latents_as_written(model: Model, strings: Sequence[str]) -> np.ndarray:
    """(N, D) float64 posterior means of SMILES read in the order in which they are written."""
    tokens = TokenTable.from_rows([model.vocabulary.encode(text, as_written=True)[0] for text in strings])
    z = np.empty((len(strings), model.latent_size))
    for rows in tokens.lengths.argsort(stable=True).split(512):
        z[rows.numpy()] = model.vae.encode(tokens.batch(rows)).flatten(1).numpy()
    return z


def main() -> None:
    args = arguments()
    if args.data is None:
        raise DataError("no data folder: give --data FOLDER, or set MOLVAE_DATA.")
    model = molvae.load(args.model, device="cpu")
    rows: list[dict[str, object]] = []
    for name, (file, target) in SETS.items():
        if args.only not in (None, name):
            continue
        path = Path(args.data) / file
        task = Task(read_labelled(path, target), model, args.n, args.similarity, args.molecules)
        origin = provenance(
            "augment", data=file_hash(path), seed=f"0 to {args.seeds - 1}", budget=f"{len(task.y)} molecules"
        )
        origin |= {"model": model.weights_hash}
        bar = show_progress(name)
        for i, size in enumerate(args.labels):
            found = []
            for seed in range(args.seeds):
                found.append(task.evaluate(size, seed))
                bar(i * args.seeds + seed + 1, len(args.labels) * args.seeds)
            for kind, arm in found[0][0]:
                errors = np.array([of_seed[kind, arm] for of_seed, _ in found])
                without = np.array([of_seed[kind, "none"] for of_seed, _ in found])
                change = errors - without
                rows.append(
                    {
                        "set": name,
                        "labels": size,
                        "property_model": kind,
                        "augmentation": arm,
                        "rmse": float(errors.mean()),
                        "change": float(change.mean()),
                        "change_se": float(change.std(ddof=1) / np.sqrt(len(change))) if len(change) > 1 else None,
                        "change_percent": float(100 * change.mean() / without.mean()),
                        "neighbours": float(np.mean([n for _, n in found])) if arm.startswith("neighbours") else None,
                        "n_test": len(task.y) // 5,
                        "unencodable": task.unencodable,
                        **origin,
                    }
                )
        write_csv(args.out, rows)
    print(table(rows, ["set", "labels", "property_model", "augmentation", "rmse", "change", "change_se", "change_percent"]))


if __name__ == "__main__":
    run_script(main)
