"""The measured figures of a library or of a model, by name, with the reason of each that is missing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

HIGHER, LOWER, NEITHER = "higher is better", "lower is better", ""


@dataclass(frozen=True)
class Measure:
    """What a figure is: one line for the reader, and which way is better."""

    text: str
    better: str = NEITHER


MEASURES: dict[str, Measure] = {
    "valid": Measure("RDKit reads it; proves nothing for SELFIES", HIGHER),
    "faithful": Measure("the string says what the decoder wrote", HIGHER),
    "sane": Measure("no structural problem, no ring system unknown to the reference", HIGHER),
    "unique": Measure("distinct among the valid", HIGHER),
    "unique@1k": Measure("distinct among the first 1,000 valid (MOSES)", HIGHER),
    "unique@10k": Measure("distinct among the first 10,000 valid (MOSES)", HIGHER),
    "novel": Measure("of the distinct ones, not in the reference (MOSES)", HIGHER),
    "int_div_1": Measure("internal diversity, p = 1 (MOSES)", HIGHER),
    "int_div_2": Measure("internal diversity, p = 2 (MOSES)", HIGHER),
    "scaffold_diversity": Measure("distinct scaffolds / distinct molecules", HIGHER),
    "ring_system_novelty": Measure("of the distinct ring systems, not in the reference"),
    "filters": Measure("pass the filter of MOSES: its alerts, PAINS, atoms, charges, rings", HIGHER),
    "snn": Measure("similarity to the nearest neighbour in the test set (MOSES)", HIGHER),
    "fragments": Measure("cosine of BRICS fragment counts (MOSES)", HIGHER),
    "scaffolds": Measure("cosine of scaffold counts, two rings or more (MOSES)", HIGHER),
    "w_logP": Measure("Wasserstein distance of logP, log units (MOSES)", LOWER),
    "w_SA": Measure("Wasserstein distance of the SA score (MOSES)", LOWER),
    "w_QED": Measure("Wasserstein distance of QED (MOSES)", LOWER),
    "w_NP": Measure("Wasserstein distance of the NP score (MOSES)", LOWER),
    "w_MW": Measure("Wasserstein distance of the weight, g/mol (MOSES)", LOWER),
    "kl_score": Measure("mean of exp(-KL) over ten properties (GuacaMol)", HIGHER),
    "fcd": Measure("Frechet ChemNet distance", LOWER),
    "fcd_score": Measure("exp(-0.2 FCD) (GuacaMol)", HIGHER),
    "exact_mean": Measure("come back exactly from the posterior mean, decoded greedily", HIGHER),
    "exact_sample": Measure("come back exactly from a sample of the posterior, greedily", HIGHER),
    "stereo_free_mean": Measure("come back from the mean, stereo aside", HIGHER),
    "unencodable": Measure("test molecules the model cannot encode, counted as misses", LOWER),
    "nll": Measure("what a sample of the posterior leaves untold, nats a molecule", LOWER),
    "rate": Measure("KL of the posterior from the model's own prior, nats a molecule"),
    "active_units": Measure("latent dimensions whose posterior mean varies (variance above 0.01)"),
}  # fmt: skip


@dataclass(frozen=True)
class Scorecard:
    """What was measured.

    values: figures by their names in MEASURES; NaN where one could not be measured, with its sentence in `reasons`.
    faults: how many molecules are not faithful, not sane, or filtered, by reason.  kl_divergences: those behind `kl_score`.
    about: what was compared with what: numbers of molecules, seed, and so on.
    properties: set -> property -> (n,) values, for plots; not part of the JSON.
    """

    values: dict[str, float]
    reasons: dict[str, str] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    kl_divergences: dict[str, float] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the properties, ready for JSON: a figure that is missing is null."""
        return {
            "about": self.about,
            "values": _finite(self.values),
            "reasons": self.reasons,
            "faults": dict(self.faults.most_common()),
            "kl_divergences": _finite(self.kl_divergences),
        }

    def rows(self) -> list[list[str]]:
        """Lines of a table: name, value, what it is or why it is missing."""
        found = []
        for name, value in self.values.items():
            measure = MEASURES[name]
            if math.isnan(value):
                found.append([name, "-", self.reasons.get(name, "not measured")])
                continue
            text = f"{value:,.0f}" if name in ("unencodable", "active_units") else f"{value:.4f}"
            found.append([name, text, measure.text + (f"; {measure.better}" if measure.better else "")])
        return found


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in values.items()}
