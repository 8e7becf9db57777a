"""Files that are whole or absent: every result is written to a temporary file, synced, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from molvae.errors import RunError


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it and rename it to `path`, on failure remove it.

    The temporary name ends like `path`, because writers choose a format by the ending.
    Raises RunError if the folder cannot be written, or if `path` is a device or a pipe, which a rename would replace.
    """
    target = Path(path)
    if target.exists() and not target.is_file() and not target.is_dir():
        raise RunError(f"cannot write {target}: it is a device or a pipe, not a file. Give the name of a file with -o.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".partial-", suffix=target.name)
    except OSError as error:
        raise RunError(f"cannot write {target}: {error.strerror or error}. Choose another place with -o.") from error
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        with partial.open("rb+") as stream:
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)  # mkstemp makes files that only their owner can read
        partial.replace(target)
    except _write_errors() as error:
        why = getattr(error, "strerror", None) or error
        raise RunError(f"cannot write {target}: {why}. Free some space or choose another place.") from error
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


def _write_errors() -> tuple[type[Exception], ...]:
    """OSError, and what safetensors raises in its place, if what is being written has loaded it."""
    safetensors = sys.modules.get("safetensors")
    return (OSError,) if safetensors is None else (OSError, safetensors.SafetensorError)


def writable_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder if need be, and find out now rather than after hours of work that it can be written. Raises RunError."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror or error}. Choose another place with -o.") from error


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Replace `path` by `text` (UTF-8) atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Replace `path` by `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def file_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


class EventLog:
    """`events.jsonl`: one JSON object a line, appended and flushed; a torn last line is dropped on reading."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def append(self, event: str, **values: Any) -> None:
        """Add one line `{"event": event, ...values}`."""
        line = json.dumps({"event": event, **values}, ensure_ascii=False)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - 1))
                torn = stream.read(1) not in (b"", b"\n")  # a killed run's last line must not swallow this one
                stream.write(b"\n" * torn + line.encode() + b"\n")
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {error.strerror or error}.") from error

    def read(self) -> list[dict[str, Any]]:
        """Every whole line, oldest first."""
        if not self.path.exists():
            return []
        events = []
        for line in self.path.read_bytes().split(b"\n"):
            with suppress(ValueError):  # torn: not JSON, or half a character
                events.append(json.loads(line))
        return events
