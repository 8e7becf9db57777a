"""Every property of chem.PROPERTIES as an oracle, and penalised logP with a cap on the size of the molecule."""

from __future__ import annotations

from functools import partial

from molvae.chem import PROPERTIES, Mol, properties
from molvae.oracles.base import ORACLES, Measurement, MoleculeOracle


class PropertyOracle(MoleculeOracle):
    """One named property of a molecule, in its own unit."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.unit = PROPERTIES[name].unit
        self.direction = "minimise" if name == "SA" else "maximise"

    def score(self, mol: Mol) -> float:
        return PROPERTIES[self.name].function(mol)


for _name in PROPERTIES:
    ORACLES.register(_name)(partial(PropertyOracle, _name))


@ORACLES.register("penalised_logp", "penalized_logp")
class PenalisedLogP(MoleculeOracle):
    """logP minus SA score minus the excess of the largest ring over six atoms, each standardised over ZINC250k.

    Gomez-Bombarelli et al., ACS Cent. Sci. 4:268, 2018; standardised as in Kusner et al., ICML 2017. It grows without end
    with the length of a chain, so a molecule of more than `max_heavy_atoms` heavy atoms (the largest in ZINC250k has 38) has
    no value. Rings are RDKit's smallest set of smallest rings.
    """

    # Mean and standard deviation over ZINC250k of logP, of -SA and of minus the ring excess.
    LOGP = (2.4570953396190123, 1.434324401111988)
    SA = (-3.0525811293166134, 0.8335207024513095)
    RING = (-0.0485696876403053, 0.2860212110245455)

    def __init__(self, *, max_heavy_atoms: int = 38) -> None:
        self.max_heavy_atoms = max_heavy_atoms

    def measure_molecule(self, mol: Mol) -> Measurement:
        if mol.GetNumHeavyAtoms() > self.max_heavy_atoms:
            return Measurement.failed(f"{mol.GetNumHeavyAtoms()} heavy atoms, more than the cap of {self.max_heavy_atoms}")
        parts = properties(mol, ["logP", "SA"])
        largest = max((len(ring) for ring in mol.GetRingInfo().AtomRings()), default=0)
        parts["ring_excess"] = float(max(largest - 6, 0))
        signed = ((parts["logP"], self.LOGP), (-parts["SA"], self.SA), (-parts["ring_excess"], self.RING))
        return Measurement.of(sum((value - mean) / deviation for value, (mean, deviation) in signed), parts)
