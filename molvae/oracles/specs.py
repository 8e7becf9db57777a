"""What an oracle is called where it is asked for: a name, a function in a file, a command, a file with a classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from molvae.errors import ConfigError
from molvae.oracles.activity import Activity
from molvae.oracles.base import ORACLES, Oracle, call_syntax
from molvae.oracles.command import CommandOracle
from molvae.oracles.functions import CallableOracle, FunctionOracle
from molvae.user_code import in_file

Spec = str | Oracle | Callable[[list[str]], Sequence[float | None]]


def resolve(spec: Spec) -> Oracle:
    """The oracle that `spec` names; an oracle is returned as it is, and a function is wrapped.

    - a registered name, with settings in brackets if it has any: "osimertinib_mpo", "penalised_logp(max_heavy_atoms=45)"
    - a function in a Python file, list of SMILES -> list of numbers or None: "dock.py:score"
    - an external command, see `command.CommandOracle`: "cmd:./dock --fast"
    - a file with a classifier, see `activity.Activity`: "activity:kinase.safetensors"

    Raises UnknownName with the nearest name, ConfigError for a malformed spec, OracleError for an unusable file or program.
    """
    if isinstance(spec, Oracle):
        return spec
    if callable(spec):
        return CallableOracle(spec)
    spec = spec.strip()
    if spec.startswith("cmd:"):
        return CommandOracle(spec.removeprefix("cmd:"))
    if spec.startswith("activity:"):
        return Activity(spec.removeprefix("activity:"))
    if own := in_file(spec):
        return FunctionOracle(*own)
    if spec.endswith((".py", ".py:")):
        raise ConfigError(f"{spec!r} names a file but no function in it; write it as {spec.rstrip(':')}:score.")
    name, settings = call_syntax(spec, "oracle")
    return ORACLES.build(name, settings)
