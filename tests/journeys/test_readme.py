"""The README tells the truth: its commands exist with their options, its Python runs, its table names the real parts."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer.main

from molvae.cli import app

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")

BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
COMMANDS = sorted(
    {
        "molvae " + part.split("#")[0].strip()
        for language, block in BLOCKS
        if language in ("", "console")
        for line in block.splitlines()
        for part in re.findall(r"(?:^|&& |^\$ )molvae ([^|]*)", line.removeprefix("$ "))
    }
)


def test_the_two_first_commands_are_the_promised_ones() -> None:
    assert BLOCKS[0][1].splitlines() == [
        "pip install -c constraints.txt . && molvae optimize osimertinib_mpo --budget 300",
        "pip install -c constraints.txt '.[test]' && pytest",
    ]


def test_continuous_integration_takes_them_from_here() -> None:
    script = (REPOSITORY / ".ci" / "run").read_text()
    patterns = re.findall(r"grep -m 1 -E '([^']+)' README.md", script)
    found = [next(line for line in README.splitlines() if re.search(pattern, line)) for pattern in patterns]
    assert sorted(found) == sorted(BLOCKS[0][1].splitlines())
    assert subprocess.run(["bash", "-n", str(REPOSITORY / ".ci" / "run")], check=False).returncode == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_parses(command: str) -> None:
    assert len(COMMANDS) > 6
    words = shlex.split(re.sub(r"\s2>&1", "", command))[1:]
    verb = typer.main.get_command(app)
    while hasattr(verb, "commands"):
        verb = verb.commands[words.pop(0)]
    verb.make_context(verb.name, words)  # raises for an option that does not exist


def test_the_python_example_runs(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = [block for language, block in BLOCKS if language == "python"]
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code.replace('"zinc250k"', repr(str(tiny_model))), names)
    assert len(names["frame"]) == 100
    assert names["result"].best(1)[0].score == max(float(s.count("N")) for s in (e.smiles for e in names["result"].best(30)))
    assert (tmp_path / "runs" / "nitrogen" / "molecules.csv").exists()
    assert (tmp_path / "library.sdf").exists()


def test_the_table_of_parts_names_every_part() -> None:
    rows = README.split("| part of `molvae/` |")[1].split("##")[0].splitlines()
    first = [row.split("|")[1] for row in rows if row.startswith("| `")]
    named = {name.rstrip("/") for cell in first for name in re.findall(r"`([^`]+)`", cell)}
    files = (REPOSITORY / "molvae").iterdir()
    real = {path.name.removesuffix(".py") for path in files if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert named == real - {"__init__", "__main__"}
