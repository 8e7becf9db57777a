"""A user's scoring function in a Python file: `dock.py:score`, a list of SMILES in, a list of numbers or None out."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from molvae.errors import OracleError, nearest
from molvae.oracles.base import Measurement, Oracle, error_text


class FunctionOracle(Oracle):
    """Calls `function(smiles: list[str]) -> list[float | None]` of the file `path`.

    One value is expected for each molecule, in order. None, NaN, infinity and text are failures of that molecule. If the
    function raises, or returns another number of values, each molecule of the batch is asked for alone, so that no value is
    given to the wrong molecule and a bad molecule costs only itself. The file is imported again in each worker process.

    Raises OracleError if the file or the function cannot be loaded.
    """

    def __init__(self, path: str, function: str) -> None:
        self.path = Path(path).expanduser().resolve()
        self.function = function
        self._call  # noqa: B018 - a broken file is told about now, before any budget is spent

    def measure(self, smiles: Sequence[str]) -> list[Measurement]:
        if not smiles:
            return []
        outcome = self._values(smiles)
        if isinstance(outcome, list):
            return [Measurement.of(value) for value in outcome]
        if len(smiles) == 1:
            return [Measurement.failed(outcome)]
        return [self.measure([one])[0] for one in smiles]

    def _values(self, smiles: Sequence[str]) -> list[Any] | str:
        """What the function returned for `smiles`, one entry each, or the reason why that cannot be used."""
        try:
            with _importable(self.path.parent):
                returned = self._call(list(smiles))
                if isinstance(returned, (str, bytes, Mapping, Set)) or not isinstance(returned, Iterable):
                    return f"{self.function} returned a {type(returned).__name__}, not a list of numbers"
                values = list(returned)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code; its text becomes the reason
            return f"{self.function} raised {error_text(error)}"
        if len(values) != len(smiles):
            return f"{self.function} returned {_counted(len(values), 'value')} for {_counted(len(smiles), 'molecule')}"
        return values

    @cached_property
    def _call(self) -> Callable[[list[str]], Any]:
        if not self.path.is_file():
            raise OracleError(f"there is no file {self.path}; give the scoring function as path/to/file.py:function.")
        spec = importlib.util.spec_from_file_location(f"molvae_user_{self.path.stem}", self.path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        try:
            with _importable(self.path.parent):
                spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            raise OracleError(f"{self.path} cannot be imported: {error_text(error)}. Fix the file and try again.") from error
        found = getattr(module, self.function, None)
        if not callable(found):
            known = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
            raise OracleError(
                f"{self.path} has no function {self.function!r}.{nearest(self.function, known)} "
                f"It has: {', '.join(known) or 'none'}."
            )
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "function": self.function}


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let the user's file import its neighbours, as it could if it were run as a script."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")
