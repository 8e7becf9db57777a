"""Model: a trained VAE in chemists' terms. SMILES in, latents out; latents in, molecules out; arrays in NumPy."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from molvae.checkpoint import Checkpoint, find, molecule_hashes
from molvae.checkpoint import load as load_checkpoint
from molvae.data.datasets import TokenTable
from molvae.data.derivation import derive_strings, encode_strings
from molvae.errors import ConfigError, nearest
from molvae.files import file_hash
from molvae.generation import exploration
from molvae.generation.conditioning import Conditions, check_guidance
from molvae.generation.exploration import Neighbour, Waypoint
from molvae.models.consistent import write_consistent
from molvae.models.decoding import strings, write
from molvae.models.sequence_vae import SequenceVAE
from molvae.processes import check_workers, in_order
from molvae.randomness import child_seed, torch_stream
from molvae.strings.grammar import Grammar
from molvae.strings.tokens import EOS, PAD, Decoded

BATCH = 512
ENCODE_BLOCK = 16 * BATCH  # molecules sorted by length together, so that little is padding
SHARE = 500  # strings a job for a worker process
RECONSTRUCTION_BEAMS = 16  # where the greedy string is not the latent's own: seldom, so that they cost little on average
FEW = 1000  # strings below which starting processes costs more than it saves

#: Preferred first when a checkpoint has several fitted priors.
PRIOR_ORDER = ("language", "flow", "mixture", "gaussian", "normal")


def load(
    name: str | os.PathLike[str] = "zinc250k", *, device: str = "auto", workers: int = 0, constrained: bool = True
) -> Model:
    """A shipped model by name, or a checkpoint folder, or a run directory. Raises CheckpointError or ConfigError.

    device: "auto" (CUDA, then MPS, then CPU) or a torch device. workers: extra processes for the RDKit work of large calls.
    constrained: whether the decoder is kept from writing what could not be read at its word; see `Model`.
    """
    folder = find(name)
    checkpoint = load_checkpoint(folder, pick_device(device))
    weights = file_hash(folder / "model.safetensors")
    # A run directory holds its model in a folder `checkpoint`, which says nothing; the run's own name does.
    called = folder.resolve().parent.name if folder.name == "checkpoint" else folder.resolve().name
    return Model(checkpoint, name=called, workers=workers, weights_hash=weights, constrained=constrained)


def pick_device(device: str) -> torch.device:
    """The device of a setting; "auto" takes what is there. Raises ConfigError for one that is not."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"no device {device!r} on this machine. Use --device auto, cpu, cuda or mps.") from error
    return chosen


