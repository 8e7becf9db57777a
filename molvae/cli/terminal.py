"""What every verb shares: errors as one sentence, exit codes, messages on stderr, progress on terminals only."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from molvae.errors import ConfigError, MolvaeError

MISTAKE, WRONG_SETTING, INTERRUPTED = 1, 2, 130


class Verbs(TyperGroup):
    """A group of verbs in which a user's mistake is one sentence on stderr and an exit code, never a traceback."""

    def invoke(self, context: typer.Context) -> Any:
        try:
            result = super().invoke(context)
            sys.stdout.flush()  # a full disk or a closed pipe shows here, not after the end
            return result
        except MolvaeError as error:
            say(f"molvae: {error}")
            raise typer.Exit(exit_code(error)) from error
        except KeyboardInterrupt:
            say("molvae: stopped by Ctrl-C.")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            _drop_output()  # whoever read it has seen enough (`| head`)
            raise typer.Exit(MISTAKE) from None
        except sqlite3.OperationalError as error:
            say(f"molvae: cannot write the run's ledger: {error}. Free some space or choose another place with -o.")
            raise typer.Exit(MISTAKE) from error
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.EPERM):
                raise
            if not error.filename:
                _drop_output()
            where = f" {error.filename}" if error.filename else ""
            say(f"molvae: cannot write{where}: {error.strerror}. Free some space or choose another place.")
            raise typer.Exit(MISTAKE) from error


def _drop_output() -> None:
    """Forget what standard output still holds, or Python would try to write it once more at the end, and complain again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def exit_code(error: MolvaeError) -> int:
    """2 for a wrong setting, 130 for Ctrl-C, 1 for everything else that went wrong."""
    if isinstance(error, ConfigError):
        return WRONG_SETTING
    # By name: importing the search for every error message would load RDKit.
    return INTERRUPTED if type(error).__name__ == "Interrupted" else MISTAKE


def say(text: str) -> None:
    """A line for the reader, on stderr."""
    print(text, file=sys.stderr, flush=True)


class _Sentences(logging.Handler):
    """Log records as lines on stderr, whatever stderr is by then."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"molvae: {record.getMessage()}")


def show_warnings() -> None:
    """Log records of molvae from WARNING on go to stderr as plain sentences."""
    logger = logging.getLogger("molvae")
    if not any(isinstance(handler, _Sentences) for handler in logger.handlers):
        logger.addHandler(_Sentences(logging.WARNING))


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield `update(done, total)`, total 0 while it is unknown; a bar on stderr if that is a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """Yield `progress(stage, done, total)`: one bar after the other; the total is 0 while it is unknown."""
    with ExitStack() as stack:
        bars: dict[str, Callable[[int, int], None]] = {}

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                stack.close()
                bars.clear()
                bars[stage] = stack.enter_context(progress_bar(stage))
            bars[stage](done, total)

        yield progress


def plain_table(header: list[str], rows: list[list[str]], left: tuple[int, ...] = ()) -> str:
    """Aligned columns as text; the last column is never padded or cut, so that it can be copied whole."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    last = len(header) - 1

    def line(row: list[str]) -> str:
        cells = [
            cell if i == last else cell.ljust(widths[i]) if i in left else cell.rjust(widths[i])
            for i, cell in enumerate(row)
        ]
        return "  ".join(cells).rstrip()

    return "\n".join(line(row) for row in [header, *rows])
