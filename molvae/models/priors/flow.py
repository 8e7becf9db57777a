"""Flow matching on latents: a learned prior in the place of N(0, I) (Lipman et al. 2023, arXiv 2210.02747; Liu et al. 2023).

A network v(x, t) learns the velocity of straight paths x_t = (1 - t) noise + t latent, by the regression of eq. 23 with
sigma_min = 0; a sample is noise carried from t = 0 to 1 along v. Second stage on a frozen VAE, as in latent diffusion.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from molvae.models.precision import autocast
from molvae.models.priors.base import PRIORS, Prior
from molvae.models.priors.learning import learn
from molvae.randomness import torch_stream

FREQUENCIES = 32
TIME_WIDTH = 64
BATCH = 512


@PRIORS.register("flow")
class Flow(Prior):
    """Residual MLP of `blocks` blocks of `width` units, its time entering every block; Heun's method over `ode_steps`.

    Latents are standardised by dimension first. `steps` of AdamW, or `epochs` over the latents if these are fewer steps, on
    batches of 512 with cosine decay and averaged weights.
    """

    def __init__(
        self,
        *,
        width: int = 512,
        blocks: int = 4,
        steps: int = 4000,
        epochs: int = 40,
        learning_rate: float = 2e-3,
        ode_steps: int = 30,
    ) -> None:
        self.width, self.blocks, self.steps, self.epochs = width, blocks, steps, epochs
        self.learning_rate, self.ode_steps = learning_rate, ode_steps
        self.tensors = {}

    def fit(self, latents: Tensor, seed: int) -> None:
        """Regress velocities; every step draws from its own stream."""
        mean, scale = latents.mean(0), latents.std(0).clamp(min=1e-3)
        data = (latents - mean) / scale
        weights = self._first_weights(latents.shape[1], torch_stream(seed, "flow", "weights"))

        def loss(generator: torch.Generator) -> Tensor:
            x1 = data[torch.randint(len(data), (BATCH,), generator=generator)]
            x0 = torch.randn(x1.shape, generator=generator)
            t = torch.rand(len(x1), 1, generator=generator)
            with autocast(data.device, "auto"):
                return (velocity(weights, (1 - t) * x0 + t * x1, t) - (x1 - x0)).float().square().mean()

        steps = min(self.steps, max(100, math.ceil(self.epochs * len(data) / BATCH)))
        averaged = learn(weights, loss, steps=steps, learning_rate=self.learning_rate, seed=seed, name="flow")
        self.tensors = {**averaged, "mean": mean, "scale": scale}

    def _first_weights(self, size: int, generator: torch.Generator) -> dict[str, Tensor]:
        def matrix(rows: int, columns: int, gain: float = 1.0) -> Tensor:
            return (gain * torch.randn(rows, columns, generator=generator) / math.sqrt(columns)).requires_grad_()

        width = self.width
        weights = {"in": matrix(width, size), "time": matrix(TIME_WIDTH, 2 * FREQUENCIES)}
        for b in range(self.blocks):
            # The last product of a block starts at zero, so that the network starts as a shallow one.
            weights |= {
                f"{b}.modulate": matrix(2 * width, TIME_WIDTH, 0.1),
                f"{b}.up": matrix(width, width),
                f"{b}.bias": torch.zeros(width, requires_grad=True),
                f"{b}.down": matrix(width, width, 0.0),
            }
        return weights | {"out": matrix(size, width, 0.0), "out_bias": torch.zeros(size, requires_grad=True)}

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, D) float32 draws."""
        weights = {k: v.float() for k, v in self.tensors.items()}
        x = torch.randn(n, len(weights["mean"]), generator=generator)
        times = torch.linspace(0.0, 1.0, self.ode_steps + 1).tolist()
        for now, then in pairwise(times):
            slope = velocity(weights, x, torch.full((n, 1), now))
            ahead = velocity(weights, x + (then - now) * slope, torch.full((n, 1), then))
            x = x + (then - now) * 0.5 * (slope + ahead)
        return weights["mean"] + weights["scale"] * x

    def log_prob(self, z: Tensor) -> Tensor:
        """(N,) log density in nats: the change of variables along the path back to noise, with the exact divergence
        (Chen et al. 2018, arXiv 1806.07366, eq. 8)."""
        weights = {k: v.float() for k, v in self.tensors.items()}
        x = (z - weights["mean"]) / weights["scale"]
        total = -weights["scale"].log().sum().expand(len(z)).clone()
        h = 1.0 / self.ode_steps

        def field(point: Tensor, t: float) -> tuple[Tensor, Tensor]:
            def one(row: Tensor) -> tuple[Tensor, Tensor]:
                v = velocity(weights, row[None], torch.full((1, 1), t))[0]
                return v, v

            jacobian, v = torch.func.vmap(torch.func.jacrev(one, has_aux=True))(point)
            return v, jacobian.diagonal(dim1=1, dim2=2).sum(1)

        for i in range(self.ode_steps, 0, -1):
            slope, divergence = field(x, i * h)
            behind, divergence_behind = field(x - h * slope, (i - 1) * h)
            x = x - 0.5 * h * (slope + behind)
            total -= 0.5 * h * (divergence + divergence_behind)
        return total - 0.5 * (x.square().sum(1) + x.shape[1] * math.log(2 * math.pi))


def velocity(weights: dict[str, Tensor], x: Tensor, t: Tensor) -> Tensor:
    """v(x, t): x (N, D), t (N, 1) -> (N, D)."""
    width = weights["in"].shape[0]
    frequency = torch.exp(torch.linspace(0.0, math.log(1000.0), FREQUENCIES, device=x.device))
    time = F.silu(F.linear(torch.cat([(t * frequency).sin(), (t * frequency).cos()], -1), weights["time"]))
    h = F.linear(x, weights["in"])
    for b in range(sum(name.endswith(".up") for name in weights)):
        shift, scale = F.linear(time, weights[f"{b}.modulate"]).chunk(2, -1)
        y = F.layer_norm(h, (width,)) * (1 + scale) + shift
        h = h + F.linear(F.silu(F.linear(y, weights[f"{b}.up"], weights[f"{b}.bias"])), weights[f"{b}.down"])
    return F.linear(F.layer_norm(h, (width,)), weights["out"], weights["out_bias"])
