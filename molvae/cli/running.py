"""What the verbs share: how many processes work, which model is loaded, where a table goes."""

from __future__ import annotations

import os
import sys
from typing import Any

MANY = 2000  # molecules from which on worker processes are worth their start


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def leave_room(workers: int) -> None:
    """Let the network of this process keep to half of the cores while worker processes need them too.

    With a thread on every core, the threads that wait for each other (they spin) take the time of the workers.
    """
    if not workers:
        return
    threads = max(1, n_cores() // 2)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    else:  # torch reads it when it is imported; to import it here would keep the workers waiting
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))


def load_model(model: str, n: int = 0, *, constrained: bool = True, device: str = "auto") -> Any:
    """The model, with worker processes if there are many molecules."""
    import molvae

    workers = n_cores() if n > MANY else 0
    leave_room(workers)
    return molvae.load(model, device=device, workers=workers, constrained=constrained)


def write_columns(out: str, columns: dict[str, list[Any]]) -> None:
    """A table to a file, or as CSV to standard output."""
    from molvae.data.tables import write_csv, write_table

    if out == "-":
        write_csv(sys.stdout, columns)
    else:
        write_table(out, columns)
