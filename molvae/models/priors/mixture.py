"""A mixture of Gaussians with full covariances, fitted by scikit-learn's expectation-maximisation."""

from __future__ import annotations

import torch
from torch import Tensor

from molvae.errors import ConfigError
from molvae.models.priors.base import PRIORS, Prior, check_settings
from molvae.randomness import stream


@PRIORS.register("mixture")
class GaussianMixture(Prior):
    """sum_k w_k N(m_k, t^2 S_k). `components` is capped so that each has at least 4 D latents for its covariance.

    EM runs on at most `latents` of them: each step costs components x latents x D^2. `temperature`, t, narrows the fitted
    components: in many dimensions a Gaussian's draws lie where there are no latents (NVAE, arXiv 2007.03898, section 4, does
    so when it samples). Raises ConfigError if it is not above 0.
    """

    def __init__(
        self, *, components: int = 64, iterations: int = 25, latents: int = 50_000, temperature: float = 1.0
    ) -> None:
        if not temperature > 0.0:
            raise ConfigError(f"temperature narrows a mixture's components and must be above 0, not {temperature}.")
        check_settings(components=components, iterations=iterations, latents=latents)
        self.components, self.iterations, self.latents = components, iterations, latents
        self.temperature = temperature
        self.tensors = {}

    def fit(self, latents: Tensor, seed: int) -> None:
        """EM from a k-means start; stopping before convergence is fine for a density that is only sampled."""
        import warnings

        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture as EM

        if len(latents) > self.latents:
            chosen = stream(seed, "mixture rows").permutation(len(latents))[: self.latents]
            latents = latents[torch.from_numpy(chosen)]
        rows, size = latents.shape
        em = EM(
            max(1, min(self.components, rows // (4 * size))), max_iter=self.iterations, reg_covar=1e-5, tol=1e-3,
            random_state=int(stream(seed, "mixture").integers(2**31)),
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            em.fit(latents.numpy())
        roots = self.temperature * torch.linalg.cholesky(torch.from_numpy(em.covariances_).double())
        self.tensors = {
            "weights": torch.from_numpy(em.weights_).double(),
            "means": torch.from_numpy(em.means_).double(),
            "roots": roots,
        }

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, D) float32 draws."""
        weights, means, roots = (self.tensors[k].double() for k in ("weights", "means", "roots"))
        component = torch.multinomial(weights, max(n, 1), replacement=True, generator=generator)[:n]  # it cannot draw none
        noise = torch.randn(n, means.shape[1], generator=generator, dtype=torch.float64)
        z = torch.empty_like(noise)
        for k in component.unique().tolist():  # by component: a root a row would take n D^2 numbers
            rows = component == k
            z[rows] = means[k] + noise[rows] @ roots[k].T
        return z.float()

    def log_prob(self, z: Tensor) -> Tensor:
        """(N,) log density in nats."""
        weights, means, roots = (self.tensors[k].double() for k in ("weights", "means", "roots"))
        parts = [
            torch.distributions.MultivariateNormal(m, scale_tril=root).log_prob(z.double())
            for m, root in zip(means, roots, strict=True)
        ]
        return torch.logsumexp(torch.stack(parts, 1) + weights.log(), 1)
