"""A small training run that torchrun starts in several processes: `distributed_program.py FOLDER`. Each process has a folder
of its own, FOLDER/0, FOLDER/1 ... FOLDER/losses-RANK.json has the losses of every step, FOLDER/threads-RANK.json the names
of the threads that outlive the group, where the system tells them."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from training_program import SETTINGS, molecules

from molvae.models.sequence_vae import MODELS, SequenceVAE
from molvae.training.distributed import process_group
from molvae.training.loop import Examples, TrainSettings, fit

PLAN = replace(SETTINGS, molecules=50 * 4, batch_size=10, evaluate_every=100, patience=9)


def build() -> tuple[SequenceVAE, Examples]:
    """All that draws at random for a whole batch, property heads with gaps, and no dropout, which is drawn by the pass."""
    data = molecules()
    torch.manual_seed(0)
    model = MODELS.build(
        "vae",
        {
            "latent": 8,
            "encoder_settings": {"hidden": 16, "embedding": 8},
            "decoder": "transformer",
            "decoder_settings": {"width": 16, "layers": 1, "heads": 2},
            "kl_weight": "rate_target",
            "word_dropout": 0.1,
            "unconditional": 0.5,
            "properties": 2,
        },
        len(data.vocabulary),
    )
    n = len(data.table)
    properties = torch.sin(torch.arange(2.0 * n)).view(n, 2)
    properties[::3, 0] = torch.nan
    return model, Examples(data.table, data.sources, properties, torch.arange(n) % 5 == 0)


def run(folder: Path, plan: TrainSettings, **group) -> list[dict[str, float]]:
    """Train, and return the terms of every step."""
    steps: list[dict[str, float]] = []
    model, examples = build()
    fit(
        model, examples, plan, folder,
        evaluate=lambda model, seen: {"nll": float(seen), "active_units": 8.0},
        progress=lambda done, total, terms: steps.append(dict(terms)), **group,
    )  # fmt: skip
    return steps


if __name__ == "__main__":
    torch.set_num_threads(1)
    root = Path(sys.argv[1])
    with process_group(torch.device("cpu")) as joined:
        losses = run(root / str(joined.rank), PLAN, group=joined)
        (root / f"losses-{joined.rank}.json").write_text(json.dumps(losses))
    threads = Path("/proc/self/task").glob("*/comm")
    (root / f"threads-{joined.rank}.json").write_text(json.dumps([path.read_text().strip() for path in threads]))
