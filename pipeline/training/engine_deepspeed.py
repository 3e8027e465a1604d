"""DeepSpeed, ZeRO stages 0 to 3; the only file that imports it."""

import logging
import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import deepspeed
import torch
from deepspeed.utils import (
    logger as deepspeed_logger,
)
from deepspeed.utils import (
    safe_get_full_fp32_param,
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)
from torch import Tensor, nn
from typing_extensions import override

from pipeline.errors import ConfigError
from pipeline.spec.resources import EngineConfig
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

_SCALER = {
    "scale": "cur_scale",
    "iteration": "cur_iter",
    "last_overflow": "last_overflow_iter",
    "hysteresis": "cur_hysteresis",
}
"""Our name -> attribute of DeepSpeed's dynamic loss scaler."""


class DeepSpeedEngine(Engine):
    """ZeRO around AdamW; the optimizer's tensors are partitions that only this class sees."""

    def __init__(
        self,
        model: nn.Module,
        world: TrainingWorld,
        config: TrainConfig,
        *,
        engine: EngineConfig,
        rule: Rule,
        num_micro: int,
    ) -> None:
        """Wraps the model, the same on every rank. Compiles nothing on a CPU.

        Args:
            model: float32, on the device; bf16 and fp16 change its weights, not its buffers.
            world: this rank among its peers.
            config: the optimizer, clipping and averaging.
            engine: stage and precision.
            rule: which parameters decay, and how fast each learns.
            num_micro: forward passes a step.

        Raises:
            ConfigError: the precision does not go with a layer of the model.
        """
        _tame(world.device)
        _refuse_running_statistics(model, engine)
        self._world = world
        self._bare = model
        self._stage = engine.zero_stage
        self._clip_norm = config.clip_norm
        self._parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._sizes = {name: parameter.numel() for name, parameter in self._parameters.items()}
        self._tied = tied_names(model)
        self._optimizer = build_optimizer(
            parameter_groups(model, rule, weight_decay=config.optimizer.weight_decay),
            config.optimizer,
        )
        self._engine: Any
        self._engine, *_ = deepspeed.initialize(
            model=model,
            optimizer=self._optimizer,
            config=_settings(config, engine, world.size, num_micro),
            dist_init_required=False,
        )
        self._dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(engine.precision)
        if self._dtype is not None:
            model.register_forward_pre_hook(self._cast_inputs, with_kwargs=True)
        self._masters = self._find_masters()
        self._average = self._prime(config.ema_decay)
        self._steps = 0

    @property
    @override
    def model(self) -> nn.Module:
        model: nn.Module = self._engine
        return model

    @property
    @override
    def parameter_sizes(self) -> Mapping[str, int]:
        return self._sizes

    @property
    @override
    def averages(self) -> bool:
        return self._average is not None

    @contextmanager
    @override
    def forward(self, *, last: bool) -> Iterator[None]:
        # DeepSpeed counts micro-batches itself.
        yield

    @override
    def backward(self, total: Tensor, *, global_weight: float, last: bool) -> None:
        # DeepSpeed averages over the ranks where the step's gradient is a sum.
        loss = total / (global_weight / self._world.size)
        self._engine.backward(loss, scale_wrt_gas=False)
        if not last:
            self._engine.step()

    @override
    def step(self, learning_rate: float, *, want_norm: bool) -> Tensor | None:
        set_learning_rate(self._optimizer, learning_rate)
        norm = None
        if self._stage == 0 and (want_norm or self._clip_norm is not None):
            # At stage 0 DeepSpeed clips but tells no norm; the gradients are whole, so we do both.
            norm = clip_gradients(self._parameters.values(), self._clip_norm)
        self._engine.step()
        if self._stage > 0:
            # A float, or a tensor of either precision, depending on stage and device.
            norm = torch.as_tensor(self._engine.get_global_grad_norm(), dtype=torch.float32)
        self._steps += 1
        if self._average is not None:
            self._average.update(self._steps)
        return norm

    @contextmanager
    @override
    def evaluation(self) -> Iterator[None]:
        self._engine.eval()
        self._swap()
        try:
            with torch.no_grad():
                yield
        finally:
            self._swap()
            self._engine.train()

    @override
    def num_updates(self) -> int:
        return int(self._optimizer.state[self._masters[0]]["step"])

    @override
    def scaler_state(self) -> dict[str, float]:
        if self._dtype is not torch.float16:
            return {}
        scaler = self._engine.optimizer.loss_scaler
        return {name: float(getattr(scaler, key)) for name, key in _SCALER.items()}

    @override
    def read(self, name: str) -> ParameterState:
        parameter = self._parameters[name]
        return ParameterState(
            weight=self._get(parameter, "weight"),
            exp_avg=self._get(parameter, "exp_avg"),
            exp_avg_sq=self._get(parameter, "exp_avg_sq"),
            average=self._get(parameter, AVERAGE) if self.averages else None,
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
            for kind, tensor in saved.tensors():
                self._put(parameter, tensor.to(self._world.device), kind)
            self._show(parameter, saved.weight)
        for master in self._masters:
            self._optimizer.state[master]["step"].fill_(num_updates)
        if scaler and self._dtype is torch.float16:
            own = self._engine.optimizer.loss_scaler
            for name, key in _SCALER.items():
                if name in scaler:
                    setattr(own, key, type(getattr(own, key))(scaler[name]))

    @property
    @override
    def tied(self) -> Mapping[str, str]:
        return self._tied

    @override
    def weights(self) -> Iterator[tuple[str, Tensor]]:
        parameters = dict(self._bare.named_parameters())
        for name, tensor in self._bare.state_dict(keep_vars=True).items():
            if name in self._tied:
                continue
            if name in self._parameters and self._stage > 0:
                yield name, host_copy(self._get(self._parameters[name], "weight"))
            elif name in parameters and self._stage == 3:
                with deepspeed.zero.GatheredParameters(tensor):
                    yield name, host_copy(tensor)
            else:
                yield name, host_copy(tensor)

    def _find_masters(self) -> list[Tensor]:
        """The float32 tensors that the optimizer updates: partitions above stage 0."""
        if self._stage == 0:
            return list(self._parameters.values())
        zero = self._engine.optimizer
        return list(
            zero.fp32_partitioned_groups_flat
            if self._stage == 3
            else zero.single_partition_of_fp32_groups
        )

    def _prime(self, ema_decay: float | None) -> WeightAverage | None:
        """Gives every master its optimizer state now, where AdamW would at the first update.

        Reading and writing by a parameter's name goes through tables that DeepSpeed fills after
        the first step; filling them here makes a step on made-up gradients unnecessary. The
        average of a master is one more entry of its state, so that it travels the same way.
        """
        for master in self._masters:
            self._optimizer.state[master] = first_state(self._optimizer, master)
            if ema_decay is not None:
                self._optimizer.state[master][AVERAGE] = master.detach().clone()
        if self._stage in (1, 2):
            self._engine.optimizer._lazy_init_hp_params_optimizer_state()  # noqa: SLF001 - see above; a test guards it
        if ema_decay is None:
            return None
        averages = [self._optimizer.state[master][AVERAGE] for master in self._masters]
        return WeightAverage(self._masters, averages, ema_decay)

    def _get(self, parameter: nn.Parameter, kind: str) -> Tensor:
        """A whole master ("weight") or entry of its state; collective above stage 0."""
        if self._stage == 0:
            state = self._optimizer.state[parameter]
            return parameter.detach() if kind == "weight" else state[kind]
        whole: Tensor = (
            safe_get_full_fp32_param(parameter)
            if kind == "weight"
            else safe_get_full_optimizer_state(parameter, kind)
        )
        return whole

    def _put(self, parameter: nn.Parameter, value: Tensor, kind: str) -> None:
        """Writes this rank's part of a master ("weight") or of an entry of its state."""
        if self._stage == 0:
            target = parameter if kind == "weight" else self._optimizer.state[parameter][kind]
            target.copy_(value)
        elif self._stage < 3:
            if kind == "weight":
                safe_set_full_fp32_param(parameter, value)
            else:
                safe_set_full_optimizer_state(parameter, value, kind)
        else:
            part = _partition(value, self._world, parameter)
            if kind == "weight":
                safe_set_local_fp32_param(parameter, part)
            else:
                safe_set_local_optimizer_state(parameter, part, kind)

    def _show(self, parameter: nn.Parameter, weight: Tensor) -> None:
        """Makes the model compute with this weight; DeepSpeed itself does so after an update."""
        if self._stage == 3:
            with deepspeed.zero.GatheredParameters(parameter, modifier_rank=0):
                if self._world.rank == 0:
                    parameter.data.copy_(weight)
        elif self._stage > 0:
            parameter.data.copy_(weight)

    @torch.no_grad()
    def _swap(self) -> None:
        """Exchanges the weights with their averages, where there are any."""
        if self._average is None:
            return
        self._average.swap()
        if self._stage > 0:
            for parameter in self._parameters.values():
                self._show(parameter, self._get(parameter, "weight"))

    def _cast_inputs(
        self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return tuple(self._cast(value) for value in args), {
            name: self._cast(value) for name, value in kwargs.items()
        }

    def _cast(self, value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point():
            return value.to(self._dtype)
        return value


def _partition(value: Tensor, world: TrainingWorld, parameter: nn.Parameter) -> Tensor:
    """This rank's part of a parameter at stage 3, padded as DeepSpeed pads it.

    DeepSpeed's own function for a whole parameter fails on the last rank where the elements do not
    divide by the ranks.
    """
    held: Any = parameter
    length = held.ds_tensor.numel()
    padded = value.new_zeros(length * world.size)
    padded[: value.numel()] = value.flatten()
    return padded[world.rank * length : (world.rank + 1) * length]


def _refuse_running_statistics(model: nn.Module, engine: EngineConfig) -> None:
    """BatchNorm with low-precision weights and float32 statistics fails deep inside torch."""
    if engine.precision == "fp32":
        return
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats:  # noqa: SLF001 - the only common base
            msg = (
                f"{engine.precision} at ZeRO stage {engine.zero_stage} makes the weights of "
                f"{name} ({type(module).__name__}) {engine.precision} and leaves its statistics "
                "fp32, which torch does not compute with; use zero_stage: 0 or precision: fp32"
            )
            raise ConfigError(msg)


def _settings(
    config: TrainConfig, engine: EngineConfig, world_size: int, num_micro: int
) -> dict[str, Any]:
    """DeepSpeed's configuration."""
    return {
        "train_micro_batch_size_per_gpu": config.global_batch_size // world_size // num_micro,
        "gradient_accumulation_steps": num_micro,
        # Stage 0: `step` clips, for it needs the norm.
        "gradient_clipping": (config.clip_norm or 0.0) if engine.zero_stage else 0.0,
        "zero_optimization": {"stage": engine.zero_stage},
        # Any AdamW of torch is safe in ZeRO; DeepSpeed knows its own by name only, and those are
        # compiled at start.
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": engine.precision == "bf16"},
        "fp16": {"enabled": engine.precision == "fp16"},
        "steps_per_print": None,
    }


def _tame(device: torch.device) -> None:
    """Keeps DeepSpeed from compiling on a CPU, and from printing."""
    if device.type == "cpu":
        # The table of operators that may be built. Its shared-memory one would be compiled at
        # start, for 19 s or more, and without the table a compiler is run to fill it.
        deepspeed.ops.__compatible_ops__ = defaultdict(bool)
    # It insists on this variable of its launchers; the agent sets it, a lone process has none.
    os.environ.setdefault("LOCAL_RANK", str(device.index or 0))
    # It calls these by their old names, once a step and parameter.
    warnings.filterwarnings(
        "ignore", r"`torch\.distributed\.\w+` is deprecated", category=FutureWarning
    )
    for handler in list(deepspeed_logger.handlers):
        # It writes to stdout, past whatever the worker does with logs.
        deepspeed_logger.removeHandler(handler)
    deepspeed_logger.propagate = True
    deepspeed_logger.setLevel(logging.ERROR)
