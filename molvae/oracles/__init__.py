"""Oracles: what a molecule is worth. One file an oracle or a family; a user's own Python file or command works too."""

from molvae.oracles.base import ORACLES, Measurement, MoleculeOracle, Oracle
from molvae.oracles.probe import ProbeReport, probe
from molvae.oracles.specs import resolve

__all__ = ["ORACLES", "Measurement", "MoleculeOracle", "Oracle", "ProbeReport", "probe", "resolve"]
