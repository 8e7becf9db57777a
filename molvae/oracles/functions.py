"""A user's scoring function in a Python file: `dock.py:score`, a list of SMILES in, a list of numbers or None out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from molvae.errors import OracleError, error_text
from molvae.oracles.base import Measurement, Oracle
from molvae.user_code import importable, load_callable


class CallableOracle(Oracle):
    """Calls `function(smiles: list[str]) -> list[float | None]`.

    One value is expected for each molecule, in order. None, NaN, infinity and text are failures of that molecule. If the
    function raises, or returns another number of values, each molecule of the batch is asked for alone, so that no value is
    given to the wrong molecule and a bad molecule costs only itself.
    """

    chunk = 128

    def __init__(self, function: Callable[[list[str]], Any]) -> None:
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)

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
            returned = self.function(list(smiles))
            if isinstance(returned, (str, bytes, Mapping, Set)) or not isinstance(returned, Iterable):
                return f"{self.name} returned a {type(returned).__name__}, not a list of numbers"
            values = list(returned)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code; its text becomes the reason
            return f"{self.name} raised {error_text(error)}"
        if len(values) != len(smiles):
            return f"{self.name} returned {_counted(len(values), 'value')} for {_counted(len(smiles), 'molecule')}"
        return values


class FunctionOracle(CallableOracle):
    """A `CallableOracle` for the function `name` of the Python file `path`, which each worker process imports again.

    Raises OracleError if the file or the function cannot be loaded.
    """

    def __init__(self, path: str | Path, name: str) -> None:
        self.path = Path(path).expanduser().resolve()
        super().__init__(_load(self.path, name))  # a broken file is told about now, before any budget is spent

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "name": self.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)


def _load(path: Path, name: str) -> Callable[[list[str]], Any]:
    """The function `name` of the file `path`, with the file's folder importable while it is loaded and whenever it runs."""
    found = load_callable(path, name, what="scoring function", error=OracleError)

    def function(smiles: list[str]) -> Any:
        with importable(path.parent):
            return found(smiles)

    function.__name__ = name
    return function


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")
