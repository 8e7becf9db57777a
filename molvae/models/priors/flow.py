"""Flow matching on latents: a learned prior in the place of N(0, I) (Lipman et al. 2023, arXiv 2210.02747; Liu et al. 2023).

A network v(x, t) learns the velocity of straight paths x_t = (1 - t) noise + t latent, by the regression of eq. 23 with
sigma_min = 0; a sample is noise carried from t = 0 to 1 along v. Second stage on a frozen VAE, as in latent diffusion.

Fitted together with property values, v(x, t, c) is told some of them, each molecule a subset drawn at random, or nothing
(c = 0). Then latents can be asked for by property, with classifier-free guidance w (Ho & Salimans 2022, arXiv 2207.12598):

    v = v(x, t, 0) + w (v(x, t, c) - v(x, t, 0))
"""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from molvae.errors import ConfigError
from molvae.models.precision import autocast
from molvae.models.priors.base import PRIORS, Prior, check_settings
from molvae.models.priors.learning import learn
from molvae.randomness import torch_stream

FREQUENCIES = 32
TIME_WIDTH = 64
BATCH = 512
CONDITION_WIDTH = 128


@PRIORS.register("flow")
class Flow(Prior):
    """Residual MLP of `blocks` blocks of `width` units, time and condition entering every block; Heun's method over
    `ode_steps`.

    Latents are standardised by dimension first. `steps` of AdamW, or `epochs` over the latents if these are fewer steps, on
    batches of 512 with cosine decay and averaged weights. With properties: masked, the share of them that a step hides, each
    by itself, and condition_dropout, the share of molecules of which it hides all.
    """

    takes_properties = True

    def __init__(
        self,
        *,
        width: int = 512,
        blocks: int = 4,
        steps: int = 4000,
        epochs: int = 40,
        learning_rate: float = 2e-3,
        ode_steps: int = 30,
        masked: float = 0.5,
        condition_dropout: float = 0.2,
    ) -> None:
        for setting, share in (("masked", masked), ("condition_dropout", condition_dropout)):
            if not 0.0 <= share < 1.0:
                raise ConfigError(f"{setting} is a share from 0 to below 1, not {share}.")
        check_settings(
            width=width, blocks=blocks, steps=steps, epochs=epochs, ode_steps=ode_steps, learning_rate=learning_rate
        )
        self.width, self.blocks, self.steps, self.epochs = width, blocks, steps, epochs
        self.learning_rate, self.ode_steps = learning_rate, ode_steps
        self.masked, self.condition_dropout = masked, condition_dropout
        self.tensors = {}
        self._asked: Tensor | None = None
        self._guidance = 1.0

    @property
    def conditions(self) -> int:
        """How many properties it can be asked for: those that it was fitted with."""
        return self.tensors["told.in"].shape[1] // 2 if "told.in" in self.tensors else 0

    def asked(self, values: Tensor, guidance: float = 1.0) -> Flow:
        """The same prior asked for properties (1, P), standardised, NaN where nothing is asked."""
        other = copy.copy(self)
        other._asked, other._guidance = values, guidance
        return other

    def fit(self, latents: Tensor, seed: int) -> None:
        """Regress velocities; every step draws from its own stream."""
        mean, scale = latents.mean(0), latents.std(0).clamp(min=1e-3)
        data, properties = (latents - mean) / scale, self.properties
        n_properties = 0 if properties is None else properties.shape[1]
        weights = self._first_weights(latents.shape[1], n_properties, torch_stream(seed, "flow", "weights"))

        def loss(generator: torch.Generator) -> Tensor:
            rows = torch.randint(len(data), (BATCH,), generator=generator)
            x1 = data[rows]
            x0 = torch.randn(x1.shape, generator=generator)
            t = torch.rand(len(x1), 1, generator=generator)
            told = None if properties is None else self._hidden(properties[rows], generator)
            with autocast(data.device, "auto"):
                return (velocity(weights, (1 - t) * x0 + t * x1, t, told) - (x1 - x0)).float().square().mean()

        steps = min(self.steps, max(100, math.ceil(self.epochs * len(data) / BATCH)))
        averaged = learn(
            weights, loss, steps=steps, learning_rate=self.learning_rate, seed=seed, name="flow", progress=self.progress
        )
        self.tensors = {**averaged, "mean": mean, "scale": scale, "ode_steps": torch.tensor(self.ode_steps)}

    def _hidden(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """Values (N, P) of which a random part is NaN."""
        hide = torch.rand(values.shape, generator=generator) < self.masked
        hide |= torch.rand(len(values), 1, generator=generator) < self.condition_dropout
        return values.masked_fill(hide, torch.nan)

    def _first_weights(self, size: int, n_properties: int, generator: torch.Generator) -> dict[str, Tensor]:
        def matrix(rows: int, columns: int, gain: float = 1.0) -> Tensor:
            return (gain * torch.randn(rows, columns, generator=generator) / math.sqrt(columns)).requires_grad_()

        width = self.width
        weights = {"in": matrix(width, size), "time": matrix(TIME_WIDTH, 2 * FREQUENCIES)}
        if n_properties:
            weights |= {
                "told.in": matrix(CONDITION_WIDTH, 2 * n_properties),
                "told.bias": torch.zeros(CONDITION_WIDTH, requires_grad=True),
                "told.out": matrix(TIME_WIDTH, CONDITION_WIDTH),
            }
        for b in range(self.blocks):
            # The last product of a block starts at zero, so that the network starts as a shallow one.
            weights |= {
                f"{b}.modulate": matrix(2 * width, TIME_WIDTH, 0.1),
                f"{b}.up": matrix(width, width),
                f"{b}.bias": torch.zeros(width, requires_grad=True),
                f"{b}.down": matrix(width, width, 0.0),
            }
        return weights | {"out": matrix(size, width, 0.0), "out_bias": torch.zeros(size, requires_grad=True)}

    def _path(self) -> list[float]:
        """The times from noise to latents; how many there are is saved, and a file of before that has the default."""
        return torch.linspace(0.0, 1.0, int(self.tensors.get("ode_steps", self.ode_steps)) + 1).tolist()

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, D) float32 draws, under the condition if it has been asked for one."""
        weights, path = {k: v.float() for k, v in self.tensors.items()}, self._path()
        told = None if self._asked is None else self._asked.float().expand(n, -1)

        def slope(x: Tensor, t: float) -> Tensor:
            time = torch.full((n, 1), t)
            if told is None or self._guidance == 1.0:
                return velocity(weights, x, time, told)
            free = velocity(weights, x, time)
            return free + self._guidance * (velocity(weights, x, time, told) - free)

        x = torch.randn(n, len(weights["mean"]), generator=generator)
        for now, then in pairwise(path):
            here = slope(x, now)
            ahead = slope(x + (then - now) * here, then)
            x = x + (then - now) * 0.5 * (here + ahead)
        return weights["mean"] + weights["scale"] * x

    def log_prob(self, z: Tensor) -> Tensor:
        """(N,) log density in nats, nothing asked: the change of variables along the path back to noise, with the exact
        divergence (Chen et al. 2018, arXiv 1806.07366, eq. 8)."""
        weights = {k: v.float() for k, v in self.tensors.items()}
        x = (z - weights["mean"]) / weights["scale"]
        total = -weights["scale"].log().sum().expand(len(z)).clone()

        def field(point: Tensor, t: float) -> tuple[Tensor, Tensor]:
            def one(row: Tensor) -> tuple[Tensor, Tensor]:
                v = velocity(weights, row[None], torch.full((1, 1), t))[0]
                return v, v

            jacobian, v = torch.func.vmap(torch.func.jacrev(one, has_aux=True))(point)
            return v, jacobian.diagonal(dim1=1, dim2=2).sum(1)

        for now, then in pairwise(reversed(self._path())):
            h = now - then
            slope, divergence = field(x, now)
            behind, divergence_behind = field(x - h * slope, then)
            x = x - 0.5 * h * (slope + behind)
            total -= 0.5 * h * (divergence + divergence_behind)
        return total - 0.5 * (x.square().sum(1) + x.shape[1] * math.log(2 * math.pi))


def velocity(weights: dict[str, Tensor], x: Tensor, t: Tensor, told: Tensor | None = None) -> Tensor:
    """v(x, t, c): x (N, D), t (N, 1), told (N, P) with NaN where nothing is told -> (N, D)."""
    width = weights["in"].shape[0]
    frequency = torch.exp(torch.linspace(0.0, math.log(1000.0), FREQUENCIES, device=x.device))
    entering = F.linear(torch.cat([(t * frequency).sin(), (t * frequency).cos()], -1), weights["time"])
    if told is not None:
        known = ~told.isnan()
        read = F.linear(torch.cat([told.nan_to_num(), known.float()], -1), weights["told.in"], weights["told.bias"])
        entering = entering + F.linear(F.gelu(read), weights["told.out"]) * known.any(-1, keepdim=True)
    entering = F.silu(entering)
    h = F.linear(x, weights["in"])
    for b in range(sum(name.endswith(".up") for name in weights)):
        shift, scale = F.linear(entering, weights[f"{b}.modulate"]).chunk(2, -1)
        y = F.layer_norm(h, (width,)) * (1 + scale) + shift
        h = h + F.linear(F.silu(F.linear(y, weights[f"{b}.up"], weights[f"{b}.bias"])), weights[f"{b}.down"])
    return F.linear(F.layer_norm(h, (width,)), weights["out"], weights["out_bias"])
