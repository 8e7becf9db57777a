"""The plain Gaussian VAE over SELFIES strings: the composition itself, with nothing overridden."""

from __future__ import annotations

from molvae.models.sequence_vae import MODELS, SequenceVAE

MODELS.register("vae")(SequenceVAE)
