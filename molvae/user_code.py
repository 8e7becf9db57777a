"""A function or a class in a user's Python file, named as `path/to/file.py:name`."""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from molvae.errors import MolvaeError, error_text, nearest


def in_file(spec: str) -> tuple[Path, str] | None:
    """The file and the name that `spec` is made of, or None if it does not read `....py:name`."""
    match = re.fullmatch(r"(.+\.py):(\w+)", spec)
    return (Path(match[1]).expanduser().resolve(), match[2]) if match else None


def load_callable(path: Path, name: str, *, what: str, error: type[MolvaeError]) -> Any:
    """The function or class `name` of the Python file `path`, whose folder is importable while it is loaded.

    what: what it is for, for messages ("scoring function").
    Raises `error` if there is no such file, if it cannot be imported, or if it has nothing of that name to call.
    """
    hint = f"give the {what} as path/to/file.py:name."
    if not path.is_file():
        raise error(f"there is no file {path}; {hint}")
    spec = importlib.util.spec_from_file_location(f"molvae_user_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        with importable(path.parent):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as raised:
        raise error(f"{path} cannot be imported: {error_text(raised)}. Fix the file and try again.") from raised
    found = getattr(module, name, None)
    if not callable(found):
        here = {k: v for k, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__}
        known = [key for key, value in here.items() if callable(value) and not key.startswith("_")]
        raise error(
            f"{path} has no {what} {name!r}.{nearest(name, known)} It has: {', '.join(known) or 'none'}. "
            f"{hint[0].upper()}{hint[1:]}"
        )
    return found


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let the user's file import its neighbours, as it could if it were run as a script."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))


def raised_at(error: BaseException, path: Path) -> str:
    """ ", line 12" for the innermost line of the file `path` that an exception passed through; "" if there is none."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return f", line {lines[-1]}" if lines else ""
