"""What a search demands of every molecule before a call is spent on it: a core that it holds, filters that it passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

from molvae.chem import Core
from molvae.generation.filters import passes, read_filters
from molvae.search.space import LatentModel

Demand = Callable[[str], bool]


def demands_of(core: Core | None, filters: Sequence[str], model: LatentModel) -> tuple[Demand, ...]:
    """The demands of a search space.

    filters: as `read_filters` reads them; "sane" knows the ring systems that the model was trained on.
    Raises ConfigError for a filter that does not exist.
    """
    demands: list[Demand] = [] if core is None else [core.is_in]
    if rules := read_filters(filters) if filters else []:
        ring_systems = getattr(model, "ring_systems", None) or None
        # The same children come back round after round.
        demands.append(lru_cache(100_000)(partial(passes, rules=tuple(rules), ring_systems=ring_systems)))
    return tuple(demands)
