"""Pages from templates: everything that is put in is escaped, unless it is markup of our own."""

from __future__ import annotations

import json
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def render(template: str, **values: Any) -> str:
    """A template of this folder, filled in. Raises jinja2.UndefinedError for a value that it lacks."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=PackageLoader("molvae", "report"),
    )
    return environment.get_template(template).render(**values)


def script_data(data: Any) -> Markup:
    """JSON for a script element of type application/json."""
    # "<" inside a string could end the element; as an escape it is the same string.
    return Markup(json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"))
