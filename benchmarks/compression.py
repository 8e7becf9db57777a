"""Bits a molecule of `molvae compress` on ZINC250k test rows, beside the general compressors of the standard library.

    python benchmarks/compression.py --data FOLDER               # two minutes on one core

All compress the same text: the canonical isomeric SMILES of the first test rows, one a line. The general ones are set to
their best (zlib 9, bz2 9, lzma 9 extreme). `ideal` is sum(nll) / ln 2 of the model, without rounding, header or exceptions;
it cannot be reached, only approached. The file is read again, and compared line by line.
"""

from __future__ import annotations

import argparse
import bz2
import lzma
import math
import tempfile
import time
import zlib
from pathlib import Path

from common import RESULTS, data_option, provenance, run_script, table, write_csv, zinc_split

import molvae
from molvae.chem import canonical
from molvae.uses.likelihood import measure


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data_option(parser)
    parser.add_argument("--model", default="zinc250k")
    parser.add_argument("--molecules", type=int, default=5000)
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "compression.csv")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    split = zinc_split(args.data)
    model = molvae.load(args.model, device="cpu")
    smiles = [text for text in map(canonical, split.test[: args.molecules]) if text is not None]
    text = "\n".join(smiles).encode()
    rows: list[dict[str, object]] = [
        {"method": "text", "bits": 8 * len(text) / len(smiles)},
        *(
            {"method": name, "bits": 8 * len(packed) / len(smiles)}
            for name, packed in (
                ("zlib", zlib.compress(text, 9)),
                ("bz2", bz2.compress(text, 9)),
                ("lzma", lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)),
            )
        ),
    ]
    measured = measure(model, smiles)
    known = measured.nll[measured.known]
    rows.append({"method": "ideal", "bits": float(known.mean()) / math.log(2), "molecules": len(known)})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "packed"
        began = time.process_time()
        packed = molvae.compress(smiles, path, model=model)
        middle = time.process_time()
        back = molvae.decompress(path, model=model)
        ended = time.process_time()
    assert back == smiles, "not every molecule came back"
    seconds = {"cpu_seconds": middle - began, "cpu_seconds_back": ended - middle}
    rows.append({"method": "molvae compress", "bits": packed.bits, "as_text": packed.as_text, **seconds})
    origin = provenance("compression", data=split.hash, seed="none", budget=f"{len(smiles)} molecules")
    origin["model"] = model.weights_hash
    write_csv(args.out, [{"molecules": len(smiles), **row, **origin} for row in rows])
    print(table([{"molecules": len(smiles), **row} for row in rows], ["method", "bits", "molecules", "as_text", *seconds]))


if __name__ == "__main__":
    run_script(main)
