"""What a search demands of every molecule before a call is spent on it: a core that it holds, filters that it passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from molvae.chem import Core, parse
from molvae.generation.filters import read_filters, reasons
from molvae.search.space import LatentModel

NO_CORE, NO_MOLECULE = "without the core", "not a valid SMILES"


class Demands:
    """Called with a canonical SMILES, says whether the molecule meets all demands; counts those that do not.

    core: what it must hold, or None.  filters: as `read_filters` reads them; "sane" knows the ring systems that `model` was
    trained on.  n_judged: molecules that were looked at.  refused: why those that were refused were, the most frequent
    reasons first in `told`.

    Raises ConfigError for a filter that does not exist.
    """

    def __init__(self, core: Core | None = None, filters: Sequence[str] = (), model: LatentModel | None = None) -> None:
        self.core = core
        self.filters = read_filters(filters) if filters else []
        self.n_judged, self.n_refused = 0, 0
        self.refused: Counter[str] = Counter()
        self._ring_systems = getattr(model, "ring_systems", None) or None
        self._is_met = lru_cache(100_000)(self._judge)  # the same children come back round after round

    def __call__(self, smiles: str) -> bool:
        return self._is_met(smiles)

    def __bool__(self) -> bool:
        """Whether anything is demanded."""
        return self.core is not None or bool(self.filters)

    def told(self, n_reasons: int = 3) -> str:
        """What was refused, in words: "812 of 1,000 candidates were refused: without the core 700; radical 112"; or ""."""
        if not self.n_refused:
            return ""
        why = "; ".join(f"{reason} {count:,}" for reason, count in self.refused.most_common(n_reasons))
        return f"{self.n_refused:,} of {self.n_judged:,} candidates were refused: {why}"

    def _judge(self, smiles: str) -> bool:
        self.n_judged += 1
        why = self._why_not(smiles)
        self.n_refused += bool(why)
        self.refused.update(why)
        return not why

    def _why_not(self, smiles: str) -> list[str]:
        """The reasons of the first demand that is not met."""
        mol = parse(smiles)
        if mol is None:
            return [NO_MOLECULE]
        if self.core is not None and not self.core.atoms(mol):
            return [NO_CORE]
        known: dict[str, float] = {}
        return next((why for rule in self.filters if (why := reasons(rule, mol, self._ring_systems, known))), [])
