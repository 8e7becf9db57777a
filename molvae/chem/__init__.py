"""The only door to RDKit: molecules, standardisation, fingerprints, properties, filters with reasons."""

from molvae.chem.core import Core
from molvae.chem.difference import changed_atoms
from molvae.chem.filters import ALERT_CATALOGUES, SANITY_REASONS, Alert, alerts, problems, ring_systems
from molvae.chem.fingerprints import COUNT_KINDS, count_fingerprints, sparse_counts, tanimoto
from molvae.chem.molecules import (
    Mol,
    canonical,
    canonical_form,
    canonical_forms,
    first_writing,
    parse,
    random_smiles,
    scaffold,
    stable_form,
)
from molvae.chem.pharmacophores import pharmacophore
from molvae.chem.properties import PROPERTIES, Property, properties, property_named
from molvae.chem.standardise import standard_molecule, standardise

__all__ = [
    "ALERT_CATALOGUES",
    "COUNT_KINDS",
    "PROPERTIES",
    "SANITY_REASONS",
    "Alert",
    "Core",
    "Mol",
    "Property",
    "alerts",
    "canonical",
    "canonical_form",
    "canonical_forms",
    "changed_atoms",
    "count_fingerprints",
    "first_writing",
    "parse",
    "pharmacophore",
    "problems",
    "properties",
    "property_named",
    "random_smiles",
    "ring_systems",
    "scaffold",
    "sparse_counts",
    "stable_form",
    "standard_molecule",
    "standardise",
    "tanimoto",
]
