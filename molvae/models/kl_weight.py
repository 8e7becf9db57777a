"""How much the KL term weighs while training: beta as a function of the step, or of the rate reached so far.

All weights multiply the rate in nats per molecule, beside an nll in nats per molecule, so beta compares across papers.
A schedule is a module because the controller's state belongs to the checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from molvae.errors import ConfigError
from molvae.registry import Registry

KL_WEIGHTS: Registry[KLWeight] = Registry("KL weight", "molvae.models")


class KLWeight(nn.Module):
    """beta for the coming step; `observe` is told the rate that the step measured."""

    free_bits: float = 0.0

    def beta(self, step: int) -> float:
        """The weight at a step, counted from 0."""
        raise NotImplementedError

    def observe(self, rate: float) -> None:
        """Hear the batch mean of the rate, in nats per molecule."""

    def penalty(self, kl: Tensor) -> Tensor:
        """(B, D) KL by dimension -> scalar that beta multiplies: mean over the batch, summed over dimensions.

        With free bits (Kingma et al. 2016, eq. 15) a dimension's batch mean counts as at least `free_bits` nats.
        """
        by_dimension = kl.mean(0)
        return (by_dimension.clamp(min=self.free_bits) if self.free_bits else by_dimension).sum()


@KL_WEIGHTS.register("fixed")
class Fixed(KLWeight):
    """A constant beta (Higgins et al. 2017) after a linear warm-up (Bowman et al. 2016).

    beta: the weight.  warmup: steps over which it rises from 0.
    free_bits: nats that each dimension may use for nothing; see `penalty`.
    """

    def __init__(self, *, beta: float = 0.05, warmup: int = 0, free_bits: float = 0.0) -> None:
        super().__init__()
        self.value, self.warmup, self.free_bits = beta, warmup, free_bits

    def beta(self, step: int) -> float:
        """Rises linearly to `beta`, then stays."""
        return self.value * min(1.0, (step + 1) / self.warmup) if self.warmup else self.value


@KL_WEIGHTS.register("cyclical")
class Cyclical(KLWeight):
    """beta rises from 0 over a part of each cycle and stays for the rest (Fu et al. 2019, arXiv 1903.10145).

    beta: the largest weight.  period: steps of a cycle.  rising: share of it in which beta rises.
    free_bits: nats that each dimension may use for nothing; see `penalty`.
    """

    def __init__(self, *, beta: float = 0.1, period: int = 2000, rising: float = 0.5, free_bits: float = 0.0) -> None:
        super().__init__()
        if period < 1 or not 0.0 < rising <= 1.0:
            raise ConfigError(f"period must be 1 or more and rising in (0, 1], not {period} and {rising}.")
        self.value, self.period, self.rising, self.free_bits = beta, period, rising, free_bits

    def beta(self, step: int) -> float:
        """The saw-tooth of the paper's eq. 6."""
        return self.value * min(1.0, (step % self.period) / (self.rising * self.period))


@KL_WEIGHTS.register("rate_target")
class RateTarget(KLWeight):
    """Moves log beta until the rate is `rate` nats per molecule: an integral controller (ControlVAE, Shao et al. 2020).

    While the rate is below target, beta falls, so the latent space cannot collapse; above, it rises. The target may grow: a
    tight channel first teaches the encoder what matters most, a wider one lets it spell out the rest (Burgess et al. 2018,
    arXiv 1804.03599, section 5.1).

    rate: the target, nats per molecule.  later: [[step, rate], ...], another target from that step on.
    start: first beta.  gain: largest change of log beta in a step.  low, high: bounds of beta.
    """

    def __init__(
        self,
        *,
        rate: float = 60.0,
        later: Sequence[Sequence[float]] = (),
        start: float = 0.02,
        gain: float = 0.003,
        low: float = 1e-4,
        high: float = 0.3,
    ) -> None:
        super().__init__()
        if rate <= 0.0 or not all(len(entry) == 2 and entry[1] > 0.0 for entry in later):
            raise ConfigError(f"rate must be above 0 and later a list of [step, rate], not {rate} and {later!r}.")
        if not 0.0 < low <= start <= high:
            raise ConfigError(f"it must hold that 0 < low <= start <= high, not {low}, {start}, {high}.")
        self.rate, self.later, self.gain = rate, sorted(later), gain
        self.low, self.high = math.log(low), math.log(high)
        self.register_buffer("log_beta", torch.tensor(math.log(start), dtype=torch.float64))
        self.target = rate

    def beta(self, step: int) -> float:
        """The controller's present weight."""
        self.target = [self.rate, *(rate for first, rate in self.later if step >= first)][-1]
        return math.exp(float(self.log_beta))

    def observe(self, rate: float) -> None:
        """Integrate the relative error of the rate, clipped to one."""
        error = max(-1.0, min(1.0, 4.0 * (rate / self.target - 1.0)))
        self.log_beta.fill_(max(self.low, min(self.high, float(self.log_beta) + self.gain * error)))
