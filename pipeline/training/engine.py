"""What turns losses into updates: the protocol of the two engines."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from pipeline.errors import ConfigError


@dataclass(frozen=True)
class ParameterState:
    """One trainable parameter as a checkpoint holds it: whole, float32, in the model's shape.

    Attributes:
        weight: the float32 master.
        exp_avg, exp_avg_sq: AdamW's moments; zeros before the first update.
        average: the moving average of the weight; None without one.
    """

    weight: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor
    average: Tensor | None

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(field, tensor) of those there are."""
        for field in fields(self):
            tensor = getattr(self, field.name)
            if tensor is not None:
                yield field.name, tensor


class Engine(Protocol):
    """Owns the weights, the optimizer and the precision. Every method is called by all ranks."""

    @property
    def model(self) -> nn.Module:
        """What a loss calls: the model, wrapped."""

    @property
    def parameter_sizes(self) -> Mapping[str, int]:
        """Trainable parameter -> its elements; tied ones once, in the model's order."""

    @property
    def averages(self) -> bool:
        """Whether it keeps a moving average of the weights."""

    def forward(self, *, last: bool) -> AbstractContextManager[None]:
        """Entered around every loss; `last` says that it is the step's last micro-batch."""

    def backward(self, total: Tensor, *, global_weight: float, last: bool) -> None:
        """Adds a micro-batch's share of the gradient of sum(total) / global_weight.

        Args:
            total: scalar with a graph.
            global_weight: sum of the weights of the step over all micro-batches and ranks.
            last: as for `forward`.
        """

    def step(self, learning_rate: float, *, want_norm: bool) -> Tensor | None:
        """One update with the gradients so far, clipped; then they are zero.

        Returns:
            The global gradient norm before clipping, a scalar on the device; None when neither
            clipping nor `want_norm` asked for it.
        """

    def evaluation(self) -> AbstractContextManager[None]:
        """The model in evaluation mode, no graph, the averaged weights in place where there are."""

    def num_updates(self) -> int:
        """Updates applied; less than the steps where fp16 skipped some."""

    def scaler_state(self) -> dict[str, float]:
        """The loss scaler: "scale" and what this engine alone knows; empty unless fp16."""

    def read(self, name: str) -> ParameterState:
        """The state of a parameter, on any device; it may share memory with the engine."""

    def restore(
        self,
        states: Iterable[tuple[str, ParameterState]],
        *,
        step: int,
        num_updates: int,
        scaler: Mapping[str, float],
    ) -> None:
        """Continues after `step` steps from what `read`, `num_updates` and `scaler_state` gave.

        `states` gives every trainable parameter once, in the order of `parameter_sizes`.
        """

    @property
    def tied(self) -> Mapping[str, str]:
        """Name of the state dict -> the earlier name whose parameter it shares."""

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor of the model's state dict, whole and on the host, floats as float32.

        The averaged weights inside `evaluation`. Names in `tied` are left out.
        """


def host_copy(tensor: Tensor) -> Tensor:
    """A contiguous copy on the host; floating point as float32."""
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", dtype, copy=True).contiguous()


def tied_names(model: nn.Module) -> dict[str, str]:
    """Names of the state dict that share a parameter with an earlier one -> that one's name."""
    first: dict[int, str] = {}
    tied = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        original = first.setdefault(id(parameter), name)
        if original != name:
            tied[name] = original
    return tied


class CoverageCheck:
    """Refuses a model with trainable parameters that its loss does not reach.

    Engines disagree about them: torch leaves them as they are, ZeRO takes their gradient for zero
    and decays them, DDP waits for them. So the first step of a run looks at each once.
    """

    def __init__(self, model: nn.Module) -> None:
        self._missing = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        self.last: nn.Parameter | None = None
        """The parameter whose gradient came last."""
        self._handles = [
            parameter.register_post_accumulate_grad_hook(self._mark(name))  # type: ignore[no-untyped-call]
            for name, parameter in self._missing.items()
        ]

    def _mark(self, name: str) -> Callable[[Tensor], None]:
        def mark(parameter: Tensor) -> None:
            self._missing.pop(name, None)
            self.last = cast("nn.Parameter", parameter)

        return mark

    def finish(self) -> None:
        """Raises ConfigError naming the parameters that got no gradient; then stops looking."""
        for handle in self._handles:
            handle.remove()
        if self._missing:
            names = sorted(self._missing)
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            msg = (
                f"the loss does not reach {len(names)} trainable parameters: {shown}; "
                "set requires_grad=False on what a method does not train"
            )
            raise ConfigError(msg)
