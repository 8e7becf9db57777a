"""What a model learns from: tokenised molecules with their other writings and properties, and their order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from molvae.data.datasets import TokenTable, length_batches
from molvae.models.sequence_vae import Batch
from molvae.randomness import torch_stream
from molvae.training.settings import TrainSettings


@dataclass(frozen=True)
class Examples:
    """What a model learns from, one row a molecule.

    table: the strings to be written.
    sources: writings that the encoder may read, equally many for each molecule, the first being the table's own.
    properties: (n, P) float32 standardised values, NaN where unknown.
    extra: (n,) bool, True for molecules beside those to be learned: extra or recombined ones (`Batch.extra`).
    """

    table: TokenTable
    sources: TokenTable | None = None
    properties: Tensor | None = None
    extra: Tensor | None = None

    def __len__(self) -> int:
        return len(self.table)

    @property
    def writings(self) -> int:
        """Writings a molecule that the encoder may read."""
        return 1 if self.sources is None else len(self.sources) // len(self.table)

    def select(self, rows: Tensor) -> Examples:
        """Some molecules with all that belongs to them."""
        blocks = (rows[:, None] * self.writings + torch.arange(self.writings)).flatten()
        return Examples(
            self.table.select(rows),
            None if self.sources is None else self.sources.select(blocks),
            None if self.properties is None else self.properties[rows],
            None if self.extra is None else self.extra[rows],
        )

    def to(self, device: torch.device) -> Examples:
        """The same on another device."""
        return Examples(
            self.table.to(device),
            None if self.sources is None else self.sources.to(device),
            None if self.properties is None else self.properties.to(device),
            None if self.extra is None else self.extra.to(device),
        )

    def batch(self, rows: Tensor, generator: torch.Generator | None = None) -> Batch:
        """The batch of some rows (B,), on their device. With a generator the encoder reads another writing half the time."""
        source = None
        if self.sources is not None and generator is not None:
            other = torch.randint(1, self.writings, (len(rows),), generator=generator)
            which = other.where(torch.rand(len(rows), generator=generator) < 0.5, 0)
            source = self.sources.batch(rows * self.writings + which.to(rows.device))
        return Batch(
            self.table.batch(rows),
            source,
            None if self.properties is None else self.properties[rows],
            None if self.extra is None else self.extra[rows],
        )


def with_extra(examples: Examples, table: TokenTable, sources: TokenTable | None = None) -> Examples:
    """The examples with more molecules behind them: marked as extra, and without known properties."""
    n, more = len(examples), len(table)
    properties = examples.properties
    if properties is not None:
        properties = torch.cat([properties, properties.new_full((more, properties.shape[1]), torch.nan)])
    return Examples(
        joined(examples.table, table),
        None if examples.sources is None or sources is None else joined(examples.sources, sources),
        properties,
        torch.arange(n + more) >= n,
    )


def joined(first: TokenTable, second: TokenTable) -> TokenTable:
    """The rows of two tables, one after the other."""
    return TokenTable(
        torch.cat([first.tokens, second.tokens]), torch.cat([first.offsets, second.offsets[1:] + first.offsets[-1]])
    )


def batches_from(table: TokenTable, settings: TrainSettings, step: int) -> Iterator[Tensor]:
    """Row numbers of the batches from `step` on, epoch after epoch; each epoch's order depends on (seed, epoch) only."""
    per_epoch = math.ceil(len(table) / settings.step_size)
    epoch, skip = divmod(step, per_epoch)
    while True:
        order = length_batches(table.lengths, settings.step_size, torch_stream(settings.seed, "order", epoch))
        yield from order[skip:]
        epoch, skip = epoch + 1, 0
