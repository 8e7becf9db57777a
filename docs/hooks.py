"""What MkDocs does beside rendering Markdown: pages made from the code, parts of other files, notebooks, equations.

A page may hold these comments, each on a line of its own:

    <!-- include README.md "Files of a run" -->              a section of a file of this repository, without heading
    <!-- settings molvae.training.settings.TrainSettings --> a table of settings; of a registry, one table an entry
    <!-- verbs -->                                           the functions of `import molvae`
    <!-- command line -->                                    the help of every command

The API reference has a page in `parts/` for every row of the README's table of parts. Equations become MathML, which
a browser shows without a script and without a network.
"""

from __future__ import annotations

import html
import json
import os
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "molvae"
FIRST_PARAGRAPH = re.compile(r"\A(.*?)(?=\n\n|\n\w+: |\n\w[\w ]*\n---|\Z)", re.DOTALL)


# -- MkDocs' events


def on_config(config: Any) -> Any:
    """Put the pages of the parts into the navigation, and this folder and the package on the import path."""
    sys.path[:0] = [str(REPOSITORY), str(Path(__file__).parent)]
    reference = next(entry for entry in config.nav if "API reference" in entry)
    reference["API reference"] += [{title: f"parts/{name}.md"} for name, title, _, _ in parts()]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of the parts, and a page for every notebook."""
    from mkdocs.structure.files import File

    for name, title, modules, description in parts():
        blocks = "\n\n".join(f"::: {module}" for module in modules)
        files.append(File.generated(config, f"parts/{name}.md", content=f"# {title}\n\n{description}.\n\n{blocks}\n"))
    for path in sorted(Path(config.docs_dir, "notebooks").glob("*.ipynb")):
        page = f"[Download this notebook]({path.name})\n\n{notebook_page(json.loads(path.read_text(encoding='utf-8')))}"
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the comments."""
    markdown = re.sub(r'^<!-- include (\S+)(?: "(.*)")? -->$', lambda m: included(m[1], m[2]), markdown, flags=re.MULTILINE)
    markdown = re.sub(r"^<!-- settings (\S+) -->$", lambda m: settings(m[1]), markdown, flags=re.MULTILINE)
    markdown = re.sub(r"^<!-- verbs -->$", lambda _: verbs(), markdown, flags=re.MULTILINE)
    return re.sub(r"^<!-- command line -->$", lambda _: command_line(), markdown, flags=re.MULTILINE)


def on_page_content(content: str, **_: Any) -> str:
    """Equations, which arithmatex has marked as \\(...\\) and \\[...\\], as MathML."""
    from latex2mathml.converter import convert

    def mathml(match: re.Match[str]) -> str:
        made = convert(html.unescape(match[3]), display="block" if match[2] == "[" else "inline")
        if unknown := re.search(r">(\\\w+)<", made):
            raise ValueError(f"an equation has {unknown[1]}, which cannot be shown: {match[3]}")
        return re.sub(r"<mi>log</mi>(?!<mo)", '<mi>log</mi><mspace width="0.17em"/>', made)

    return re.sub(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', mathml, content, flags=re.DOTALL)


# -- pages from the code


def parts() -> Iterator[tuple[str, str, list[str], str]]:
    """(page, title, modules, description) of each row of the README's table of parts."""
    table = (REPOSITORY / "README.md").read_text(encoding="utf-8").split("| part of `molvae/` |")[1]
    for row in re.findall(r"^\| (`.*?) \| (.*) \|$", table.split("\n\n")[0], re.MULTILINE):
        names = re.findall(r"`([^`]+)`", row[0])
        modules = [module for name in names for module in modules_of(name.rstrip("/"))]
        yield names[0].rstrip("/"), ", ".join(name.rstrip("/") for name in names), modules, row[1][0].upper() + row[1][1:]


def modules_of(name: str) -> list[str]:
    """A module, or the modules of a package that have something to say."""
    folder = PACKAGE / name
    paths = [folder.with_suffix(".py")] if not folder.is_dir() else sorted(folder.rglob("*.py"))
    spoken = [path for path in paths if path.read_text(encoding="utf-8").strip()]
    dotted = [".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in spoken]
    return [module.removesuffix(".__init__") for module in dotted]


def verbs() -> str:
    """A table of the public functions with links to their places in the reference."""
    rows = []
    for verb, module in import_module("molvae")._VERBS.items():
        function = getattr(import_module(module), verb)
        summary = " ".join(FIRST_PARAGRAPH.match(function.__doc__.strip())[1].split())
        rows.append(f"| [`molvae.{verb}`][{module}.{verb}] | {summary} |")
    return "\n".join(["| function | what it does |", "|---|---|", *rows])


def settings(target: str) -> str:
    """The table of a class of settings, or of each entry of a registry with the first paragraph of its docstring."""
    from molvae.registry import Registry

    module, name = target.rsplit(".", 1)
    found = getattr(import_module(module), name)
    if not isinstance(found, Registry):
        return settings_table(found)
    blocks = []
    for entry in found:
        made = found.get(entry)
        summary = " ".join(FIRST_PARAGRAPH.match(made.__doc__.strip())[1].split())
        blocks.append(f"**`{entry}`**: {summary}\n\n{settings_table(made)}")
    return "\n\n".join(blocks)


def settings_table(entry: Any) -> str:
    """Every setting of a class or function with its default and what its docstring says of it."""
    from docstrings import described

    cells = [(name, default_text(default), text.replace("|", "\\|")) for name, default, text in described(entry)]
    rows = [f"| `{name}` | {default} | {text} |" for name, default, text in cells]
    if not rows:
        return "It has no settings."
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows])


