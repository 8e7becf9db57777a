"""Run the `$ ` commands in the console blocks of the README and of docs/*.md, and the notebooks; make docs/search.png.

    python docs/refresh_readme.py                   # everything, with the shipped model; takes minutes
    python docs/refresh_readme.py --only console    # README and pages; leave the picture and the notebooks as they are
    python docs/refresh_readme.py docs/latent.md docs/notebooks/generate_a_library.ipynb    # these

What a page may hold, which the tests run too (tests/journeys/test_docs.py):

    ```console                      `$ ` commands, each with what it prints
    ``` or ```sh                    commands alone, which take long or need a network: run by the tests with small budgets
    ```python title="score.py"      a file for the commands after it
    ```python                       run by the tests, the blocks of a page one after the other
    <!-- set-up ... -->             a shell script that makes what a page takes for granted; $EXAMPLE is data/example.smi

Every page runs in a temporary directory of its own, from its first block to its last. The picture is the search of the
README's first command.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
README = REPOSITORY / "README.md"
PAGES = (README, *sorted(Path(__file__).parent.glob("*.md")))
NOTEBOOKS = tuple(sorted((Path(__file__).parent / "notebooks").glob("*.ipynb")))
EXAMPLE = REPOSITORY / "data" / "example.smi"

_BLOCK = re.compile(r'^```(\w*)(?: title="([^"]*)")?\n(.*?)^```$|^<!-- set-up\n(.*?)^-->$', re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A part of a page.

    kind: "console", "sh", "python", "file" (its name is `title`), "set-up", or another language, which is not run.
    start, end: where `text` stands in the page.
    """

    kind: str
    title: str
    text: str
    start: int
    end: int

    @property
    def commands(self) -> list[str]:
        """The commands of a console or sh block, comments removed."""
        if self.kind == "console":
            return [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]
        lines = self.text.splitlines() if self.kind == "sh" else []
        return [command for line in lines if (command := re.sub(r"\s+# .*", "", line).strip())]


def blocks(page: str) -> list[Block]:
    """The blocks of a page, in order."""
    found = []
    for match in _BLOCK.finditer(page):
        language, title, text, set_up = match.groups()
        kind = "set-up" if set_up is not None else "file" if title else language or "sh"
        found.append(Block(kind, title or "", set_up or text or "", *match.span(4 if set_up else 3)))
    return found


def printed(command: str, folder: Path) -> str:
    """Standard output and error of a shell command, as a terminal would show them."""
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "EXAMPLE": str(EXAMPLE)},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{command!r} failed:\n{done.stdout}")
    return done.stdout.rstrip("\n")


def refreshed(page: str, folder: Path) -> str:
    """The page with the commands of its console blocks run again, in `folder`."""
    parts, at = [], 0
    for block in blocks(page):
        if block.kind == "set-up":
            printed(block.text, folder)
        elif block.kind == "file":
            (folder / block.title).write_text(block.text)
        elif block.kind == "console":
            shown = [line for command in block.commands for line in (f"$ {command}", printed(command, folder)) if line]
            parts += [page[at : block.start], "\n".join(shown) + "\n"]
            at = block.end
    return "".join([*parts, page[at:]])


def run_notebook(path: Path, folder: Path) -> None:
    """Run a notebook in `folder` and write its outputs into it."""
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
    notebook.metadata.language_info = {"name": "python"}  # not which Python ran it
    nbformat.write(notebook, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", type=Path, help="README.md, docs/*.md or notebooks; by default all of them")
    parser.add_argument("--only", choices=("console", "notebooks", "picture"))
    asked = parser.parse_args()
    everything = {"console": PAGES, "notebooks": NOTEBOOKS, "picture": (), None: (*PAGES, *NOTEBOOKS)}[asked.only]
    for path in asked.pages or everything:
        with tempfile.TemporaryDirectory() as folder:
            if path.suffix == ".ipynb":
                run_notebook(path, Path(folder))
            else:
                path.write_text(refreshed(path.read_text(encoding="utf-8"), Path(folder)), encoding="utf-8")
    if not asked.pages and asked.only in (None, "picture"):
        search = re.search(r"^pip install .* && (molvae optimize .*)$", README.read_text(encoding="utf-8"), re.MULTILINE)
        with tempfile.TemporaryDirectory() as folder:
            printed(f"{search[1]} -o {folder}/run", Path(folder))
            printed(f"molvae report {folder}/run --picture {REPOSITORY / 'docs' / 'search.png'}", Path(folder))


if __name__ == "__main__":
    main()
