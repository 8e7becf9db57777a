"""Fit a prior to a model that is trained: its density over the latents of the GDSS training split.

    python benchmarks/fit_prior.py molvae/models/pretrained/zinc250k mixture --set temperature=0.8 --data FOLDER

The prior is put into the checkpoint, in the place of one of the same name; nothing else of it changes.
"""

from __future__ import annotations

import argparse
import time

import torch
from common import data_option, run_script, show_progress, zinc_split

from molvae.checkpoint import find, load, save
from molvae.config import override
from molvae.generation.model import Model
from molvae.models.priors.base import PRIORS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a checkpoint folder, or the name of a shipped model")
    parser.add_argument("prior", choices=PRIORS.names())
    data_option(parser)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the prior")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="extra processes for RDKit work")
    args = parser.parse_args()
    prior = PRIORS.build(args.prior, override({}, args.set))
    folder = find(args.checkpoint)
    checkpoint = load(folder)
    train = zinc_split(args.data).train
    z = torch.from_numpy(Model(checkpoint, workers=args.workers).encode(train, progress=show_progress("latents")))
    prior.codebook = checkpoint.model.code_vectors()
    begun = time.process_time()
    prior.fit(z[~z[:, 0].isnan()], args.seed)
    checkpoint.priors[args.prior] = prior
    save(folder, checkpoint, half=True)
    print(f"{args.prior}: fitted to {len(z):,} latents in {time.process_time() - begun:.0f} processor seconds, in {folder}")


if __name__ == "__main__":
    run_script(main)
