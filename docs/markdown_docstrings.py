"""The extension of Griffe, which reads the code for the API reference: docstrings of the house become Markdown."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import griffe

sys.path.insert(0, str(Path(__file__).parent))

from docstrings import markdown


class Markdown(griffe.Extension):
    """Rewrites docstrings as they are read: see `docstrings.markdown`."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is None or obj.is_alias:
            return
        names = set(obj.members) if obj.is_class else set()
        if obj.is_class or obj.is_function:
            names |= {parameter.name for parameter in obj.parameters}
        obj.docstring.value = markdown(inspect.cleandoc(obj.docstring.value), names)
