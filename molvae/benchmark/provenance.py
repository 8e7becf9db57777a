"""Where a row of a benchmark comes from: commit, data, seed, budget, machine, versions. Every results file says it."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from molvae.checkpoint import find
from molvae.files import file_hash

PACKAGES = ("molvae", "torch", "rdkit", "selfies", "numpy", "botorch", "fcd")
_CHECKOUT = Path(__file__).parents[2]


def provenance(script: str, *, data: str, seed: int | str, budget: int | str) -> dict[str, str]:
    """The columns that say where a row comes from. `budget` in the unit of the benchmark (calls, samples, batches)."""
    return {
        "script": script,
        "commit": commit(),
        "data": data,
        "seed": str(seed),
        "budget": str(budget),
        "machine": machine(),
        "versions": " ".join([f"python-{platform.python_version()}", *(f"{p}-{_version(p)}" for p in PACKAGES)]),
    }


def model_hash(name: str | os.PathLike[str]) -> str:
    """SHA-256 of a checkpoint's weights. Raises CheckpointError if there is no such checkpoint."""
    return file_hash(find(name) / "model.safetensors")


def machine() -> str:
    """Kind of processor and the number of cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    kind = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        kind = named[0] if named else kind
    return f"{kind}, {cores} core{'s' if cores != 1 else ''}"


def commit() -> str:
    """What git calls the checkout that this package is run from; "unknown" for an installed package."""
    if not (_CHECKOUT / ".git").exists():
        return "unknown"
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=_CHECKOUT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
