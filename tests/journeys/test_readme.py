"""The README keeps its promises: two first commands, and a table of the real parts. What it tells to run: test_docs.py."""

import re
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")

FIRST_BLOCK = re.search(r"^```\n(.*?)^```", README, re.DOTALL | re.MULTILINE)[1].splitlines()


def test_the_two_first_commands_are_the_promised_ones() -> None:
    assert FIRST_BLOCK == [
        "pip install -c constraints.txt . && molvae optimize osimertinib_mpo --budget 300",
        "pip install -c constraints.txt '.[test]' && pytest",
    ]


def test_continuous_integration_takes_them_from_here() -> None:
    script = (REPOSITORY / ".ci" / "run").read_text()
    patterns = re.findall(r"grep -m 1 -E '([^']+)' README.md", script)
    found = [next(line for line in README.splitlines() if re.search(pattern, line)) for pattern in patterns]
    assert sorted(found) == sorted(FIRST_BLOCK)
    assert subprocess.run(["bash", "-n", str(REPOSITORY / ".ci" / "run")], check=False).returncode == 0


def test_the_table_of_parts_names_every_part() -> None:
    rows = README.split("| part of `molvae/` |")[1].split("##")[0].splitlines()
    first = [row.split("|")[1] for row in rows if row.startswith("| `")]
    named = {name.rstrip("/") for cell in first for name in re.findall(r"`([^`]+)`", cell)}
    files = (REPOSITORY / "molvae").iterdir()
    real = {path.name.removesuffix(".py") for path in files if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert named == real - {"__init__", "__main__"}
