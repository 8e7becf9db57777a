"""Score modifiers: small functions of one number that turn a property into a desirability, mostly in 0..1.

Clip, Gaussian and the half Gaussians are those of GuacaMol (Brown et al., J. Chem. Inf. Model. 59:1096, 2019, section 3.2).
They serve the benchmark tasks and, by name, the terms of a user's objective.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from molvae.errors import ConfigError, UnknownName, nearest


class Modifier:
    """A function of one number. Settings are the fields of the dataclass."""

    def __call__(self, x: float) -> float:
        """The modified value of `x`."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Identity(Modifier):
    """The value itself."""

    def __call__(self, x: float) -> float:
        return x


@dataclass(frozen=True, kw_only=True)
class Linear(Modifier):
    """slope * x + intercept."""

    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, x: float) -> float:
        return self.slope * x + self.intercept


@dataclass(frozen=True, kw_only=True)
class Clip(Modifier):
    """0 at `lower` and beyond, 1 at `upper` and beyond, linear between; `upper` below `lower` rewards small values."""

    upper: float
    lower: float = 0.0

    def __post_init__(self) -> None:
        if self.upper == self.lower:
            raise ConfigError(f"clip needs upper and lower to differ; both are {self.upper}.")

    def __call__(self, x: float) -> float:
        return min(max((x - self.lower) / (self.upper - self.lower), 0.0), 1.0)


@dataclass(frozen=True, kw_only=True)
class Gaussian(Modifier):
    """exp(-((x - mu) / sigma)^2 / 2): 1 at `mu`."""

    mu: float
    sigma: float

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ConfigError(f"a Gaussian needs sigma above 0; it is {self.sigma}.")

    def __call__(self, x: float) -> float:
        t = (x - self.mu) / self.sigma
        return math.exp(-0.5 * t * t)


@dataclass(frozen=True, kw_only=True)
class MinGaussian(Gaussian):
    """1 up to `mu`, Gaussian above: small values are wanted."""

    def __call__(self, x: float) -> float:
        return super().__call__(max(x, self.mu))


@dataclass(frozen=True, kw_only=True)
class MaxGaussian(Gaussian):
    """1 from `mu` on, Gaussian below: large values are wanted."""

    def __call__(self, x: float) -> float:
        return super().__call__(min(x, self.mu))


@dataclass(frozen=True, kw_only=True)
class Sigmoid(Modifier):
    """Logistic step from 0 to 1 around `middle`; from `middle` - `width` to `middle` + `width` it rises from 0.12 to 0.88.

    A negative `width` makes it fall.
    """

    middle: float
    width: float = 1.0

    def __post_init__(self) -> None:
        if self.width == 0:
            raise ConfigError("a sigmoid needs a width other than 0.")

    def __call__(self, x: float) -> float:
        return 0.5 * (1.0 + math.tanh((x - self.middle) / self.width))  # = 1 / (1 + exp(-2 t)), without overflow


MODIFIERS: dict[str, type[Modifier]] = {
    "identity": Identity,
    "linear": Linear,
    "clip": Clip,
    "gaussian": Gaussian,
    "min_gaussian": MinGaussian,
    "max_gaussian": MaxGaussian,
    "sigmoid": Sigmoid,
}
IDENTITY = Identity()


def build_modifier(name: str, settings: Mapping[str, Any] | None = None) -> Modifier:
    """The modifier called `name`. Raises UnknownName, or ConfigError for a wrong, missing or non-numeric setting."""
    if name not in MODIFIERS:
        raise UnknownName(f"no transform named {name!r}.{nearest(name, MODIFIERS)} Known: {', '.join(MODIFIERS)}.")
    schema, settings = {f.name: f for f in fields(MODIFIERS[name])}, dict(settings or {})
    for key, value in settings.items():
        if key not in schema:
            has = ", ".join(schema) or "none"
            raise ConfigError(f"the transform {name!r} has no setting {key!r}.{nearest(key, schema)} It has: {has}.")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ConfigError(f"the setting {key!r} of the transform {name!r} must be a finite number; it is {value!r}.")
    missing = [key for key, f in schema.items() if f.default is MISSING and key not in settings]
    if missing:
        raise ConfigError(f"the transform {name!r} needs {missing[0]!r}, for example {name}({missing[0]}=1.0).")
    return MODIFIERS[name](**{key: float(value) for key, value in settings.items()})


def describe_modifier(modifier: Modifier) -> dict[str, Any]:
    """`{"name": ..., setting: value, ...}`: what `build_modifier` needs to build it again."""
    name = next(name for name, kind in MODIFIERS.items() if type(modifier) is kind)
    return {"name": name, **asdict(modifier)}  # type: ignore[call-overload]


def arithmetic_mean(values: list[float]) -> float:
    """Sum over number."""
    return sum(values) / len(values)


def geometric_mean(values: list[float]) -> float:
    """n-th root of the product; 0 if any value is 0."""
    return math.prod(values) ** (1.0 / len(values))
