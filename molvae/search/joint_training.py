"""Joint end-to-end training of a VAE and a Gaussian process on its latents (LOL-BO: Maus et al., NeurIPS 2022, section 4).

With z the encoder's latents of the molecules x, y their scores, and everything in nats a molecule, one update minimises

    nll(x | z) + beta KL(q(z | x) || p(z)) - log p(y | z) / N

over the encoder, the decoder and the GP's hyper-parameters at once: the GP's gradient goes through the encoder, and moves
molecules of like score together. The VAE's terms are those that it was trained with, at the beta it ended with; nothing is
hidden from its decoder here. As in property heads, the GP reads posterior means, which are what the search works with.

The paper's GP is sparse and variational with a deep kernel, because it begins with 10,000 scored molecules; this one is
exact. N is capped (the best and the newest), so that exact inference is cheaper than an inner variational optimisation, and
the encoder, trained through the kernel, is the deep kernel.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor, nn

from molvae.data.datasets import TokenTable
from molvae.errors import DivergedModel
from molvae.generation.model import Model
from molvae.models.sequence_vae import Inferred, SequenceVAE
from molvae.randomness import child_seed, torch_stream
from molvae.search.refit import CLIP, SETTLED
from molvae.search.trust_region import to_box

GP_STEPS, GP_LEARNING_RATE = 40, 0.01


def jointly_trained(
    model: Model,
    smiles: Sequence[str],
    scores: np.ndarray,
    moments: tuple[np.ndarray, np.ndarray],
    *,
    steps: int,
    learning_rate: float,
    seed: int,
) -> Model:
    """A copy of `model` after `steps` of Adam on all these molecules at once; `model` itself stays as it is.

    Parameters
    ----------
    smiles, scores: N molecules with their finite scores (N,). Those that cannot be encoded are left out; with fewer than
        two left there is nothing to learn, and the copy is equal to the model.
    moments: mean and standard deviation (D,) of the prior, the units of the GP's inputs.
    learning_rate: of the VAE; that of the hyper-parameters is `GP_LEARNING_RATE`.
    seed: of the posterior's noise and of dropout. The same arguments give the same weights (bit for bit on a CPU).

    Raises DivergedModel if the loss is not finite.
    """
    written = [(row, score) for (row, _), score in zip(model.encode_ids(smiles), scores, strict=True) if row]
    vae = copy.deepcopy(model.vae)
    if len(written) < 2:
        return model.with_network(vae)
    table = TokenTable.from_rows([row for row, _ in written])
    ids = table.batch(torch.arange(len(table))).to(vae.device)
    y = torch.tensor([score for _, score in written], dtype=torch.float64)
    y = (y - y.mean()) / (y.std() if y.std() > 1e-9 else 1.0)
    mean, sd = (torch.from_numpy(values) for values in moments)

    def inputs(latents: Tensor) -> Tensor:
        return to_box(latents.flatten(1).cpu().double(), mean, sd)

    with torch.random.fork_rng([vae.device] if vae.device.type == "cuda" else []):
        torch.manual_seed(child_seed(seed, "dropout"))
        with torch.no_grad():
            gp = SingleTaskGP(inputs(vae.encode(ids)), y[:, None], outcome_transform=None)
        mll = ExactMarginalLogLikelihood(gp.likelihood, gp)
        fit_gpytorch_mll(mll, optimizer_kwargs={"options": {"maxiter": GP_STEPS}})
        weights = list(vae.players()[next(iter(vae.players()))])
        optimizer = torch.optim.Adam(
            [{"params": weights, "lr": learning_rate}, {"params": list(gp.parameters()), "lr": GP_LEARNING_RATE}]
        )
        vae.train()
        gp.train()
        noise = torch_stream(seed, "noise")
        for step in range(steps):
            shape = len(ids), vae.latent_tokens, vae.latent_size
            inferred = vae.infer(ids, torch.randn(shape, generator=noise).to(vae.device))
            x = inputs(inferred.mean)
            gp.set_train_data(x, strict=False)
            loss = vae_loss(vae, ids, inferred, noise) - mll(gp(x), gp.train_targets).float().to(vae.device)
            if not loss.isfinite():
                raise DivergedModel(
                    f"joint training diverged at step {step}: the loss is {float(loss)}. Give a smaller learning_rate."
                )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(weights, CLIP)
            optimizer.step()
            _keep_bounds(gp)
    return model.with_network(vae.eval())


@torch.no_grad()
def _keep_bounds(gp: SingleTaskGP) -> None:
    """Bring hyper-parameters back that a step has carried over a bound; BoTorch leaves bounds to its own optimiser."""
    for _, parameter, bounds in gp.named_parameters_and_constraints():
        if bounds is not None and not bounds.enforced:
            parameter.clamp_(float(bounds.lower_bound), float(bounds.upper_bound))


def vae_loss(vae: SequenceVAE, ids: Tensor, inferred: Inferred, generator: torch.Generator) -> Tensor:
    """nll + beta KL, and what the variant adds, of molecules (B, T) whose latents are all shown to the decoder; nats."""
    logits = vae.decoder(ids[:, :-1], vae.memory(inferred.z))
    beta = vae.kl_weight.beta(SETTLED)
    loss = vae.nll(logits, ids).mean() + beta * vae.kl_weight.penalty(vae.balanced(inferred.kl))
    return loss + sum(vae.regularisers(inferred, generator).values(), start=torch.zeros_like(loss))
