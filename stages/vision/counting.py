"""Multiply-adds of any module, counted without computing anything."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from stages.vision.layers.attention import RelativeAttention
from stages.vision.layers.condconv import CondConv2d, CondLinear

_ATEN = torch.ops.aten


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call] # its __init_subclass__
    """Adds up the products of convolutions and matrix products."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs: int = 0

    @override
    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if packet == _ATEN.convolution:
            # Each output is a sum over the kernel, (in / groups) * height * width long.
            self.macs += result.numel() * math.prod(args[1].shape[1:])
        elif packet in {_ATEN.mm, _ATEN.bmm}:
            self.macs += result.numel() * args[0].shape[-1]
        elif packet in {_ATEN.addmm, _ATEN.baddbmm}:
            self.macs += result.numel() * args[1].shape[-1]
        elif str(packet).startswith("aten._scaled_dot_product"):
            query, key, value = args[:3]
            pairs = math.prod(query.shape[:-1]) * key.shape[-2]
            self.macs += pairs * (query.shape[-1] + value.shape[-1])
        return result


@torch.no_grad()
def count_macs(module: nn.Module, *inputs: Sequence[int]) -> int:
    """Multiply-adds of a forward pass in evaluation mode.

    What counts are convolutions and matrix products, attention's and the mixing of experts'
    kernels included; not normalisation, activation, pooling or sums. Conditional convolutions are
    counted as one kernel mixed and applied, attention as queries with keys, queries with position
    tables, and weights with values, in whichever form they run.

    Args:
        module: on any device; a copy without values is what runs.
        *inputs: shapes of the arguments, such as (1, 3, 224, 224).
    """
    ghost = _without_values(module)
    for layer in ghost.modules():
        if isinstance(layer, RelativeAttention):
            layer.form = "bias"
        if isinstance(layer, CondConv2d):
            layer.form = "loop"
        if isinstance(layer, CondLinear):
            layer.form = "gemm"
    counter = _Counter()
    with counter:
        ghost(*(torch.empty(tuple(shape), device="meta") for shape in inputs))
    return counter.macs


def count_parameters(module: nn.Module) -> int:
    """Values of all parameters, shared ones once."""
    return sum(parameter.numel() for parameter in module.parameters())


def _without_values(module: nn.Module) -> nn.Module:
    """A copy on the meta device, normalisations left out: they multiply nothing that counts."""
    memo: dict[int, Any] = {id(t): _ghost(t) for t in (*module.parameters(), *module.buffers())}
    memo |= {id(m): nn.Identity() for m in module.modules() if isinstance(m, nn.BatchNorm2d)}
    return copy.deepcopy(module, memo).eval()


def _ghost(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor, device="meta")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(empty, requires_grad=tensor.requires_grad)
    return empty
