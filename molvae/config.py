"""Strict TOML: tables in, tables out. A key that nothing reads stops the run, with the nearest one that exists."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from molvae.errors import ConfigError, nearest
from molvae.files import write_text
from molvae.registry import typed

Table = dict[str, Any]

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
S = TypeVar("S")


def read_toml(path: str | os.PathLike[str]) -> Table:
    """The table in a TOML file. Raises ConfigError with the line of a syntax error."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no configuration file {path}. Check the path.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}.") from error


def write_toml(path: str | os.PathLike[str], table: Mapping[str, Any]) -> None:
    """Write a table atomically. None is left out, because TOML has no word for it."""
    write_text(path, to_toml(table))


def to_toml(table: Mapping[str, Any]) -> str:
    """TOML text of nested tables of strings, numbers, booleans and flat lists."""
    lines: list[str] = []
    _emit(table, (), lines)
    return "\n".join(lines).strip() + "\n"


def _emit(table: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    plain = {k: v for k, v in table.items() if not isinstance(v, Mapping) and v is not None}
    if path and (plain or not any(isinstance(value, Mapping) for value in table.values())):
        lines += ["", f"[{'.'.join(_key(part) for part in path)}]"]
    lines += [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    for key, value in table.items():
        if isinstance(value, Mapping):
            _emit(value, (*path, key), lines)


def _key(key: str) -> str:
    return key if key and all(c.isascii() and (c.isalnum() or c in "-_") for c in key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(float(value))  # NumPy's floats are floats, but their repr is not a number
    if isinstance(value, str):
        return '"' + "".join(_ESCAPES.get(c) or (f"\\u{ord(c):04x}" if c < " " or c == "\x7f" else c) for c in value) + '"'
    if isinstance(value, os.PathLike):
        return _value(os.fspath(value))
    if isinstance(value, Iterable):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    raise TypeError(f"cannot write {type(value).__name__} as TOML")


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_inline(v)}" for k, v in value.items() if v is not None) + " }"
    return _value(value)


def check_keys(table: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
    """Raise ConfigError for the first key of `table` that is not allowed, naming the nearest one that is."""
    allowed = list(allowed)
    for key in table:
        if key not in allowed:
            raise ConfigError(
                f"{where} has no setting {key!r}.{nearest(key, allowed)} It has: {', '.join(allowed) or 'none'}."
            )


def override(table: Table, assignments: Sequence[str]) -> Table:
    """A copy of `table` with `a.b=value` assignments applied; values are TOML, and bare words are strings."""
    result = _copy(table)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path.strip():
            raise ConfigError(f"--set {assignment!r} is not of the form key=value, for example --set model.latent=64.")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        *parents, last = path.strip().split(".")
        inner = result
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"--set {assignment!r}: {parent!r} is a value, not a table.")
        inner[last] = value
    return result


def _copy(table: Mapping[str, Any]) -> Table:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in table.items()}


def settings(kind: type[S], table: Mapping[str, Any], where: str) -> S:
    """Build a frozen dataclass of settings from a table. Unknown keys and values of another type raise ConfigError."""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    check_keys(table, fields, where)
    checked = {}
    for key, value in table.items():
        checked[key] = typed(value, fields[key].default, f"{where}.{key}")
    return kind(**checked)
