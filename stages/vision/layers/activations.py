"""Activations by name."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from stages.vision.layers.shapes import Activation


def _identity(x: Tensor) -> Tensor:
    return x


def _relu_(x: Tensor) -> Tensor:
    """In place: every one of them follows a normalisation or a sum, which needs no output kept."""
    return functional.relu(x, inplace=True)


def _relu6_(x: Tensor) -> Tensor:
    return functional.hardtanh(x, 0.0, 6.0, inplace=True)


def _silu(x: Tensor) -> Tensor:
    """The backward pass needs the input: in place it would only be copied first."""
    return functional.silu(x, inplace=not torch.is_grad_enabled())


def _hard_swish(x: Tensor) -> Tensor:
    return functional.hardswish(x, inplace=not torch.is_grad_enabled())


_FUNCTIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "identity": _identity,
    "relu": _relu_,
    "relu6": _relu6_,
    "silu": _silu,
    "hard_swish": _hard_swish,
    "sigmoid": Tensor.sigmoid,
    "hard_sigmoid": functional.hardsigmoid,
}


def activation_function(name: Activation) -> Callable[[Tensor], Tensor]:
    """The function; it may overwrite its argument (`relu` always does)."""
    return _FUNCTIONS[name]