class Model:
    """A checkpoint with verbs. Latent vectors are flat (D,) float32 and are posterior means unless sampled.

    All draws depend on `seed` alone. Nothing here changes global state: a model may be used by several threads at once, and
    can be pickled for a worker process. `workers` > 0 spreads RDKit work over processes.
    weights_hash: SHA-256 of the file that the weights were read from; "" if there was none.
    constrained: whether the decoder chooses among the tokens that `grammar.Grammar` allows, so that all it writes can be
    read but for stereo marks. A vocabulary without marks has no such grammar, and its decoder always writes freely.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        name: str = "",
        workers: int = 0,
        weights_hash: str = "",
        constrained: bool = True,
    ) -> None:
        check_workers(workers)
        self.checkpoint, self.name, self.workers, self.weights_hash = checkpoint, name, workers, weights_hash
        self.vae, self.vocabulary, self.card = checkpoint.model, checkpoint.vocabulary, checkpoint.card
        self.ring_systems = checkpoint.ring_systems
        self.grammar = Grammar(self.vocabulary) if constrained and self.vocabulary.spelling == "marks" else None
        self._directed = {i for i, token in enumerate(self.vocabulary.tokens) if "/" in token or "\\" in token}
        self.latent_size = self.vae.latent_tokens * self.vae.latent_size
        self._asked: dict[str, float] = {}
        self._condition: Tensor | None = None
        self._guidance = 1.0

    def with_network(self, vae: SequenceVAE) -> Model:
        """The same model with other weights in its network. Its priors and figures stay those of this one."""
        other = copy.copy(self)
        other.vae = vae
        return other

    def with_checkpoint(self, checkpoint: Checkpoint) -> Model:
        """The same model with another checkpoint of the same network: other priors, another card."""
        other = copy.copy(self)
        other.checkpoint, other.card = checkpoint, checkpoint.card
        return other

    # -- molecules to latents

    def encode_ids(self, smiles: Sequence[str]) -> list[tuple[list[int] | None, str]]:
        """Token ids of each molecule, or None and the reason it cannot be encoded."""
        return [item for part in self._parts(encode_strings, _shares(smiles), len(smiles)) for item in part]

    def encode(
        self,
        smiles: Sequence[str],
        *,
        sample: bool = False,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """(N, D) float32 posterior means, or samples; a row of NaN where a molecule cannot be encoded.

        `explain` tells why. A string need not be canonical: it is canonicalised first. The network reads one block of
        molecules while worker processes write the next ones as tokens. progress: called with (molecules done, N).
        """
        z = np.full((len(smiles), self.latent_size), np.nan, np.float32)
        found: dict[int, list[int]] = {}
        first = 0
        for part in self._parts(encode_strings, _shares(smiles), len(smiles)):
            found |= {row: ids for row, (ids, _) in enumerate(part, first) if ids}
            first += len(part)
            if found and (first == len(smiles) or len(found) >= ENCODE_BLOCK):
                block = self._encode_table(TokenTable.from_rows(list(found.values())), sample, child_seed(seed, first))
                z[list(found)] = block.numpy()
                found = {}
            if progress:
                progress(first, len(smiles))
        return z

    def explain(self, smiles: Sequence[str]) -> list[str]:
        """Why each molecule cannot be encoded; "" for those that can."""
        return [reason for _, reason in self.encode_ids(list(smiles))]

    @torch.inference_mode()
    def _encode_table(self, table: TokenTable, sample: bool, seed: int) -> Tensor:
        z = torch.empty(len(table), self.latent_size)
        if not len(table):
            return z
        for batch, rows in enumerate(table.lengths.argsort(stable=True).split(BATCH)):
            generator = torch_stream(seed, "posterior", batch) if sample else None
            z[rows] = self.vae.encode(table.batch(rows).to(self.vae.device), generator).flatten(1).cpu()
        return z

    # -- latents to molecules

    def decode(
        self, z: np.ndarray, *, n: int = 1, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0, beams: int = 0
    ) -> list[Decoded]:
        """The molecules of latents (N, D): n a point, those of a point together. Greedy at temperature 0.

        beams: if positive, the encoder chooses among that many strings of a beam search (`models/consistent.py`) where the
        greedy string is not the latent's own: slower, and right more often. It takes the place of temperature and top_p.
        """
        written = self._written(self._points(z), n, temperature, top_p, seed, beams)
        return [molecule for part in self._parts(derive_strings, written, n * len(z)) for molecule in part]

    def write(
        self, z: np.ndarray, *, n: int = 1, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0, beams: int = 0
    ) -> list[str]:
        """The SELFIES strings that the decoder writes, before they are read as molecules; parameters as in `decode`."""
        written = self._written(self._points(z), n, temperature, top_p, seed, beams)
        return [string for part in written for string in part]

    def _written(
        self, z: np.ndarray, n: int, temperature: float, top_p: float, seed: int, beams: int
    ) -> Iterator[list[str]]:
        """What `write` gives, batch by batch, so that the first strings can be read while the next are written."""
        if n < 1:
            raise ConfigError(f"n is {n}; ask for at least 1 molecule a point.")
        if beams and (temperature or top_p < 1.0):
            raise ConfigError(
                "beams choose the most consistent string: leave temperature at 0 and top_p at 1, or beams at 0."
            )
        if beams and self._condition is not None:
            raise ConfigError(
                "beams look for a latent's own string, whatever its properties: leave them at 0, or ask for none."
            )
        points = torch.from_numpy(z).repeat_interleave(n, 0)
        for batch, part in enumerate(points.split(BATCH)):
            latents = part.view(len(part), self.vae.latent_tokens, self.vae.latent_size)
            generator = torch_stream(seed, "decode", batch)
            if beams:
                rows = write_consistent(self.vae, latents, beams, grammar=self.grammar)
            else:
                rows = write(
                    self.vae,
                    latents,
                    temperature=temperature,
                    top_p=top_p,
                    generator=generator,
                    grammar=self.grammar,
                    condition=self._condition,
                    guidance=self._guidance,
                )
            yield strings(self.vocabulary, rows)

    def _points(self, z: np.ndarray) -> np.ndarray:
        z = np.atleast_2d(np.asarray(z, np.float32))
        if z.ndim != 2 or z.shape[1] != self.latent_size:
            raise ConfigError(f"latents must have {self.latent_size} columns, not shape {z.shape}.")
        if not np.isfinite(z).all():
            raise ConfigError("latents must be finite numbers; a NaN row is a molecule that could not be encoded.")
        return z

    @torch.inference_mode()
    def predict(self, z: np.ndarray) -> dict[str, np.ndarray]:
        """Property name -> (N,) values, in the property's own unit, that the heads read from latents (N, D).

        Raises ConfigError if the model was trained without property heads.
        """
        scales = self.card.get("properties") or {}
        if self.vae.property_heads is None or not scales:
            raise ConfigError(f"{self.name} has no property heads. Train with [data] properties.")
        heads = self.vae.property_heads(torch.from_numpy(self._points(z)).to(self.vae.device)).cpu().numpy()
        return {name: heads[:, i] * scale["sd"] + scale["mean"] for i, (name, scale) in enumerate(scales.items())}

    # -- the prior

    def conditioned(self, condition: Mapping[str, float], guidance: float = 1.0) -> Model:
        """The same model asked for molecules with some properties, values in their own units: {"logP": 2.5, "QED": 0.9}.

        A prior fitted with properties (`molvae.fit_prior`) draws latents of such molecules, with any model. The decoder of a
        conditional model is told them wherever it writes: in the language prior, and beside latents, where a latent
        of the whole molecule leaves them little to say.
        guidance: 1 writes as the model was trained to; more pulls harder towards the condition (`models/guidance.py`).
        Raises ConfigError for a model that cannot be asked, an unknown property, a value that is no finite number or outside
        of what was seen in training, and a guidance below 0.
        """
        check_guidance(guidance)
        conditions = Conditions(self.checkpoint, self.priors, self.name or "this model")
        conditions.check(condition)
        told = conditions.of_decoder(condition)
        asked = copy.copy(self)
        asked._asked, asked._guidance = dict(condition), guidance
        asked._condition = None if told is None else torch.from_numpy(told)
        return asked

    @property
    def priors(self) -> list[str]:
        """The priors it has, the preferred one first; "language" if the decoder has learned to write without z."""
        names = [*self.checkpoint.priors, *(["language"] if self.vae.unconditional else [])]
        return sorted(names, key=lambda name: PRIOR_ORDER.index(name) if name in PRIOR_ORDER else -1)

    def sample_latents(self, n: int, *, seed: int = 0, prior: str | None = None) -> np.ndarray:
        """(n, D) float32 draws from a prior: the preferred one, if none is named; "normal" is N(0, I).

        "language" draws strings from p(x | z = 0) at temperature 1 and gives their posterior means: the aggregated posterior
        of the decoder as a language model. Under a condition, the preferred one is the first that can be asked. Raises
        ConfigError for an unknown prior, and under a condition for one that knows nothing of it, nor does the decoder.
        """
        conditions = Conditions(self.checkpoint, self.priors, self.name or "this model")
        able = conditions.able(self._asked) if self._asked else []
        name = prior or next(iter([*able, *self.priors]), "normal")
        generator = torch_stream(seed, "prior")
        known = list(dict.fromkeys([*self.priors, "normal"]))
        if name not in known:
            raise ConfigError(f"{self.name} has no prior {name!r}.{nearest(name, known)} It has: {', '.join(known)}.")
        if self._asked and name not in able and not self._asked.keys() <= conditions.decoder.keys():
            raise ConfigError(
                f"the prior {name!r} knows nothing of {', '.join(self._asked)}. Of {self.name} these do: {', '.join(able)}."
            )
        if name == "normal":
            return self.vae.sample_prior(n, generator).flatten(1).cpu().numpy()
        if name == "language":
            return self._encode_table(TokenTable.from_rows(self._language_rows(n, generator)), False, seed).numpy()
        fitted = self.checkpoint.priors[name]
        if name in able:
            fitted = fitted.asked(torch.from_numpy(conditions.of_prior(self._asked, name)), self._guidance)
        drawn = fitted.sample(n, generator)
        if not drawn.isfinite().all():
            raise ConfigError(f"guidance {self._guidance:g} pulls latents beyond all numbers; give less, such as 2.")
        return drawn.numpy()

    def _language_rows(self, n: int, generator: torch.Generator) -> list[list[int]]:
        """n token rows drawn from p(x | z = 0); an empty string is drawn again.

        So is, under the grammar, one whose direction marks are on no stereo double bond: the one fault that it does not see
        and that is rare enough to ask RDKit about (few strings have direction marks at all).
        """
        rows: list[list[int]] = []
        while len(rows) < n:
            wanted = min(BATCH, n - len(rows))
            asked = {"condition": self._condition, "guidance": self._guidance}
            written = write(
                self.vae, None, temperature=1.0, generator=generator, copies=wanted, grammar=self.grammar, **asked
            )
            drawn = [ids for ids in ([i for i in row if i not in (PAD, EOS)] for row in written.tolist()) if ids]
            rows += [ids for ids in drawn if self.grammar is None or self._directions_hold(ids)]
        return rows

    def _directions_hold(self, ids: list[int]) -> bool:
        return self._directed.isdisjoint(ids) or self.vocabulary.decode(ids).faithful

    def sample(
        self,
        n: int,
        *,
        seed: int = 0,
        prior: str | None = None,
        temperature: float = 0.0,
        top_p: float = 1.0,
        condition: Mapping[str, float] | None = None,
        guidance: float = 1.0,
    ) -> list[Decoded]:
        """n molecules from the prior, none left out: unfaithful and invalid ones are marked, not hidden.

        condition, guidance: as in `conditioned`.
        """
        asked = self.conditioned(condition, guidance) if condition else self
        z = asked.sample_latents(n, seed=seed, prior=prior)
        return asked.decode(z, temperature=temperature, top_p=top_p, seed=child_seed(seed, "sample"))

    def is_training_molecule(self, smiles: Sequence[str]) -> np.ndarray:
        """(N,) bool: whether each canonical SMILES was in the training set (by hash)."""
        if not len(smiles):
            return np.zeros(0, bool)
        hashes = np.array([molecule_hashes([s])[0] for s in smiles], np.int64)
        at = np.searchsorted(self.checkpoint.training, hashes).clip(max=max(len(self.checkpoint.training) - 1, 0))
        return self.checkpoint.training[at] == hashes if len(self.checkpoint.training) else np.zeros(len(smiles), bool)

    # -- what latents are for

    def reconstruct(
        self, smiles: Sequence[str], *, sample: bool = False, seed: int = 0, beams: int | None = None
    ) -> list[Decoded | None]:
        """Encode and decode; None where a molecule cannot be encoded.

        beams: as in `decode`; None is 16, or 0 (greedy) under a condition, which asks for other molecules than z's own.
        """
        if beams is None:
            beams = RECONSTRUCTION_BEAMS if self._condition is None else 0
        z = self.encode(smiles, sample=sample, seed=seed)
        known = np.flatnonzero(~np.isnan(z[:, 0]))
        results: list[Decoded | None] = [None] * len(z)
        for i, decoded in zip(known.tolist(), self.decode(z[known], beams=beams) if len(known) else [], strict=True):
            results[i] = decoded
        return results

    def interpolate(
        self, first: str, last: str, *, steps: int = 10, mode: str = "linear", unique: bool = True
    ) -> list[Waypoint]:
        """Molecules on the way from `first` to `last`: see `exploration.interpolate`."""
        return exploration.interpolate(self, first, last, steps=steps, mode=mode, unique=unique)

    def neighbours(
        self,
        smiles: str,
        n: int,
        *,
        similarity: float = 0.6,
        sigma: float | None = None,
        seed: int = 0,
        rounds: int = 10,
        keep: str = "",
    ) -> list[Neighbour]:
        """Molecules near one, at a wanted similarity or a given noise: see `exploration.neighbours`."""
        settings = {"similarity": similarity, "sigma": sigma, "seed": seed, "rounds": rounds, "keep": keep}
        return exploration.neighbours(self, smiles, n, **settings)

    def _parts(self, function: Any, blocks: Iterable[list[str]], n: int) -> Iterator[list[Any]]:
        """What `function` makes of each block of strings, in order; worker processes do it while the next blocks are made.

        n: strings in all. For few of them, starting processes costs more than it saves.
        """
        return in_order(function, ((self.vocabulary, block) for block in blocks), self.workers if n >= FEW else 0)


def _shares(strings: Sequence[str]) -> Iterator[list[str]]:
    return (list(strings[i : i + SHARE]) for i in range(0, len(strings), SHARE))


__all__ = ["Model", "load", "pick_device"]
