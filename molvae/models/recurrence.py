"""A GRU layer (Cho et al. 2014, arXiv 1406.1078) that is fast on a CPU as well as on a GPU.

On a GPU, cuDNN's fused kernel runs. On a CPU, torch's own GRU multiplies in float32 and keeps an autograd node a step; here
one autograd node covers the whole sequence, the step products run in the autocast type (bfloat16 on processors with
AVX512-BF16), and the weight gradient is one large product at the end. Both paths use the parameters of `torch.nn.GRU` and
give its numbers. Shapes: T steps, B rows, H units, I inputs; gates in torch's order reset, update, new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def _forward_step(gates: Tensor, rows: Tensor, products: Tensor, bias: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    """One GRU step after the product h W: reset, update, new, the hidden part of new, the next h, and h in low precision."""
    reset_in, update_in, new_in = (gates + rows).chunk(3, -1)
    reset_h, update_h, new_h = (products.to(h.dtype) + bias).chunk(3, -1)
    reset, update = torch.sigmoid(reset_in + reset_h), torch.sigmoid(update_in + update_h)
    new = torch.tanh(new_in + reset * new_h)
    h = new + update * (h - new)
    return reset, update, new, new_h, h, h.to(products.dtype)


def _backward_step(
    d_h: Tensor, d_out: Tensor, h: Tensor, reset: Tensor, update: Tensor, new: Tensor, new_h: Tensor, low: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients before the product with W: of the input gates, of the hidden gates (low precision), and the rest for h."""
    d_h = d_h + d_out
    d_new = d_h * (1 - update) * (1 - new * new)
    d_update = d_h * (h - new) * update * (1 - update)
    d_reset = d_new * new_h * reset * (1 - reset)
    d_gates = torch.cat([d_reset, d_update, d_new], -1)
    return d_gates, torch.cat([d_reset, d_update, d_new * reset], -1).to(low), d_h * update


