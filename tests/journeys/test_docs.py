"""The documentation tells the truth: every command and every Python block of the README and of docs/*.md runs.

Pages are read as docs/refresh_readme.py reads them, and run from top to bottom, each in an empty directory, with the shipped
model. What is run differently from how it stands there is said in the two tables below, and nowhere else.
"""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from conftest import EXAMPLE, TINY

from molvae.cli import app
from molvae.config import write_toml

REPOSITORY = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("refresh_readme", REPOSITORY / "docs" / "refresh_readme.py")
refresh = importlib.util.module_from_spec(_SPEC)
sys.modules["refresh_readme"] = refresh  # dataclasses look their module up
_SPEC.loader.exec_module(refresh)

SKIPPED = {  # the beginning of a command -> why it is not run here
    "pip install ": "it changes the environment; .ci/run runs those of the README",
    "molvae data fetch ": "it needs a network; the tests of fetching have a server of their own",
    "torchrun ": "it starts processes that wait for each other; tests/unit/test_training.py runs two",
    "molvae evaluate zinc250k ": "it draws ten thousand molecules; the line with runs/mine does the same with a small model",
}

REDUCED = {  # what stands on a page -> what is run in its place, so that it takes seconds
    "generate -n 100 --model runs/mine_tuned ": "generate -n 3 --model runs/mine_tuned ",
    "molvae fit-prior molecules.smi ": "molvae fit-prior molecules.smi --set steps=20 ",
    "generate -n 100 --model runs/asked_flow ": "generate -n 3 --keep-unfaithful --model runs/asked_flow ",
    "generate -n 100 --model runs/asked ": "generate -n 3 --keep-unfaithful --model runs/asked ",
    "generate -n 100 ": "generate -n 10 ",
    "generate -n 200 ": "generate -n 10 ",
    "generate -n 300 ": "generate -n 40 ",
    "generate(100, ": "generate(10, ",
    "generate(50, ": "generate(10, ",
    "QED --budget 100 --set batch=4": "QED --no-floor --budget 12 --set batch=4",
    "--start leads.smi --budget": "--start leads.smi --no-floor --budget",
    "--seeds 2 --budget 300 ": "--seeds 1 --budget 60 ",
    "--budget 300 --no-floor ": "--budget 60 --no-floor ",
    "--budget 60 ": "--budget 8 ",
    "--budget 80 ": "--budget 12 ",
    "--budget 40 ": "--budget 8 ",
    "--budget 300 --model": "--strategy genetic --no-floor --start held_out.smi --budget 40 --model",
    "budget=40": "budget=12",
    "budget=30": "budget=16",
    "molvae prepare molecules.csv.gz ": "molvae prepare molecules.csv.gz --spelling selfies --words 20 ",
    "molvae train data ": "molvae train data -c tiny.toml ",
    "molvae train molecules.smi.gz ": "molvae train molecules.smi.gz -c plain.toml ",
    "-c my.toml ": "-c plain.toml ",
    "molvae train molecules.smi --set ": "molvae train molecules.smi -c plain.toml --set ",
    "--set training.molecules=500000 ": "--set training.molecules=3000 ",
    "--fine-tune zinc250k ": "--fine-tune zinc250k -c tuned.toml ",
    "molvae evaluate runs/mine ": "molvae evaluate runs/mine -n 30 --no-fcd ",
    "molvae evaluate library.csv --reference molecules": "molvae evaluate library.csv --no-fcd --reference molecules",
}  # fmt: skip

SIZES = {table: TINY[table] for table in ("model", "training")}
CONFIGS = {
    "tiny.toml": SIZES,  # for prepared data, which has its words in it
    "plain.toml": {"data": {"words": 20, "spelling": "selfies"}, **SIZES},
    "tuned.toml": {"training": {"molecules": 60}, "fine_tuning": {"samples": 20, "replay": 0.1}},
}

_UNTIL_PIPE = re.compile(r"""molvae (?:"[^"]*"|'[^']*'|[^"'|>&])*""")


def reduced(text: str) -> str:
    for written, run in REDUCED.items():
        text = text.replace(written, run)
    return text


def in_bash(command: str, given: str = "") -> str:
    strict = ["bash", "-euo", "pipefail", "-c", command]
    done = subprocess.run(strict, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def in_this_process(command: str, molvae) -> str:
    """Run `molvae ...` without starting an interpreter, and what stands behind it (`| tail`, `> file`) in bash."""
    command, merged = re.subn(r" 2>&1", "", command)
    command = command.replace(" 2> /dev/null", "")
    own = _UNTIL_PIPE.match(command)[0]
    outcome = molvae(*shlex.split(own)[1:])
    assert outcome.code == 0, f"{command}\n{outcome.out}{outcome.err}"
    output = (outcome.err if merged else "") + outcome.out
    return in_bash(f"cat {command[len(own) :]}", output) if command != own else output


@pytest.mark.parametrize("page", refresh.PAGES, ids=lambda path: path.stem)
def test_what_a_page_says_runs(page: Path, molvae, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EXAMPLE", str(EXAMPLE))
    monkeypatch.setattr("molvae.training.experiment.FITTED", ("gaussian",))  # a learned prior takes longer than all the rest
    monkeypatch.setattr("molvae.training.experiment.PRIOR_SAMPLES", 20)
    (tmp_path / "molecules.smi").write_text(EXAMPLE.read_text())
    for name, table in CONFIGS.items():
        write_toml(tmp_path / name, table)
    names: dict = {}
    for block in refresh.blocks(page.read_text(encoding="utf-8")):
        if block.kind == "set-up":
            in_bash(block.text)
        elif block.kind == "file":
            (tmp_path / block.title).write_text(block.text)
        elif block.kind == "python":
            exec(compile(reduced(block.text), str(page), "exec"), names)
        for command in block.commands:
            if command.startswith(tuple(SKIPPED)):
                continue
            output = in_this_process(reduced(command), molvae) if command.startswith("molvae ") else in_bash(command)
            assert output or " -o " in command, f"{command} shows nothing"


def commands() -> dict[str, str]:
    """Every `molvae ...` on a page, skipped ones too, and the page."""
    found = {}
    for page in refresh.PAGES:
        for block in refresh.blocks(page.read_text(encoding="utf-8")):
            for command in block.commands:
                for part in re.findall(r"(?:^|&& |-m )" + _UNTIL_PIPE.pattern, command):
                    found["molvae " + part.split("molvae ", 1)[1].strip()] = page.name
    return found


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_command_has_the_options_that_are_written(command: str) -> None:
    words = shlex.split(re.sub(r" 2$", "", command))[1:]
    verb = typer.main.get_command(app)
    while hasattr(verb, "commands"):
        verb = verb.commands[words.pop(0)]
    verb.make_context(verb.name, words)  # raises for an option that does not exist


@pytest.mark.parametrize("written", [*SKIPPED, *REDUCED])
def test_no_exception_has_outlived_its_command(written: str) -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in refresh.PAGES)
    assert written in text or written in reduced(text)


def test_shown_commands_have_their_output() -> None:
    """A console block shows what its commands print, so one whose commands print nothing shown is a page not refreshed."""
    for page in refresh.PAGES:
        for block in refresh.blocks(page.read_text(encoding="utf-8")):
            assert block.kind != "console" or len(block.text.splitlines()) > len(block.commands), page.name
