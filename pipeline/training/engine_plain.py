"""Plain torch: one process, the reference of every other engine; several as DDP."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from typing_extensions import override

from pipeline.training.config import TrainConfig
from pipeline.training.engine import Engine, ParameterState, host_copy, tied_names
from pipeline.training.optim import (
    AVERAGE,
    Rule,
    WeightAverage,
    build_optimizer,
    clip_gradients,
    first_state,
    parameter_groups,
    set_learning_rate,
)
from pipeline.training.world import TrainingWorld

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class PlainEngine(Engine):
    """Weights in float32, forward under autocast for bf16 and fp16, gradients summed by DDP."""

    def __init__(
        self,
        model: nn.Module,
        world: TrainingWorld,
        config: TrainConfig,
        rule: Rule,
        precision: str,
    ) -> None:
        """Moves the model to the world's device and broadcasts rank 0's weights.

        Args:
            model: float32.
            world: this rank among its peers.
            config: the optimizer, clipping and averaging.
            rule: which parameters decay, and how fast each learns.
            precision: "fp32", "bf16" or "fp16".
        """
        self._world = world
        self._bare = model.to(world.device)
        self._clip_norm = config.clip_norm
        self._optimizer = build_optimizer(
            parameter_groups(model, rule, weight_decay=config.optimizer.weight_decay),
            config.optimizer,
        )
        self._parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._tied = tied_names(model)
        self._autocast = _AUTOCAST.get(precision)
        self._scaler = torch.amp.GradScaler(world.device.type, enabled=precision == "fp16")
        self._average = self._prime(config.ema_decay)
        self._ddp = None
        if world.size > 1:
            devices = [world.device] if world.device.type == "cuda" else None
            self._ddp = DistributedDataParallel(
                model, device_ids=devices, forward_sync_buffers=False, gradient_as_bucket_view=True
            )
        self._steps = 0

    @property
    @override
    def model(self) -> nn.Module:
        return self._ddp or self._bare

    @property
    @override
    def parameter_sizes(self) -> Mapping[str, int]:
        return {name: parameter.numel() for name, parameter in self._parameters.items()}

    @property
    @override
    def averages(self) -> bool:
        return self._average is not None

    @contextmanager
    @override
    def forward(self, *, last: bool) -> Iterator[None]:
        with ExitStack() as stack:
            if self._ddp is not None and not last:
                # DDP reads this in the forward pass; the backward may run outside.
                stack.enter_context(self._ddp.no_sync())
            if self._autocast is not None:
                stack.enter_context(torch.autocast(self._world.device.type, self._autocast))
            yield

    @override
    def backward(self, total: Tensor, *, global_weight: float, last: bool) -> None:
        # DDP averages over the ranks where the step's gradient is a sum.
        loss = total / (global_weight / self._world.size)
        torch.autograd.backward(self._scaler.scale(loss))

    @override
    def step(self, learning_rate: float, *, want_norm: bool) -> Tensor | None:
        self._scaler.unscale_(self._optimizer)
        norm = None
        if want_norm or self._clip_norm is not None:
            norm = clip_gradients(self._parameters.values(), self._clip_norm)
        set_learning_rate(self._optimizer, learning_rate)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad()
        self._steps += 1
        if self._average is not None:
            self._average.update(self._steps)
        return norm

    @contextmanager
    @override
    def evaluation(self) -> Iterator[None]:
        self._bare.eval()
        if self._average is not None:
            self._average.swap()
        try:
            with torch.no_grad(), self.forward(last=True):
                yield
        finally:
            if self._average is not None:
                self._average.swap()
            self._bare.train()

    @override
    def num_updates(self) -> int:
        return int(next(iter(self._optimizer.state.values()))["step"])

    @override
    def scaler_state(self) -> dict[str, float]:
        state = self._scaler.state_dict()
        return (
            {"scale": state["scale"], "growth_tracker": state["_growth_tracker"]} if state else {}
        )

    @override
    def read(self, name: str) -> ParameterState:
        parameter = self._parameters[name]
        state = self._optimizer.state[parameter]
        return ParameterState(
            weight=parameter.detach(),
            exp_avg=state["exp_avg"],
            exp_avg_sq=state["exp_avg_sq"],
            average=state.get(AVERAGE),
        )

    @override
    @torch.no_grad()
    def restore(
        self,
        states: Iterable[tuple[str, ParameterState]],
        *,
        step: int,
        num_updates: int,
        scaler: Mapping[str, float],
    ) -> None:
        self._steps = step
        for name, saved in states:
            parameter = self._parameters[name]
            state = self._optimizer.state[parameter]
            state["step"].fill_(num_updates)
            for kind, tensor in saved.tensors():
                (parameter if kind == "weight" else state[kind]).copy_(tensor)
        if scaler and self._scaler.is_enabled():
            state = self._scaler.state_dict()
            state["scale"] = scaler["scale"]
            state["_growth_tracker"] = int(scaler.get("growth_tracker", 0))
            self._scaler.load_state_dict(state)

    def _prime(self, ema_decay: float | None) -> WeightAverage | None:
        """Gives every parameter its optimizer state now, where AdamW would at the first update."""
        weights = list(self._parameters.values())
        for weight in weights:
            self._optimizer.state[weight] = first_state(self._optimizer, weight)
            if ema_decay is not None:
                self._optimizer.state[weight][AVERAGE] = weight.detach().clone()
        if ema_decay is None:
            return None
        averages = [self._optimizer.state[weight][AVERAGE] for weight in weights]
        return WeightAverage(weights, averages, ema_decay)

    @property
    @override
    def tied(self) -> Mapping[str, str]:
        return self._tied

    @override
    def weights(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self._bare.state_dict().items():
            if name not in self._tied:
                yield name, host_copy(tensor)
