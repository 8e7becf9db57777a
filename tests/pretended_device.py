"""A GPU pretended: tensors that say they are on device `meta`, compute on the CPU, and refuse what a GPU's would refuse.

On a machine without a GPU, a tensor left on the CPU is never noticed. Here an operation on tensors of two devices raises, as
on CUDA, but for what CUDA allows too: numbers without dimensions, indices from the CPU, and copies. `meta` is the one name
that autograd takes without a driver; nothing of the real meta device is left of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = "meta"
_COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
_INDEXED = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default, torch.ops.aten.index_put.default}


class Elsewhere(torch.Tensor):
    """A tensor on the pretended device; `inner` holds its numbers."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Elsewhere:
        with torch.inference_mode(False):  # made inside inference mode, it could not be looked at through views
            made = torch.Tensor._make_wrapper_subclass(
                cls, inner.size(), strides=inner.stride(), dtype=inner.dtype, device=DEVICE,
                storage_offset=inner.storage_offset(), requires_grad=inner.requires_grad,
            )  # fmt: skip
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert a tensor of another device to numpy. Use Tensor.cpu() first.")


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    away = [x for x in tensors if isinstance(x, Elsewhere)]
    if away and func not in _COPIES:
        strict = [args[0], *tree_leaves(args[2:])] if func in _INDEXED else tensors
        here = [x for x in strict if isinstance(x, torch.Tensor) and x.dim() and not isinstance(x, Elsewhere)]
        if here:
            raise RuntimeError(f"{func}: tensors on two devices, {[(x.device.type, tuple(x.shape)) for x in tensors]}.")
    wanted = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
    if not away and (wanted is None or wanted.type != DEVICE):
        return func(*args, **kwargs)
    if func is torch.ops.aten.copy_.default:
        wrap = isinstance(args[0], Elsewhere)
    else:
        wrap = bool(away) if wanted is None else wanted.type == DEVICE
    if wanted is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    own = {id(x.inner if isinstance(x, Elsewhere) else x): x for x in tensors}  # what is changed in place stays what it is

    def outside(x: Any) -> Any:
        if not isinstance(x, torch.Tensor) or isinstance(x, Elsewhere):
            return x
        if id(x) in own:
            if isinstance(own[id(x)], Elsewhere) == wrap:
                return own[id(x)]
            x = x.clone()  # moved, though for the CPU it was where it should be
        return Elsewhere(x) if wrap else x

    with torch.inference_mode(False), torch.no_grad():  # autograd has seen the operation already
        inside = tree_map(lambda x: x.inner if isinstance(x, Elsewhere) else x, (args, kwargs))
        return tree_map(outside, func(*inside[0], **inside[1]))


class _Operations(TorchDispatchMode):
    """Catches what makes a tensor on the device without having been given one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _FromNumbers(TorchFunctionMode):
    """Numbers go to the device by way of the CPU; made on the real meta device, a tensor would have none."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or "cpu").type == DEVICE:
            return func(*args, **{**kwargs, "device": "cpu"}).to(DEVICE)
        if func is torch.Tensor.new_tensor and isinstance(args[0], Elsewhere):
            return torch.tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype)).to(DEVICE)
        return func(*args, **kwargs)


@contextlib.contextmanager
def pretended_device() -> Iterator[str]:
    """The name of a device that is not the CPU, as long as the context lasts; float32 there, because it has no autocast."""
    with pytest.MonkeyPatch.context() as patch, _FromNumbers(), _Operations():
        real = torch.autocast
        patch.setattr(
            torch, "autocast", lambda kind, *a, **k: contextlib.nullcontext() if kind == DEVICE else real(kind, *a, **k)
        )
        yield DEVICE
