"""A user's search method in a Python file, `mine.py:choose`: a function from what was measured to what to measure next.

It gets the loop, the ledger, the budget and the report of every other strategy, and stands in the benchmark beside them. A
subclass of `molvae.search.strategies.base.Strategy` may stand in the file too, for a method that wants the model.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from molvae.chem import canonical
from molvae.errors import ConfigError, MolvaeError, RunError, error_text
from molvae.files import file_hash
from molvae.history import History, Proposal
from molvae.search.space import SearchSpace
from molvae.search.strategies.base import STRATEGIES, Strategy
from molvae.user_code import importable, in_file, load_callable, raised_at

INITIAL, BATCH = 50, 10  # those of the peers that learn nothing; a function may have its own
_POSITIONS = ("smiles", "scores", "n", "seed")


@STRATEGIES.finder
def load_strategy(spec: str) -> Callable[..., Strategy] | None:
    """What builds the strategy that `spec` ("mine.py:choose") names from a search space and settings; None for other names.

    A function is called as `choose(smiles, scores, n, seed)`. smiles: canonical SMILES of all that was measured, in order.
    scores: a number for each, higher is better, NaN where the measurement failed. It returns SMILES, best first; the first
    `n` of them that are new are measured. Before anything is measured, and as long as all scores are equal, molecules are
    drawn from the model's prior. Its keyword-only parameters are settings; `initial` (molecules of the first round) and
    `batch` (of each later one) are settings of every function. The same arguments must give the same answer, or a search
    that was killed cannot go on as it would have: `seed` is for whatever is drawn.

    Raises ConfigError if the file has no such function or class, or one that cannot be called like this.
    """
    if spec.endswith((".py", ".py:")):
        raise ConfigError(f"{spec!r} names a file but no function in it; write it as {spec.rstrip(':')}:choose.")
    if (own := in_file(spec)) is None:
        return None
    path, name = own
    return _built(path, name, file_hash(path) if path.is_file() else "")


@cache  # a file runs once, however often its settings are asked for; and again if it has changed
def _built(path: Path, name: str, _hash: str) -> Callable[..., Strategy]:
    found = load_callable(path, name, what="search strategy", error=ConfigError)
    is_class = inspect.isclass(found)
    if is_class and not issubclass(found, Strategy):
        raise ConfigError(
            f"{path}: {name} is a class, but no molvae.search.strategies.base.Strategy. Make it one, or write a function of "
            f"{', '.join(_POSITIONS)}."
        )
    settings = _class_settings(found) if is_class else _function_settings(found, path, name)

    def build(space: SearchSpace, **chosen: Any) -> Strategy:
        with _told(path, name):
            inner = found(space, **chosen) if is_class else _FromFunction(space, found, f"{path}: {name}", settings, chosen)
        return _InFile(inner, path, name)

    space = inspect.Parameter("space", inspect.Parameter.POSITIONAL_ONLY)
    build.__signature__ = inspect.Signature([space, *settings.values()])  # type: ignore[attr-defined]
    return build


def _class_settings(found: type[Strategy]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(found).parameters
    return {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _function_settings(function: Callable[..., Any], path: Path, name: str) -> dict[str, inspect.Parameter]:
    try:
        parameters = inspect.signature(function).parameters
        own = {k: p for k, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
        rest = [p for k, p in parameters.items() if k not in own]
        inspect.Signature(rest).bind(*_POSITIONS)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{path}: {name} cannot be called with {', '.join(_POSITIONS)} ({error}). "
            f"Write it as def {name}({', '.join(_POSITIONS)})."
        ) from error
    shared = {"initial": INITIAL, "batch": BATCH}
    given = {k: inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=v) for k, v in shared.items()}
    return given | own


class _FromFunction(Strategy):
    """A strategy that asks a function."""

    def __init__(
        self,
        space: SearchSpace,
        function: Callable[..., Any],
        label: str,
        settings: Mapping[str, inspect.Parameter],
        chosen: Mapping[str, Any],
    ) -> None:
        values = {name: chosen.get(name, parameter.default) for name, parameter in settings.items()}
        super().__init__(space, initial=values["initial"], batch=values["batch"])
        taken = inspect.signature(function).parameters
        self.function, self.label = function, label
        self.settings = {name: value for name, value in values.items() if name in taken}

    def choose(self, history: History, n: int, seed: int) -> list[Proposal]:
        returned = self.function(list(history.smiles), history.scores.tolist(), n, seed, **self.settings)
        if isinstance(returned, (str, bytes, Mapping, Set)) or not isinstance(returned, Iterable):
            raise RunError(f"{self.label} returned a {type(returned).__name__}, not a list of SMILES.")
        found = list(returned)
        wrong = [type(one).__name__ for one in found if not isinstance(one, str)]
        if wrong:
            raise RunError(f"{self.label} returned a {wrong[0]} among the SMILES; leave out what could not be made.")
        name, unwanted = self.function.__name__, self.space.unwanted(history.known)
        new: dict[str, Proposal] = {}
        for smiles in found:
            written = canonical(smiles)
            if written is None:
                new.setdefault(smiles, Proposal(smiles, name))  # the ledger counts it, and spends nothing on it
            elif written not in unwanted and written not in new:
                new[written] = Proposal(smiles, name)
                n -= 1
            if n == 0:
                break
        return list(new.values())


class _InFile(Strategy):
    """A strategy out of a file, whose faults are told as a sentence that names the file and the line."""

    def __init__(self, inner: Strategy, path: Path, name: str) -> None:
        super().__init__(inner.space, initial=inner.initial, batch=inner.batch)
        self.inner, self.path, self.name = inner, path, name

    def batch_size(self, n_calls: int) -> int:
        with _told(self.path, self.name):
            return self.inner.batch_size(n_calls)

    def propose(self, history: History, n: int, seed: int) -> list[Proposal]:
        with _told(self.path, self.name):
            return self.inner.propose(history, n, seed)

    def choose(self, history: History, n: int, seed: int) -> list[Proposal]:
        with _told(self.path, self.name):
            return self.inner.choose(history, n, seed)


@contextmanager
def _told(path: Path, name: str) -> Iterator[None]:
    """Turn what a user's code raises into a RunError; Ctrl-C and our own errors pass."""
    try:
        with importable(path.parent):
            yield
    except MolvaeError:
        raise
    except (Exception, SystemExit) as error:
        raise RunError(
            f"{path}{raised_at(error, path)}: {name} raised {error_text(error)}. What was measured is saved; repair the "
            "file, and the same command goes on."
        ) from error
