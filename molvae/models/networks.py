"""Encoders and decoders over token ids: GRU (Cho et al. 2014) and pre-norm Transformer (Vaswani et al. 2017).

Any encoder goes with any decoder. Shapes: B rows, T tokens, V vocabulary, H state width, K latent tokens of D numbers.

    encoder(ids (B, T))              -> summary (B, S): what the bottleneck reads
    decoder(ids (B, T), z (B, K, D)) -> logits (B, T, V): teacher forcing, logits[:, t] predicts ids[:, t + 1]
    decoder.start(z), decoder.step(ids (B,), state) -> logits (B, V), state: one token at a time with cached state
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from molvae.errors import ConfigError
from molvae.models.recurrence import GRULayer
from molvae.registry import Registry
from molvae.strings.tokens import PAD

State = dict[str, Any]


class Encoder(Protocol):
    """Token ids to one summary vector a row; padding changes nothing."""

    summary_size: int

    def __call__(self, ids: Tensor) -> Tensor: ...


class Decoder(Protocol):
    """Latent tokens to token logits, at once or step by step."""

    def __call__(self, ids: Tensor, z: Tensor) -> Tensor: ...

    def start(self, z: Tensor, max_length: int) -> State: ...

    def step(self, ids: Tensor, state: State) -> tuple[Tensor, State]: ...


ENCODERS: Registry[nn.Module] = Registry("encoder", "molvae.models")
DECODERS: Registry[nn.Module] = Registry("decoder", "molvae.models")


def require_positive(**sizes: int) -> None:
    """Raise ConfigError for the first size that is not at least 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(f"{name} must be 1 or more, not {size}.")


def pool(states: Tensor, mask: Tensor) -> Tensor:
    """(B, T, H), (B, T) -> (B, 4H): mean, maximum, first and last state of the real tokens."""
    inside = mask[..., None]
    mean = (states * inside).sum(1) / inside.sum(1)
    largest = states.masked_fill(~inside, float("-inf")).amax(1)
    last = states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
    return torch.cat([mean, largest, states[:, 0], last], -1)


def reversal(mask: Tensor) -> Tensor:
    """(B, T) positions that reverse each row's real tokens and leave the padding where it is."""
    position = torch.arange(mask.shape[1], device=mask.device)[None]
    length = mask.sum(1, keepdim=True)
    return torch.where(mask, length - 1 - position, position)


