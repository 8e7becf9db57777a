"""A small training run in a process of its own, to be killed: `python training_program.py FOLDER [MILLISECONDS A STEP]`."""

import sys
import time
from functools import cache

import torch
from drugs import SMILES

from molvae.data.datasets import Tokenised, tokenise
from molvae.models.sequence_vae import MODELS, SequenceVAE
from molvae.training.loop import Examples, TrainSettings, fit

SETTINGS = TrainSettings(
    molecules=20 * 40, batch_size=20, learning_rate=3e-3, warmup=5, ema=0.9, precision="float32", evaluate_every=10**9,
    save_every=0.0, seed=3,
)  # fmt: skip


@cache
def molecules() -> Tokenised:
    """Fifty drugs, with two randomised writings each."""
    return tokenise(SMILES[:50], words=60, randomised=2)


def build() -> tuple[SequenceVAE, Examples]:
    """A network with all that draws at random while it trains: posterior noise, word dropout, dropout, randomised input."""
    data = molecules()
    torch.manual_seed(0)
    model = MODELS.build(
        "vae",
        {
            "latent": 8,
            "encoder_settings": {"hidden": 16, "embedding": 8, "dropout": 0.1},
            "decoder": "transformer",
            "decoder_settings": {"width": 16, "layers": 1, "heads": 2, "dropout": 0.1},
            "kl_weight": "rate_target",
            "word_dropout": 0.1,
        },
        len(data.vocabulary),
    )
    return model, Examples(data.table, data.sources)


if __name__ == "__main__":
    torch.set_num_threads(1)
    pause = float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0.0
    fit(*build(), SETTINGS, sys.argv[1], progress=lambda *_: time.sleep(pause))
