"""What the documentation is made with: docstrings read as lists and tables, parts of files, a page for everything."""

import importlib.util
import re
import sys
import tomllib
from pathlib import Path

import pytest

from molvae.models.kl_weight import KL_WEIGHTS, RateTarget
from molvae.models.networks import DECODERS, ENCODERS
from molvae.models.sequence_vae import MODELS
from molvae.search.proposals.base import PROPOSALS
from molvae.search.strategies.base import STRATEGIES
from molvae.training.preparation import DataSettings
from molvae.training.settings import FineTuneSettings, TrainSettings

REPOSITORY = Path(__file__).parents[2]


def loaded(name: str):
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


docstrings, hooks = loaded("docstrings"), loaded("hooks")

REGISTRIES = (MODELS, ENCODERS, DECODERS, KL_WEIGHTS, STRATEGIES, PROPOSALS)
SETTINGS = [DataSettings, TrainSettings, FineTuneSettings, *(registry.get(n) for registry in REGISTRIES for n in registry)]

TEXT = """Does a thing.

Parameters
----------
x: the first.  y, z: two more,
    over two lines. limit: none of it: all.
other: not a name of this function.

Afterwards.

>>> f(1)
2
"""


def test_entries_are_the_names_that_a_function_has() -> None:
    found = [(names, text) for _, _, names, text in docstrings.entries(TEXT, ["x", "y", "z", "limit"])]
    assert found == [
        (["x"], "the first."),
        (["y", "z"], "two more, over two lines."),
        (["limit"], "none of it: all. other: not a name of this function."),
    ]


def test_a_docstring_becomes_markdown() -> None:
    assert docstrings.markdown(TEXT, ["x", "y", "z", "limit", "other"]) == (
        "Does a thing.\n\n**Parameters**\n\n"
        "- `x`: the first.\n- `y`, `z`: two more, over two lines.\n- `limit`: none of it: all.\n"
        "- `other`: not a name of this function.\n\n"
        "Afterwards.\n\n```pycon\n>>> f(1)\n```\n2\n"
    )


@pytest.mark.parametrize("entry", SETTINGS, ids=lambda entry: entry.__name__)
def test_every_setting_is_described(entry: type) -> None:
    """The configuration page takes its tables from here: a setting without a word in its docstring has an empty cell."""
    assert [name for name, _, text in docstrings.described(entry) if not text] == []


def test_a_table_of_settings_has_the_defaults() -> None:
    rows = [row.split(" | ") for row in hooks_with_tools().settings_table(RateTarget).splitlines()[2:]]
    assert {row[0].strip("| `"): row[1].strip("`") for row in rows} == {
        "rate": "60.0", "later": "[]", "start": "0.02", "gain": "0.003", "low": "0.0001", "high": "0.3",
    }  # fmt: skip


def hooks_with_tools():
    sys.modules["docstrings"] = docstrings  # MkDocs puts the folder on the import path
    return hooks


def test_the_reference_has_every_module() -> None:
    shown = {module for _, _, modules, _ in hooks.parts() for module in modules}
    files = [path for path in (REPOSITORY / "molvae").rglob("*.py") if path.read_text().strip()]
    dotted = {".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__") for path in files}
    assert shown == dotted - {"molvae", "molvae.__main__"}


def test_every_page_is_in_the_navigation_and_every_included_section_exists() -> None:
    navigation = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8").split("nav:")[1]
    for page in (REPOSITORY / "docs").glob("*.md"):
        assert f"{page.name}\n" in navigation
        for name, heading in re.findall(r'^<!-- include (\S+) "(.*)" -->$', page.read_text(encoding="utf-8"), re.MULTILINE):
            assert hooks.included(name, heading)
    with pytest.raises(ValueError, match=r"README\.md has no section 'Nothing'"):
        hooks.included("README.md", "Nothing")


def test_the_extras_that_the_page_names_are_those_that_exist() -> None:
    page = (REPOSITORY / "docs" / "install.md").read_text(encoding="utf-8")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert re.findall(r"^\| `\.\[(\w+)\]` \|", page, re.MULTILINE) == list(project["optional-dependencies"])


def test_links_of_an_included_part_lead_to_pages() -> None:
    assert "](search.png)" in hooks.included("README.md", "") and "](docs/" not in hooks.included("README.md", "")
    assert "[benchmarks/README.md](benchmarks.md)" in hooks.included("README.md", "Measured")


def test_a_notebook_is_shown_with_what_it_printed() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# A\n", "text"]},
        {
            "cell_type": "code",
            "source": ["1 + 1"],
            "outputs": [{"output_type": "execute_result", "data": {"text/plain": ["2"]}}],
        },
        {
            "cell_type": "code",
            "source": ["plot()"],
            "outputs": [{"data": {"image/png": "abc\n", "text/plain": ["<Figure>"]}}],
        },
    ]
    assert hooks.notebook_page({"cells": cells}) == (
        "# A\ntext\n\n```python\n1 + 1\n```\n\n```{.text .output}\n2\n```\n\n"
        '```python\nplot()\n```\n\n<img alt="figure" src="data:image/png;base64,abc">'
    )