@ENCODERS.register("gru")
class GRUEncoder(nn.Module):
    """Bidirectional GRU layers; the summary pools mean, maximum, first and last state.

    embedding: numbers that stand for a token.  hidden: units of the state in each direction.  layers: one above the other.
    dropout: share of each layer's inputs hidden while training.
    """

    def __init__(
        self, vocabulary_size: int, *, embedding: int = 128, hidden: int = 256, layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        require_positive(embedding=embedding, hidden=hidden, layers=layers)
        self.embedding = nn.Embedding(vocabulary_size, embedding)
        sizes = [embedding] + [2 * hidden] * (layers - 1)
        self.forward_layers = nn.ModuleList(GRULayer(size, 0, hidden) for size in sizes)
        self.backward_layers = nn.ModuleList(GRULayer(size, 0, hidden) for size in sizes)
        self.dropout = nn.Dropout(dropout)
        self.hidden = hidden
        self.summary_size = 4 * 2 * hidden

    def forward(self, ids: Tensor) -> Tensor:
        """ids (B, T) -> (B, summary_size)."""
        mask = ids != PAD
        if not self.training and not torch.is_grad_enabled() and ids.device.type == "cpu":
            return self._read(ids, mask)
        flip = reversal(mask).t()[..., None]
        x = self.embedding(ids).transpose(0, 1)  # (T, B, E)
        h, nothing = x.new_zeros(x.shape[1], self.hidden), x.new_zeros(x.shape[1], 0)
        for ahead, behind in zip(self.forward_layers, self.backward_layers, strict=True):
            x = self.dropout(x)
            backward = behind(x.gather(0, flip.expand_as(x)), nothing, h)
            x = torch.cat([ahead(x, nothing, h), backward.gather(0, flip.expand_as(backward))], -1)
        return pool(x.transpose(0, 1), mask)

    def _read(self, ids: Tensor, mask: Tensor) -> Tensor:
        """`forward` without gradients: the longest rows first, so that padding costs nothing, the gates of each token looked
        up in a table of all tokens, and no more of the last layer kept than what is pooled."""
        order = mask.sum(1).argsort(descending=True, stable=True)
        ids, mask = ids[order], mask[order]
        back = reversal(mask)
        counts, flip = mask.sum(0).tolist(), back.t()[..., None]
        h = torch.zeros(len(ids), self.hidden, device=ids.device)
        *inner, last = zip(self.forward_layers, self.backward_layers, strict=True)
        x = None

        def gates(layer: GRULayer, is_ahead: bool) -> Callable[[int, int], Tensor]:
            if x is None:
                tokens, rows = layer.input_gates(self.embedding.weight), (ids if is_ahead else ids.gather(1, back)).t()
                return lambda t, n: tokens.index_select(0, rows[t, :n])
            read = layer.input_gates(x if is_ahead else x.gather(0, flip.expand_as(x)))
            return lambda t, n: read[t, :n]

        for ahead, behind in inner:
            backward = behind.run(gates(behind, False), counts, h)
            x = torch.cat([ahead.run(gates(ahead, True), counts, h), backward.gather(0, flip.expand_as(backward))], -1)
        mean, largest, first, final = last[0].pooled(gates(last[0], True), counts, h)
        back_mean, back_largest, back_final, back_first = last[1].pooled(gates(last[1], False), counts, h)
        pooled = [mean, back_mean, largest, back_largest, first, back_first, final, back_final]  # as `pool` has them
        return torch.cat(pooled, -1)[order.argsort()]


@DECODERS.register("gru")
class GRUDecoder(nn.Module):
    """GRU layers that get z as their first state and beside every input.

    embedding: numbers that stand for a token.  hidden: units of the state.  layers: one above the other.
    dropout: share of each layer's inputs hidden while training.
    """

    def __init__(
        self,
        vocabulary_size: int,
        latent_tokens: int,
        latent_size: int,
        *,
        embedding: int = 128,
        hidden: int = 512,
        layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_positive(embedding=embedding, hidden=hidden, layers=layers)
        size = latent_tokens * latent_size
        self.embedding = nn.Embedding(vocabulary_size, embedding)
        self.first = nn.Linear(size, layers * hidden)
        self.layers = nn.ModuleList(GRULayer(embedding if i == 0 else hidden, size, hidden) for i in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, vocabulary_size)

    def forward(self, ids: Tensor, z: Tensor) -> Tensor:
        """ids (B, T), z (B, K, D) -> logits (B, T, V)."""
        context = z.flatten(1)
        x = self.embedding(ids).transpose(0, 1)
        for layer, h in zip(self.layers, self._first_states(context), strict=True):
            x = layer(self.dropout(x), context, h)
        return self.head(self.dropout(x)).transpose(0, 1)

    def _first_states(self, context: Tensor) -> list[Tensor]:
        return list(torch.tanh(self.first(context)).float().chunk(len(self.layers), -1))

    def start(self, z: Tensor, max_length: int) -> State:
        """The state before the first token."""
        context = z.flatten(1)
        rows = torch.stack([layer.row_gates(context) for layer in self.layers], 1)
        # What each token adds to the first layer's gates, once for all rows and steps; `keep_rows` leaves a tuple alone.
        tokens = (self.layers[0].input_gates(self.embedding.weight),)
        return {"rows": rows, "tokens": tokens, "h": torch.stack(self._first_states(context), 1)}

    def step(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """ids (B,) the tokens written last -> logits (B, V) of the next, and the new state."""
        gates, new = state["tokens"][0].index_select(0, ids), []
        for i, layer in enumerate(self.layers):
            if i:
                gates = layer.input_gates(new[-1])
            new.append(layer.step(gates + state["rows"][:, i], state["h"][:, i]))
        return self.head(new[-1]), {**state, "h": torch.stack(new, 1)}


def positions(length: int, width: int, device: torch.device) -> Tensor:
    """(length, width) sinusoidal position codes (Vaswani et al. 2017, section 3.5), defined for any length."""
    rate = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000.0) / width))
    angle = torch.arange(length, device=device)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :width]


