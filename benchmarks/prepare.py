"""How fast `molvae prepare` is, and how much memory it needs: at the size of ZINC250k, and at ten million rows.

    python benchmarks/prepare.py --data FOLDER --rows 250000 10000000
    python benchmarks/prepare.py --data FOLDER --rows 10000000 --repeat

Beyond the rows of ZINC250k, every row is another molecule: a randomised SMILES (Arus-Pous et al., J. Cheminform. 11:71,
2019) of a ZINC250k molecule that begins at a carbon with a hydrogen, behind one of a few hundred chains, so that duplicates
have to be looked for but are few. With --repeat it is one of three randomised SMILES of a ZINC250k molecule and no more: a
duplicate, which can be told only when it has been read.

Memory is the largest sum of resident set sizes (pages that processes share counted in each) of the command and its workers,
sampled twice a second. Seconds are wall-clock, processor seconds those of all processes.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from common import RESULTS, data_option, provenance, run_script, table, write_csv
from rdkit import Chem

from molvae.chem import parse, random_smiles
from molvae.cli.running import n_cores
from molvae.data.datasets import read_smiles
from molvae.data.files import open_dataset
from molvae.errors import DataError
from molvae.files import file_hash
from molvae.processes import in_order
from molvae.randomness import child_seed, stream

LINKS = ("C", "N", "O", "CC", "C(=O)", "C(=O)N", "S(=O)(=O)", "CO")
WRITINGS = 3  # randomised SMILES of each molecule
Row = dict[str, object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data_option(parser)
    parser.add_argument("--rows", type=int, nargs="+", default=[249_455, 10_000_000])
    parser.add_argument("--repeat", action="store_true", help="rows beyond ZINC250k's repeat its molecules, randomised")
    parser.add_argument("--workers", type=int, default=n_cores())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scratch", type=Path, help="folder for the files that are made (default: a temporary one)")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "prepare.csv")
    args = parser.parse_args()
    if args.data is None:
        raise DataError("no data folder: give --data FOLDER, or set MOLVAE_DATA.")
    source = Path(args.data) / "zinc250k.smi.gz"
    rows = []
    for n in args.rows:
        with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
            made = Path(folder) / "molecules.smi"
            write_molecules(made, read_smiles(source), n, args)
            rows.append({"beyond_zinc250k": "repeated" if args.repeat else "grafted"})
            rows[-1] |= measure(made, Path(folder) / "dataset", args.workers)
            origin = provenance("prepare.py", data=file_hash(source), seed=args.seed, budget=f"{n} rows")
            rows[-1] |= origin
        write_csv(args.out, rows)
    print(table(rows))


def write_molecules(path: Path, smiles: list[str], n: int, args: argparse.Namespace) -> None:
    """Write `n` rows: the molecules themselves, then others made of them."""
    others = repeated(smiles, args.seed, args.workers) if args.repeat else grafted(smiles, args.seed)
    with path.open("w", encoding="ascii") as out:
        out.writelines(f"{text}\n" for text in itertools.islice(itertools.chain(smiles, others), n))


def repeated(smiles: list[str], seed: int, workers: int) -> Iterator[str]:
    """Randomised SMILES of every molecule, the same few of each again and again."""
    jobs = ((smiles[i : i + 500], seed) for i in range(0, len(smiles), 500))
    return itertools.cycle(text for rows in in_order(randomised, jobs, workers) for text in rows)


def randomised(job: tuple[list[str], int]) -> list[str]:
    """(SMILES, seed) -> randomised SMILES of each molecule: all of them once, then all again."""
    smiles, seed = job
    writings = (random_smiles(parse(text), WRITINGS, child_seed(seed, text)) for text in smiles)
    return [text for turn in zip(*writings, strict=True) for text in turn]


def grafted(smiles: list[str], seed: int) -> Iterator[str]:
    """Endlessly many molecules, made by repetition with randomised SMILES."""
    chains = ("".join(parts) for size in itertools.count(1) for parts in itertools.product(LINKS, repeat=size))
    for chain in chains:
        for text in smiles:
            mol = Chem.MolFromSmiles(text)
            order = stream(seed, chain, text).permutation(mol.GetNumAtoms()).tolist()
            mol = Chem.RenumberAtoms(mol, order)
            start = next((atom.GetIdx() for atom in mol.GetAtoms() if _can_carry_a_chain(atom)), None)
            if start is not None:
                yield f"C{chain}{Chem.MolToSmiles(mol, canonical=False, rootedAtAtom=start)}"


def _can_carry_a_chain(atom: Chem.Atom) -> bool:
    is_achiral = atom.GetChiralTag() == Chem.ChiralType.CHI_UNSPECIFIED
    return atom.GetSymbol() == "C" and atom.GetTotalNumHs() > 0 and not atom.GetFormalCharge() and is_achiral


def measure(source: Path, out: Path, workers: int) -> Row:
    """Run the command, and watch it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    command = [sys.executable, "-m", "molvae", "prepare", str(source), "-o", str(out), "--workers", str(workers)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    peak = [0]
    watcher = threading.Thread(target=_watch, args=(process, peak))
    watcher.start()
    code = process.wait()
    seconds = time.perf_counter() - started
    watcher.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if code:
        raise SystemExit(f"error: `{' '.join(command)}` ended with {code}")
    dataset = open_dataset(out)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "rows": dataset.card["rows"],
        "molecules": len(dataset),
        "workers": workers,
        "seconds": round(seconds, 1),
        "rows_a_second": round(dataset.card["rows"] / seconds),
        "processor_seconds": round(busy, 1),
        "rows_a_processor_second": round(dataset.card["rows"] / busy),
        "peak_memory_mib": round(peak[0] / 2**20),
        "dataset_mib": round(sum(path.stat().st_size for path in out.iterdir()) / 2**20, 1),
    }


def _watch(process: subprocess.Popen[bytes], peak: list[int]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], sum(map(_resident, _family(process.pid))))
        time.sleep(0.5)


def _family(root: int) -> list[int]:
    """A process and all its descendants, as Linux lists them."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):  # it has just ended
                continue
    family = [root]
    for pid in family:
        family += [child for child, parent in parents.items() if parent == pid]
    return family


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


if __name__ == "__main__":
    run_script(main)
