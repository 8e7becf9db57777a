"""The docstrings of the house as Markdown, for the API reference, and as tables of settings, for the configuration page.

A docstring here is prose, with entries `name: what it is` for the names of its own parameters or fields. Entries become list
items or table rows; underlined section names become bold lines, and `>>>` examples become code blocks.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

_ENTRY = re.compile(r"(?:^ *|(?<=[.)]) {1,2})((?:\w+, )*\w+): ", re.MULTILINE)
_SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.MULTILINE)
_EXAMPLE = re.compile(r"^(?:(?:>>>|\.\.\.).*\n?)+", re.MULTILINE)


def entries(text: str, names: Iterable[str]) -> list[tuple[int, int, list[str], str]]:
    """(start, end, names, description) of every entry in a docstring whose names are all known. An entry ends where the next
    one or a new paragraph begins."""
    known = set(names)
    found = [match for match in _ENTRY.finditer(text) if set(match[1].split(", ")) <= known]
    starts = [match.start() for match in found]
    result = []
    for match, after in zip(found, [*starts, len(text)][1:], strict=True):
        paragraph = text.find("\n\n", match.end())
        end = after if paragraph < 0 else min(after, paragraph)
        result.append((match.start(), end, match[1].split(", "), " ".join(text[match.end() : end].split())))
    return result


def markdown(text: str, names: Iterable[str]) -> str:
    """A docstring as Markdown."""
    parts, at = [], 0
    for start, end, own, description in entries(text, names):
        before = text[at:start].rstrip(" ")
        new_list = at == 0 or bool(before.strip())
        parts += [before, "\n\n" if new_list else "\n", f"- {', '.join(f'`{n}`' for n in own)}: {description}"]
        at = end
    if parts:
        parts.append("\n\n")
    result = "".join([*parts, text[at:]])
    result = _EXAMPLE.sub(lambda match: f"```pycon\n{match[0].rstrip()}\n```\n", result)
    result = _SECTION.sub(r"**\1**\n", result)
    return re.sub(r"\n{3,}", "\n\n", result)


def described(entry: Callable[..., Any]) -> list[tuple[str, Any, str]]:
    """(name, default, description) of every setting of a class or function, in order: the fields of a dataclass, else the
    keyword-only parameters. A setting that its docstring does not describe has an empty description."""
    if dataclasses.is_dataclass(entry):
        defaults = {field.name: field.default for field in dataclasses.fields(entry)}
    else:
        parameters = inspect.signature(entry).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    told = {name: text for _, _, own, text in entries(inspect.getdoc(entry) or "", defaults) for name in own}
    return [(name, default, told.get(name, "")) for name, default in defaults.items()]
