"""Train the shipped checkpoint on the 224,568 rows of the GDSS training split of ZINC250k.

    python benchmarks/train_zinc250k.py --data DIR -o runs/zinc250k

DIR holds zinc250k.smi.gz and zinc250k_test_index.json (or set MOLVAE_DATA). Run again to resume after a stop.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import torch
from common import run_script

from molvae.config import override, read_toml
from molvae.experiment import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("MOLVAE_DATA"), help="folder of the data files")
    parser.add_argument("-o", "--out", type=Path, required=True, help="run directory")
    parser.add_argument("-c", "--config", type=Path, default=Path(__file__).with_suffix(".toml"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--workers", type=int, default=2, help="processes for tokenising")
    options = parser.parse_args()
    if not options.data:
        parser.error("name the data folder with --data or MOLVAE_DATA")
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
        folder / "zinc250k.smi.gz",
        options.out,
        config=override(read_toml(options.config), options.set),
        leave_out=json.loads((folder / "zinc250k_test_index.json").read_text()),
        workers=options.workers,
        licence="weights: MIT. Data: ZINC (zinc.docking.org), free to use; please cite Irwin et al. 2012.",
        progress=progress,
    )


if __name__ == "__main__":
    run_script(main)
