"""An external program as an oracle: tab-separated lines with an id go in, values come back matched by that id."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Sequence

from molvae.errors import ConfigError, OracleError
from molvae.oracles.base import Measurement, Oracle


class CommandOracle(Oracle):
    """Runs `command` once for a batch of molecules, without a shell.

    It reads lines `id<TAB>SMILES` on standard input and writes lines `id<TAB>value` on standard output, in any order;
    further columns, and lines that start with no known id (a header, a log line), are ignored. A molecule whose id does not
    come back, comes back twice with different values, or with something that is not a finite number, has failed. After an
    exit status other than 0, what has no value yet is measured again one molecule at a time, so that one that the program
    cannot bear costs only itself; then the last line of standard error is the reason.

    Parameters
    ----------
    command: program and arguments, split like a shell would.
    timeout: seconds for a molecule, and for a batch that many times its molecules; None for no limit.

    Raises ConfigError if the command cannot be split, OracleError if there is no such program.
    """

    chunk = 128

    def __init__(self, command: str, *, timeout: float | None = None) -> None:
        try:
            self.arguments = shlex.split(command)
        except ValueError as error:
            raise ConfigError(f"cannot read the command {command!r}: {error}. Check its quotes.") from error
        if not self.arguments:
            raise ConfigError("the oracle cmd: names no program; write it as cmd:./score --option.")
        if shutil.which(self.arguments[0]) is None:
            raise OracleError(f"there is no program {self.arguments[0]!r} that can be run; give its path after cmd:.")
        self.timeout = timeout

    def measure(self, smiles: Sequence[str]) -> list[Measurement]:
        if not smiles:
            return []
        measurements, is_whole = self._run(smiles)
        if is_whole or len(smiles) == 1:
            return measurements
        return [m if not m.reason else self._run([one])[0][0] for one, m in zip(smiles, measurements, strict=True)]

    def _run(self, smiles: Sequence[str]) -> tuple[list[Measurement], bool]:
        """What one start of the command gives, and whether it came to its own end."""
        ids = [f"m{number}" for number in range(1, len(smiles) + 1)]
        text = "".join(f"{one}\t{molecule}\n" for one, molecule in zip(ids, smiles, strict=True))
        limit = None if self.timeout is None else self.timeout * len(smiles)
        try:
            done = subprocess.run(
                self.arguments, input=text, capture_output=True, encoding="utf-8", errors="replace", timeout=limit
            )
        except subprocess.TimeoutExpired:
            return [Measurement.failed(f"the command took longer than {limit:g} s") for _ in ids], False
        except OSError as error:
            return [Measurement.failed(f"the command could not be run: {error.strerror or error}") for _ in ids], True
        output, missing = done.stdout, "the command returned no value for it"
        if done.returncode != 0:
            last_words = (done.stderr.strip().splitlines() or ["no message"])[-1][:200]
            missing = f"the command ended with status {done.returncode}: {last_words}"
            output = output[: output.rfind("\n") + 1]  # a line cut off by a crash may hold half a number
        answers = _answers(output, set(ids))
        return [_read(answers[one], missing) for one in ids], done.returncode == 0


def _answers(output: str, ids: set[str]) -> dict[str, list[str]]:
    """The value column of each line that starts with one of `ids`, by id."""
    answers: dict[str, list[str]] = {one: [] for one in ids}
    for line in output.splitlines():
        one, *columns = (column.strip() for column in line.split("\t"))
        if one in answers and columns:
            answers[one].append(columns[0])
    return answers


def _read(texts: list[str], missing: str) -> Measurement:
    """The measurement in the value columns that came back for one id."""
    if not texts:
        return Measurement.failed(missing)
    if len(set(texts)) > 1:
        return Measurement.failed(f"the command returned several values for it: {', '.join(texts)}"[:200])
    if texts[0].lower() in ("", "none", "na", "null"):
        return Measurement.failed("the command returned an empty value for it")
    try:
        return Measurement.of(float(texts[0]))
    except ValueError:
        return Measurement.of(texts[0])
