"""Train the shipped checkpoint on the 224,568 rows of the GDSS training split of ZINC250k.

    python benchmarks/train_zinc250k.py --data DIR -o runs/zinc250k

DIR holds zinc250k.smi.gz and zinc250k_test_index.json (or set MOLVAE_DATA). Run again to resume after a stop.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from common import ZINC, data_option, run_script, test_rows

from molvae.config import Table, override, read_toml
from molvae.errors import DataError
from molvae.training.experiment import train

CONFIG = Path(__file__).with_suffix(".toml")
LICENCE = "weights: MIT. Data: ZINC (zinc.docking.org), free to use; please cite Irwin et al. 2012."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    training_options(parser)
    parser.add_argument("-c", "--config", type=Path, default=CONFIG)
    options = parser.parse_args()
    learn(override(read_toml(options.config), options.set), options)


def training_options(parser: argparse.ArgumentParser) -> None:
    """Add what `learn` needs: the data, the run directory, changed settings, threads and processes."""
    data_option(parser)
    parser.add_argument("-o", "--out", type=Path, required=True, help="run directory")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--workers", type=int, default=2, help="processes for tokenising")
    parser.add_argument("--device", default="auto")


def learn(config: Table, options: argparse.Namespace) -> None:
    """Train on the GDSS training split, or resume; a line on standard error twice a minute."""
    if options.data is None:
        raise DataError("no data folder: give --data FOLDER, or set MOLVAE_DATA.")
    torch.set_num_threads(options.threads)
    folder = Path(options.data)
    last = [0.0]

    def progress(done: int, total: int, terms: dict[str, float]) -> None:
        if time.monotonic() - last[0] > 30 or done == total:
            last[0] = time.monotonic()
            print(
                f"{done:>9} / {total}  " + "  ".join(f"{k} {v:.3f}" for k, v in terms.items()), file=sys.stderr, flush=True
            )

    train(
        folder / ZINC,
        options.out,
        config=config,
        leave_out=test_rows(folder),
        device=options.device,
        workers=options.workers,
        licence=LICENCE,
        progress=progress,
    )


if __name__ == "__main__":
    run_script(main)
