"""Name -> class. A registry scans one folder on first use; a constructor's keyword-only signature is the schema.

To add an oracle, a model, a prior, a proposal source, a strategy or a metric, add one file to its folder and decorate the
class with `@REGISTRY.register("name")`. Nothing else has to be edited.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from numbers import Integral, Real
from typing import Any, Generic, TypeVar

from molvae.errors import ConfigError, UnknownName, nearest

T = TypeVar("T")


def typed(value: Any, default: Any, where: str) -> Any:
    """`value` as a setting of the type of its `default`: a whole number may stand for a float, a list for a tuple.

    Defaults of other types accept anything. Raises ConfigError if the value is of another type.
    """
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a string", tuple: "a list"}
    number = isinstance(value, Real) and not isinstance(value, bool)
    if type(default) not in kinds or type(value) is type(default):
        return value
    if (type(default) is float and number) or (type(default) is int and number and isinstance(value, Integral)):
        return type(default)(value)
    if type(default) is tuple and isinstance(value, list):
        return tuple(value)
    raise ConfigError(f"{where} must be {kinds[type(default)]}, not {value!r}.")


class Registry(Generic[T]):
    """The classes (or functions) of one kind, by name.

    Parameters
    ----------
    kind: what the entries are, for messages ("oracle").
    package: dotted name of the folder whose modules are imported on first use.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._entries: dict[str, Callable[..., T]] = {}
        self._skipped: dict[str, str] = {}
        self._finders: list[Callable[[str], Callable[..., T] | None]] = []
        self._scanned = False

    def register(self, *names: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """Decorator that files a class under each of `names`."""

        def file_under(entry: Callable[..., T]) -> Callable[..., T]:
            for name in names:
                if self._entries.get(name, entry) is not entry:
                    raise ValueError(f"{self.kind} {name!r} is registered twice: {self._entries[name]} and {entry}")
                self._entries[name] = entry
            return entry

        return file_under

    def finder(self, find: Callable[[str], Callable[..., T] | None]) -> Callable[[str], Callable[..., T] | None]:
        """Decorator for a function that knows entries by other means than a name here: it is asked, and may return None."""
        self._finders.append(find)
        return find

    def names(self) -> list[str]:
        """Every registered name, sorted."""
        self._scan()
        return sorted(self._entries)

    def get(self, name: str) -> Callable[..., T]:
        """The class filed under `name`, or found for it. Raises UnknownName with the nearest registered name."""
        self._scan()
        if name in self._entries:
            return self._entries[name]
        for find in self._finders:
            if (found := find(name)) is not None:
                return found
        skipped = "".join(f" Note: {module} was skipped: {why}." for module, why in self._skipped.items())
        raise UnknownName(
            f"no {self.kind} named {name!r}.{nearest(name, self._entries)} Known: {', '.join(self.names())}.{skipped}"
        )

    def settings(self, name: str) -> dict[str, inspect.Parameter]:
        """The keyword-only parameters of the constructor of `name`: its configuration schema.

        A constructor that takes `**more` hands these on to its base class, so they are the base's settings.
        """
        entry = self.get(name)
        line = inspect.getmro(entry) if inspect.isclass(entry) else (entry,)
        found: dict[str, inspect.Parameter] = {}
        for constructor in line:
            parameters = inspect.signature(constructor).parameters.values()
            found |= {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY and p.name not in found}
            if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
                break
        return found

    def defaults(self, name: str) -> dict[str, Any]:
        """The settings of `name` that have defaults, with these defaults."""
        return {k: p.default for k, p in self.settings(name).items() if p.default is not inspect.Parameter.empty}

    def build(self, name: str, settings: Mapping[str, Any] | None = None, /, *given: Any) -> T:
        """Construct `name` from positional `given` objects and a table of `settings`.

        Raises ConfigError for a setting that the constructor does not have, with the nearest one, and for a value that
        is not of the type of a plain default.
        """
        entry, schema, table = self.get(name), self.settings(name), dict(settings or {})
        for key in table:
            if key not in schema:
                raise ConfigError(
                    f"{self.kind} {name!r} has no setting {key!r}.{nearest(key, schema)} "
                    f"It has: {', '.join(schema) or 'none'}."
                )
        missing = [k for k, p in schema.items() if p.default is inspect.Parameter.empty and k not in table]
        if missing:
            raise ConfigError(f"{self.kind} {name!r} needs the setting {missing[0]!r}.")
        for key, value in table.items():
            table[key] = typed(value, schema[key].default, f"{self.kind} {name!r}: {key}")
        return entry(*given, **table)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: str) -> bool:
        self._scan()
        return name in self._entries

    def _scan(self) -> None:
        if self._scanned:
            return
        self._scanned = True
        folder = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(folder.__path__, self.package + "."):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                # An optional dependency is told about when its entry is asked for; a fault of our own is not hidden.
                if (error.name or "").startswith("molvae"):
                    raise
                self._skipped[module.name] = str(error)