class _Recurrence(torch.autograd.Function):
    """outputs (T, B, H) of a GRU from input gates (T, B, 3H) and row gates (B, 3H) that are added at every step."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, rows: Tensor, h: Tensor, weight: Tensor, bias: Tensor, low: torch.dtype) -> Tensor:
        steps, n, units = gates.shape[0], gates.shape[1], weight.shape[1]
        transposed = weight.to(low).t().contiguous()
        outputs, low_outputs = h.new_empty(steps + 1, n, units), h.new_empty(steps + 1, n, units, dtype=low)
        outputs[0], low_outputs[0] = h, h
        saved = []
        for t in range(steps):
            *kept, outputs[t + 1], low_outputs[t + 1] = _forward_step(
                gates[t], rows, torch.mm(low_outputs[t], transposed), bias, outputs[t]
            )
            saved.append(kept)
        ctx.save_for_backward(outputs, low_outputs, weight)
        ctx.saved, ctx.low = saved, low
        return outputs[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        outputs, low_outputs, weight = ctx.saved_tensors
        steps, n, units = grad.shape
        low = weight.to(ctx.low)
        d_gates, d_hidden = grad.new_empty(steps, n, 3 * units), low_outputs.new_empty(steps, n, 3 * units)
        d_h = grad.new_zeros(n, units)
        for t in range(steps - 1, -1, -1):
            d_gates[t], d_hidden[t], direct = _backward_step(d_h, grad[t], outputs[t], *ctx.saved[t], ctx.low)
            d_h = direct + torch.mm(d_hidden[t], low)
        flat = d_hidden.view(steps * n, 3 * units)
        d_weight = torch.mm(flat.t(), low_outputs[:-1].view(steps * n, units)).to(weight.dtype)
        d_bias = torch.cat([d_gates[..., : 2 * units].sum((0, 1)), flat[:, 2 * units :].sum(0, dtype=weight.dtype)])
        return d_gates, d_gates.sum(0), d_h, d_weight, d_bias, None


def advance(gates: Tensor, products: Tensor, h: Tensor) -> Tensor:
    """The next h (B, H) from the input gates (B, 3H), which it overwrites, and the products h W + bias (B, 3H).

    The arithmetic of `_forward_step` with nothing kept for a gradient: about a quarter less memory traffic.
    """
    units = h.shape[1]
    both = gates[:, : 2 * units].add_(products[:, : 2 * units]).sigmoid_()
    new = torch.addcmul(gates[:, 2 * units :], both[:, :units], products[:, 2 * units :]).tanh_()
    return torch.lerp(new, h, both[:, units:])


class GRULayer(nn.Module):
    """One GRU layer over embedded tokens and, beside every token, a context vector (here: z).

    Equals `nn.GRU(embedding + context, hidden)` on the concatenation of both inputs.
    """

    def __init__(self, inputs: int, context: int, hidden: int) -> None:
        super().__init__()
        self.inputs, self.hidden = inputs, hidden
        self.gru = nn.GRU(inputs + context, hidden)

    def input_gates(self, x: Tensor) -> Tensor:
        """x (..., I) -> (..., 3H): what the inputs add to the gates."""
        return F.linear(x, self.gru.weight_ih_l0[:, : self.inputs], self.gru.bias_ih_l0)

    def row_gates(self, context: Tensor) -> Tensor:
        """context (B, C) -> (B, 3H): what the context adds to the gates, the same at every step."""
        return F.linear(context, self.gru.weight_ih_l0[:, self.inputs :])

    def forward(self, x: Tensor, context: Tensor, h: Tensor) -> Tensor:
        """x: (T, B, I) inputs. context: (B, C), C may be 0. h: (B, H) first state. Returns (T, B, H)."""
        if x.device.type == "cuda":
            return self.gru(torch.cat([x, context.expand(x.shape[0], *context.shape)], -1), h[None])[0]
        gates, rows = self.input_gates(x), self.row_gates(context)
        wide = torch.promote_types(gates.dtype, torch.float32)
        low = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else wide
        return _Recurrence.apply(gates.to(wide), rows.to(wide), h.to(wide), self.gru.weight_hh_l0, self.gru.bias_hh_l0, low)

    def run(self, gates: Callable[[int, int], Tensor], counts: Sequence[int], h: Tensor) -> Tensor:
        """Every step in turn, for when no gradient is wanted and the longest rows come first.

        gates(t, n): the gates (n, 3H) of the first n rows at step t; they are overwritten.  h: (B, H) first state.
        counts: rows that still go on at each step; only they are computed.
        Returns (T, B, H), zeros where a row has ended.
        """
        outputs = h.new_zeros(len(counts), *h.shape)
        for t, n in enumerate(counts):
            outputs[t, :n] = h = self.step(gates(t, n), h[:n])
        return outputs

    def pooled(self, gates: Callable[[int, int], Tensor], counts: Sequence[int], h: Tensor) -> tuple[Tensor, ...]:
        """Mean, maximum, first and last of each row's states, (B, H) each; parameters as in `run`.

        The states themselves are not kept: moving them about took more time than computing them.
        """
        h = self.step(gates(0, counts[0]), h[: counts[0]])
        total, largest, first, last = h.clone(), h.clone(), h, h.clone()
        lengths = h.new_ones(len(h), 1)
        for t, n in enumerate(counts[1:], 1):
            h = self.step(gates(t, n), h[:n])
            total[:n] += h
            torch.maximum(largest[:n], h, out=largest[:n])
            last[:n] = h
            lengths[:n] += 1
        return total / lengths, largest, first, last

    def step(self, gates: Tensor, h: Tensor) -> Tensor:
        """One step without a sequence: h (B, H) -> (B, H). gates: (B, 3H) input and row gates added up; overwritten."""
        products = F.linear(h, self.gru.weight_hh_l0, self.gru.bias_hh_l0)
        return advance(gates.to(h.dtype), products.to(h.dtype), h)  # under autocast the products are bfloat16