def default_text(default: Any) -> str:
    """A default as TOML says it."""
    from molvae.config import to_toml

    if default is None:
        return ""
    return f"`{to_toml({'x': default}).split('=', 1)[1].strip()}`"


def command_line() -> str:
    """The help of every command, as a terminal of 100 columns shows it."""
    import typer.main

    os.environ["COLUMNS"] = os.environ["TERMINAL_WIDTH"] = "100"
    from molvae.cli import app

    def pages(command: Any, words: list[str], parent: Any) -> Iterator[str]:
        width = {"terminal_width": 100, "max_content_width": 100}
        context = command.context_class(command, info_name=words[-1], parent=parent, **width)
        level = min(len(words), 2) + 1
        if len(words) > 1:
            yield f"{'#' * level} {' '.join(words)}"
        yield f"```text\n{command.get_help(context).strip()}\n```"
        for name, inner in getattr(command, "commands", {}).items():
            if not inner.hidden:
                yield from pages(inner, [*words, name], context)

    return "\n\n".join(pages(typer.main.get_command(app), ["molvae"], None))


# -- parts of other files


def included(name: str, heading: str | None) -> str:
    """A file of the repository, one of its sections (without the heading), or what stands before its first section ("")."""
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    if heading is not None:
        first, *sections = re.split(r"^## (.*)\n", re.sub(r"\A# .*\n", "", text), flags=re.MULTILINE)
        by_title = {"": first} | dict(zip(sections[::2], sections[1::2], strict=True))
        if heading not in by_title:
            raise ValueError(f"{name} has no section {heading!r}; it has: {', '.join(by_title)}")
        text = by_title[heading].strip()
    moved = {"docs/": "", "benchmarks/README.md": "benchmarks.md", "data/README.md": "data.md"}
    for old, new in moved.items():
        text = text.replace(f"]({old}", f"]({new}")
    return text


def notebook_page(notebook: dict[str, Any]) -> str:
    """A notebook as Markdown: its text, its code, and what that printed or drew."""
    blocks = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            blocks.append(source)
        elif source.strip():
            blocks.append(f"```python\n{source}\n```")
            blocks += [shown for output in cell["outputs"] if (shown := output_block(output))]
    return "\n\n".join(blocks)


def output_block(output: dict[str, Any]) -> str:
    """One output of a cell."""
    data = output.get("data", {})
    if "image/png" in data:
        return f'<img alt="figure" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    if "image/svg+xml" in data:
        return "".join(data["image/svg+xml"])
    if "text/html" in data:
        page = re.sub(r"<style.*?</style>", "", "".join(data["text/html"]), flags=re.DOTALL)
        return re.sub(r"\n\s*", "", page)  # on one line, Markdown leaves it alone
    text = "".join(output.get("text") or data.get("text/plain") or "").rstrip()
    return f"```{{.text .output}}\n{text}\n```" if text else ""
