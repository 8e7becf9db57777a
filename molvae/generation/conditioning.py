"""Conditions: property values that molecules are asked to have, read from text, checked, and compared with what came out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from molvae.errors import CheckpointError, ConfigError, nearest

if TYPE_CHECKING:  # torch, which the workers of a library do not need
    from molvae.checkpoint import Checkpoint

EXAMPLE = "logP=2.5,QED=0.9"
Scales = Mapping[str, Mapping[str, float]]


def read_condition(text: str) -> dict[str, float]:
    """A condition from text: NAME=VALUE, several separated by commas. Raises ConfigError for anything else."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value):
            raise ConfigError(f"condition {part.strip()!r} is not of the form NAME=VALUE, for example {EXAMPLE}.")
        if name in found:
            raise ConfigError(f"the condition names {name} twice. Give one value.")
        try:
            found[name] = float(value)
        except ValueError:
            raise ConfigError(f"condition {name} = {value!r} is not a number.") from None
    return found


def standardise(condition: Mapping[str, float], scales: Scales, model: str) -> np.ndarray:
    """(1, P) float32 standardised values in the order of `scales`, NaN where nothing is asked.

    scales: by property name the mean, standard deviation, lowest and highest value that the model was trained on.
    model: what it is called. Raises ConfigError for a property that it does not know, and for a value that is no finite
    number or outside of what it has seen.
    """
    row = np.full((1, len(scales)), np.nan, np.float32)
    for name, value in condition.items():
        if name not in scales:
            raise ConfigError(
                f"{model} cannot be conditioned on {name!r}.{nearest(name, scales)} It knows: {', '.join(scales)}."
            )
        scale = scales[name]
        if isinstance(value, str | bool) or not math.isfinite(value):
            raise ConfigError(f"condition {name} = {value} is not a finite number.")
        if not scale["low"] <= value <= scale["high"]:
            raise ConfigError(
                f"condition {name} = {value:g} is outside of what {model} was trained on, "
                f"{_inwards(scale['low'], math.ceil)} to {_inwards(scale['high'], math.floor)}."
            )
        row[0, list(scales).index(name)] = (value - scale["mean"]) / scale["sd"]
    return row


def _inwards(bound: float, rounded: Callable[[float], int]) -> str:
    """A bound in four figures that is itself allowed."""
    unit = 10.0 ** (math.floor(math.log10(abs(bound))) - 3) if bound else 1.0
    return f"{rounded(bound / unit) * unit:.4g}"


class Conditions:
    """Which properties a model can be asked for: by its decoder, if it was trained with some, and by each of its priors.

    priors: the names of the model's priors, the preferred one first.  called: what the model is called, for messages.
    """

    def __init__(self, checkpoint: Checkpoint, priors: Sequence[str], called: str) -> None:
        self.called = called
        self.decoder: Scales = checkpoint.card["properties"] if checkpoint.model.conditions else {}
        self.priors: dict[str, Scales] = {}
        for name in priors:
            if name in checkpoint.priors and checkpoint.priors[name].conditions:
                self.priors[name] = prior_scales(checkpoint, name)
            elif name == "language" and self.decoder:
                self.priors[name] = self.decoder

    def check(self, condition: Mapping[str, float]) -> None:
        """Raise ConfigError unless one of them knows all properties of the condition, and has seen such values."""
        sources = [*([self.decoder] if self.decoder else []), *self.priors.values()]
        if not sources:
            raise ConfigError(
                f"{self.called} cannot be conditioned on properties. Fit a prior that can (molvae fit-prior DATA "
                f"--model {self.called} --ask {','.join(condition)} -o OUT), or train a conditional model (--model cvae, "
                "with [data] properties)."
            )
        knowing = [scales for scales in sources if condition.keys() <= scales.keys()]
        every = {name: scale for scales in sources for name, scale in scales.items()}
        standardise(condition, knowing[0] if knowing else every, self.called)
        if not knowing:
            raise ConfigError(
                f"nothing in {self.called} knows {' and '.join(condition)} together: it can be asked for "
                f"{', or for '.join(dict.fromkeys(', '.join(scales) for scales in sources))}."
            )

    def able(self, condition: Mapping[str, float]) -> list[str]:
        """The priors that know all properties of the condition."""
        return [name for name, scales in self.priors.items() if condition.keys() <= scales.keys()]

    def of_prior(self, condition: Mapping[str, float], prior: str) -> np.ndarray:
        """(1, P) standardised values for a prior that is able."""
        return standardise(condition, self.priors[prior], self.called)

    def of_decoder(self, condition: Mapping[str, float]) -> np.ndarray | None:
        """(1, P) standardised values of what the decoder knows of the condition; None if that is nothing."""
        known = {name: value for name, value in condition.items() if name in self.decoder}
        return standardise(known, self.decoder, self.called) if known else None


def prior_scales(checkpoint: Checkpoint, prior: str) -> Scales:
    """The properties that a fitted prior can be asked for, as in `standardise`, empty for one that cannot be asked.

    Raises CheckpointError if the card does not have them.
    """
    scales = checkpoint.card.get("priors", {}).get(prior, {}).get("properties", {})
    if len(scales) != checkpoint.priors[prior].conditions:
        raise CheckpointError(f"the model's card does not say what its prior {prior!r} can be asked for. Fit it again.")
    return scales


def check_guidance(guidance: float) -> None:
    """Raise ConfigError unless `guidance` is a finite number, 0 or more."""
    if not isinstance(guidance, (int, float)) or not (math.isfinite(guidance) and guidance >= 0.0):
        raise ConfigError(f"guidance is {guidance}; give a finite number from 0 (unasked) on, such as 2.")


@dataclass(frozen=True)
class Achieved:
    """One property of molecules that were asked for.

    target: what was asked.  mean: of the molecules.  mae: mean absolute error against the target. All in the property's own
    unit; the last two are NaN where there are no molecules.
    """

    target: float
    mean: float
    mae: float


def achieved(columns: Mapping[str, Sequence[Any]], condition: Mapping[str, float]) -> dict[str, Achieved]:
    """By property of the condition, target against achieved over the molecules of a table with these columns."""
    found = {}
    for name, target in condition.items():
        values = np.asarray(columns[name], float)
        known = values[~np.isnan(values)]
        mean, mae = (float(known.mean()), float(np.abs(known - target).mean())) if len(known) else (math.nan, math.nan)
        found[name] = Achieved(float(target), mean, mae)
    return found
