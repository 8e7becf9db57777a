"""Fit a prior to a trained model: its density over the latents of the GDSS training split.

    python benchmarks/fit_prior.py molvae/models/pretrained/zinc250k mixture --set temperature=0.8 --data FOLDER
    python benchmarks/fit_prior.py runs/vae flow --ask logP QED MW --data FOLDER

The prior is put into the checkpoint, in the place of one of the same name; nothing else of it changes. `molvae fit-prior`
does the same with molecules of your own.
"""

from __future__ import annotations

import argparse
import time

from common import data_option, run_script, show_progress, zinc_split

import molvae
from molvae.checkpoint import find
from molvae.config import override
from molvae.models.priors.base import PRIORS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a checkpoint folder, a run directory, or the name of a shipped model")
    parser.add_argument("prior", choices=PRIORS.names())
    data_option(parser)
    parser.add_argument("--ask", nargs="+", default=[], metavar="PROPERTY", help="what it can be asked for")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the prior")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="extra processes for RDKit work")
    args = parser.parse_args()
    folder, begun = find(args.checkpoint), time.process_time()
    reports = {}

    def progress(stage: str, done: int, total: int) -> None:
        reports.setdefault(stage, show_progress(stage))(done, total)

    fitted = molvae.fit_prior(
        str(folder),
        zinc_split(args.data).train,
        args.prior,
        out=folder,
        properties=args.ask,
        settings=override({}, args.set),
        device="cpu",
        workers=args.workers,
        seed=args.seed,
        progress=progress,
    )
    n = fitted.card["priors"][args.prior]["data"]["rows"]
    print(
        f"{args.prior}: {n:,} latents, {time.process_time() - begun:.0f} processor seconds with encoding them, in {folder}"
    )


if __name__ == "__main__":
    run_script(main)