class Attention(nn.Module):
    """Multi-head attention over scaled dot products."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ConfigError(f"width must be a multiple of heads, not {width} with {heads} heads.")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def split(self, x: Tensor) -> Tensor:
        """(B, T, H) -> (B, heads, T, H / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def keys_values(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a source (B, T, H), each (B, heads, T, H / heads)."""
        keys, values = self.key_value(source).chunk(2, -1)
        return self.split(keys), self.split(values)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """x (B, T, H) attends to keys and values."""
        y = F.scaled_dot_product_attention(self.split(self.query(x)), keys, values, attn_mask=mask, is_causal=causal)
        return self.out(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm Transformer block; with `cross`, it also attends to a memory between self-attention and feed-forward."""

    def __init__(self, width: int, heads: int, dropout: float, cross: bool) -> None:
        super().__init__()
        self.norm_self, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm_cross = nn.LayerNorm(width) if cross else None
        self.cross = Attention(width, heads) if cross else None
        self.norm_feed = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def attend(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        """Self-attention with its residual, on keys and values that may hold earlier steps."""
        return x + self.dropout(self.attention(self.norm_self(x), keys, values, mask, causal))

    def rest(self, x: Tensor, memory: tuple[Tensor, Tensor] | None) -> Tensor:
        """Cross-attention (if any) and feed-forward with their residuals."""
        if self.cross is not None and self.norm_cross is not None and memory is not None:
            x = x + self.dropout(self.cross(self.norm_cross(x), *memory))
        return x + self.dropout(self.feed(self.norm_feed(x)))


@ENCODERS.register("transformer")
class TransformerEncoder(nn.Module):
    """Bidirectional Transformer; the summary pools mean, maximum, first and last state.

    width: numbers that stand for a token, a multiple of `heads`.  layers: blocks, one above the other.
    heads: of each attention.  dropout: share of what a block adds that is hidden while training.
    """

    def __init__(
        self, vocabulary_size: int, *, width: int = 256, layers: int = 4, heads: int = 8, dropout: float = 0.0
    ) -> None:
        super().__init__()
        require_positive(width=width, layers=layers)
        self.embedding = nn.Embedding(vocabulary_size, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout, cross=False) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.summary_size = 4 * width

    def forward(self, ids: Tensor) -> Tensor:
        """ids (B, T) -> (B, summary_size)."""
        mask = ids != PAD
        x = self.embedding(ids) * math.sqrt(self.embedding.embedding_dim)
        x = x + positions(ids.shape[1], x.shape[-1], x.device)
        for block in self.blocks:
            keys, values = block.attention.keys_values(block.norm_self(x))
            x = block.rest(block.attend(x, keys, values, mask[:, None, None], causal=False), None)
        return pool(self.norm(x), mask)


@DECODERS.register("transformer")
class TransformerDecoder(nn.Module):
    """Causal Transformer. z becomes tokens for cross-attention, and a projection of it is added to each input.

    width: numbers that stand for a token, a multiple of `heads`.  layers: blocks, one above the other.
    heads: of each attention.  memory: tokens that z becomes.
    dropout: share of what a block adds that is hidden while training.
    """

    def __init__(
        self,
        vocabulary_size: int,
        latent_tokens: int,
        latent_size: int,
        *,
        width: int = 256,
        layers: int = 4,
        heads: int = 8,
        memory: int = 8,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_positive(width=width, layers=layers, memory=memory)
        self.embedding = nn.Embedding(vocabulary_size, width)
        self.width = width
        # One flat z is spread over `memory` tokens; several latent tokens are the memory themselves.
        self.memory = nn.Linear(latent_size, width if latent_tokens > 1 else memory * width)
        self.add = nn.Linear(latent_tokens * latent_size, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout, cross=True) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary_size)

    def _memory(self, z: Tensor) -> list[tuple[Tensor, Tensor]]:
        tokens = self.memory(z).unflatten(-1, (-1, self.width)).flatten(1, 2)
        return [block.cross.keys_values(tokens) for block in self.blocks]

    def _inputs(self, ids: Tensor, added: Tensor, first: int) -> Tensor:
        code = positions(first + ids.shape[1], self.width, ids.device)[first:]
        return self.embedding(ids) * math.sqrt(self.width) + code + added

    def forward(self, ids: Tensor, z: Tensor) -> Tensor:
        """ids (B, T), z (B, K, D) -> logits (B, T, V)."""
        x = self._inputs(ids, self.add(z.flatten(1))[:, None], 0)
        for block, memory in zip(self.blocks, self._memory(z), strict=True):
            keys, values = block.attention.keys_values(block.norm_self(x))
            x = block.rest(block.attend(x, keys, values, None, causal=True), memory)
        return self.head(self.norm(x))

    def start(self, z: Tensor, max_length: int) -> State:
        """The state before the first token: memory keys, and room for the keys of `max_length` tokens."""
        heads = self.blocks[0].attention.heads
        empty = z.new_zeros(len(z), len(self.blocks), 2, heads, max_length, self.width // heads)
        memory = torch.stack([torch.stack(pair, 1) for pair in self._memory(z)], 1)
        return {"added": self.add(z.flatten(1))[:, None], "memory": memory, "cache": empty, "length": 0}

    def step(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """ids (B,) the tokens written last -> logits (B, V) of the next, and the new state (the cache grows in place)."""
        at = state["length"]
        x = self._inputs(ids[:, None], state["added"], at)
        for i, block in enumerate(self.blocks):
            keys, values = block.attention.keys_values(block.norm_self(x))
            cache = state["cache"][:, i]
            cache[:, 0, :, at : at + 1], cache[:, 1, :, at : at + 1] = keys, values
            x = block.attend(x, cache[:, 0, :, : at + 1], cache[:, 1, :, : at + 1], None, causal=False)
            x = block.rest(x, (state["memory"][:, i, 0], state["memory"][:, i, 1]))
        return self.head(self.norm(x))[:, 0], {**state, "length": at + 1}


def keep_rows(state: State, rows: Tensor) -> State:
    """The decoding state of some rows only: finished rows cost nothing further."""
    return {name: value[rows] if isinstance(value, Tensor) else value for name, value in state.items()}
