"""The errors a user can cause. Each message is a sentence: what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MolvaeError(Exception):
    """Base of every error that the command line shows as one sentence, without a traceback."""


class ConfigError(MolvaeError):
    """A setting, an option or a configuration file is wrong."""


class UnknownName(ConfigError):
    """A name that nothing is registered under; the message suggests the nearest one."""


class DataError(MolvaeError):
    """An input file cannot be used as it is."""


class InvalidMolecule(MolvaeError):
    """A molecule the caller insisted on cannot be parsed or encoded."""


class CheckpointError(MolvaeError):
    """A checkpoint is missing, truncated, foreign, or of a newer format."""


class OracleError(MolvaeError):
    """An oracle cannot be loaded, or broke its contract for a whole batch."""


class RunError(MolvaeError):
    """A run directory cannot be written, or belongs to another run."""


class CollapsedModel(MolvaeError):
    """Training ended with a latent space that carries no information (posterior collapse)."""


class DivergedModel(MolvaeError):
    """Training met a loss or a gradient that is not a finite number."""


def nearest(name: str, known: Iterable[str]) -> str:
    """' Did you mean X?' for the closest of `known` to `name`, or '' if nothing is close."""
    names = list(known)
    folded = {one.casefold(): one for one in names}
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5) or [
        folded[one] for one in difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    ]
    return f" Did you mean {close[0]!r}?" if close else ""


def error_text(error: BaseException) -> str:
    """'ValueError: first line of its message', short enough for a table."""
    lines = str(error).strip().splitlines()
    return shortened(f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__)


def shortened(text: str, length: int = 200) -> str:
    """`text`, with dots in place of what is more than `length` characters."""
    return text if len(text) <= length else text[: length - 3] + "..."
