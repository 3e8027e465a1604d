"""Activations by name."""

from collections.abc import Callable

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


# The others need their input in the backward pass: in place they would only copy it first.
_FUNCTIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "identity": _identity,
    "relu": _relu_,
    "relu6": _relu6_,
    "silu": functional.silu,
    "hard_swish": functional.hardswish,
    "sigmoid": Tensor.sigmoid,
    "hard_sigmoid": functional.hardsigmoid,
}


def activation_function(name: Activation) -> Callable[[Tensor], Tensor]:
    """The function; `relu` and `relu6` overwrite their argument."""
    return _FUNCTIONS[name]
