"""The GRU layer against torch.nn.GRU, forward and backward, in double precision."""

import pytest
import torch
from torch import nn

from molvae.models.recurrence import GRULayer

T, B, X, C, H = 7, 5, 4, 3, 6


def pair(context=C, dtype=torch.float64):
    """A layer, and a torch GRU with the same weights and no code of ours."""
    torch.manual_seed(0)
    layer = GRULayer(X, context, H).to(dtype)
    reference = nn.GRU(X + context, H).to(dtype)
    reference.load_state_dict(layer.gru.state_dict())
    return layer, reference


def inputs(context=C, dtype=torch.float64):
    draw = torch.Generator().manual_seed(1)
    sizes = [(T, B, X), (B, context), (B, H)]
    return [torch.randn(size, generator=draw, dtype=torch.float64).to(dtype).requires_grad_() for size in sizes]


def run_reference(reference, x, context, h):
    return reference(torch.cat([x, context.expand(T, *context.shape)], -1), h[None])[0]


@pytest.mark.parametrize("context", [C, 0])
def test_outputs_equal_torchs_gru(context):
    layer, reference = pair(context)
    ours, theirs = layer(*inputs(context)), run_reference(reference, *inputs(context))
    assert ours.shape == (T, B, H) and ours.dtype == torch.float64
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_every_gradient_equals_torchs():
    layer, reference = pair()
    weigh = torch.randn(T, B, H, generator=torch.Generator().manual_seed(2), dtype=torch.float64)  # every output counts
    found = []
    for run, module in ((layer, layer.gru), (lambda *a: run_reference(reference, *a), reference)):
        given = inputs()
        ((run(*given) * weigh).sum() + run(*given).square().sum()).backward()
        found.append(
            {**{k: p.grad for k, p in module.named_parameters()}, **dict(zip("xch", (g.grad for g in given), strict=True))}
        )
    assert found[0].keys() == found[1].keys() and len(found[0]) == 7
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-11, atol=1e-11, msg=name)


def test_finite_differences_agree():
    layer, _ = pair()
    assert torch.autograd.gradcheck(layer, inputs())


def test_rows_that_end_early_are_left_out():
    layer, reference = pair(0)
    x, context, h = inputs(0)
    counts = [5, 5, 4, 3, 3, 1, 1]
    with torch.no_grad():
        gates = layer.input_gates(x)
        ours, theirs = layer.run(lambda t, n: gates[t, :n].clone(), counts, h), run_reference(reference, x, context, h)
    for t, n in enumerate(counts):
        torch.testing.assert_close(ours[t, :n], theirs[t, :n], rtol=1e-12, atol=1e-12)
        assert not ours[t, n:].any()


def test_pooling_sees_the_states_of_each_row_and_no_more():
    layer, reference = pair(0)
    x, context, h = inputs(0)
    lengths = torch.tensor([7, 5, 3][: len(h)] + [1] * (len(h) - 3))
    counts = [int((lengths > t).sum()) for t in range(7)]
    with torch.no_grad():
        gates, states = layer.input_gates(x), run_reference(reference, x, context, h)
        pooled = layer.pooled(lambda t, n: gates[t, :n].clone(), counts, h)
    for row, n in enumerate(lengths.tolist()):
        own = states[:n, row]
        for ours, theirs in zip(pooled, (own.mean(0), own.amax(0), own[0], own[-1]), strict=True):
            torch.testing.assert_close(ours[row], theirs, rtol=1e-12, atol=1e-12)


def test_one_step_at_a_time_equals_the_sequence():
    layer, _ = pair()
    x, context, h = inputs()
    whole = layer(x, context, h)
    for t in range(T):
        h = layer.step(layer.input_gates(x[t]) + layer.row_gates(context), h)
        torch.testing.assert_close(h, whole[t], rtol=1e-12, atol=1e-12)


def test_bfloat16_products_stay_near_the_exact_result():
    layer, reference = pair(dtype=torch.float32)
    given = inputs(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        ours = layer(*given)
    theirs = run_reference(reference, *given)
    assert ours.dtype == torch.float32
    # bfloat16 has 8 significant bits: products of a few numbers below 1 err by some 2^-8.
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.03)
    ours.sum().backward()
    ours_h = given[2].grad.clone()
    given[2].grad = None
    theirs.sum().backward()
    torch.testing.assert_close(ours_h, given[2].grad, rtol=0.05, atol=0.05)


def test_a_second_derivative_is_refused_rather_than_wrong():
    layer, _ = pair()
    given = inputs()
    (gradient,) = torch.autograd.grad(layer(*given).square().sum(), given[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
