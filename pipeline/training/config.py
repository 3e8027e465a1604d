"""How long, how fast and how carefully to train: the `train:` block of a training stage."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import override

from pipeline.spec.config import StageConfig, Unkeyed

TRAINING_LIBRARIES = ("torch", "deepspeed", "numpy")
"""What `StageSpec.libraries` of every stage that trains begins with: another version of one of
these may compute other numbers."""

_STRICT = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

_Beta = Annotated[float, Field(ge=0, lt=1)]


_ADAMW_ONLY = ("betas", "bias_correction")
_KIND_FIELDS: Mapping[str, frozenset[str]] = {
    "adamw": frozenset({*_ADAMW_ONLY, "eps"}),
    "rmsprop_tf": frozenset({"momentum", "decay", "eps"}),
    "sgd": frozenset({"momentum", "nesterov"}),
}
"""Fields that only some kinds have."""


class OptimizerConfig(BaseModel):
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101); defaults are torch's but for the rate.

    rmsprop_tf is RMSProp as TensorFlow 1 has it, with the defaults of EfficientNet; sgd has
    momentum. These two take the decay into the gradient, AdamW does not.
    """

    model_config = _STRICT

    kind: Literal["adamw", "rmsprop_tf", "sgd"] = "adamw"
    learning_rate: float = Field(gt=0, description="peak rate; a parameter group may scale it")
    betas: tuple[_Beta, _Beta] = Field(
        (0.9, 0.999), description="decay of the first and second moment"
    )
    eps: float = Field(
        1e-8, gt=0, description="added to the root of the second moment; inside it for rmsprop_tf"
    )
    momentum: _Beta = Field(0.9, description="rmsprop_tf and sgd: decay of the sum of updates")
    decay: _Beta = Field(0.9, description="rmsprop_tf: decay of the mean square")
    nesterov: bool = Field(default=False, description="sgd: looks one step ahead")
    weight_decay: float = Field(
        0.01,
        ge=0,
        description="adamw: decoupled, times the rate; others: added to the gradient, times the weight",
    )
    bias_correction: bool = Field(
        default=True,
        description="false as in the released code of BERT and XLNet when they decay weights",
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_kind(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("kind") == "rmsprop_tf":
            return {"eps": 1e-3, **values}
        return values

    @model_validator(mode="after")
    def _fields_belong_to_the_kind(self) -> Self:
        own = _KIND_FIELDS[self.kind]
        for name in frozenset().union(*_KIND_FIELDS.values()) - own:
            if getattr(self, name) != type(self).model_fields[name].default:
                msg = f"kind: {self.kind} has no {name}; it has {', '.join(sorted(own))}"
                raise ValueError(msg)
        return self


class ScheduleConfig(BaseModel):
    """Learning rate over the steps: a linear warm-up from 0, then `kind`.

    linear and cosine go down to `min_ratio` at the last step. exponential and steps count from the
    first step, the warm-up included.
    """

    model_config = _STRICT

    kind: Literal["linear", "cosine", "constant", "exponential", "steps"] = "linear"
    warmup_steps: int = Field(0, ge=0)
    min_ratio: float = Field(
        0.0, ge=0, le=1, description="linear, cosine: rate after the last step, over the peak"
    )
    decay_rate: float = Field(
        0.97, gt=0, le=1, description="exponential, steps: factor on the rate, each time"
    )
    decay_steps: float | None = Field(
        None, gt=0, description="exponential: steps between two times, such as those of 2.4 epochs"
    )
    staircase: bool = Field(default=True, description="exponential: all at once, not bit by bit")
    milestones: tuple[int, ...] = Field((), description="steps: where the rate falls")

    @model_validator(mode="after")
    def _kind_has_what_it_needs(self) -> Self:
        if (self.decay_steps is not None) != (self.kind == "exponential"):
            msg = "decay_steps goes with kind: exponential, which needs it"
            raise ValueError(msg)
        rises = all(a < b for a, b in pairwise(self.milestones))
        if bool(self.milestones) != (self.kind == "steps") or not rises:
            msg = "milestones goes with kind: steps, which needs them, rising"
            raise ValueError(msg)
        return self


class TrainConfig(BaseModel):
    """One training run; nothing in it says where it runs or how the batch is cut."""

    model_config = _STRICT

    steps: int = Field(gt=0, description="optimizer updates")
    global_batch_size: int = Field(gt=0, description="examples a step, over all ranks")
    optimizer: OptimizerConfig
    schedule: ScheduleConfig = ScheduleConfig()
    clip_norm: float | None = Field(
        None, gt=0, description="bound on the global gradient norm; null = no clipping"
    )
    ema_decay: float | None = Field(
        None, ge=0, lt=1, description="moving average of the weights, evaluated and exported"
    )
    log_every: Annotated[int, Unkeyed()] = Field(
        10, gt=0, description="steps between two logged losses"
    )
    evaluate_every: Annotated[int | None, Unkeyed()] = Field(
        None, gt=0, description="steps between two evaluations; null = after the last step only"
    )
    checkpoint_every: Annotated[int | None, Unkeyed()] = Field(
        None, gt=0, description="steps between two checkpoints; null = by time alone"
    )
    checkpoint_every_seconds: Annotated[float | None, Unkeyed()] = Field(
        600.0, gt=0, description="most work a crash may cost; null = by steps alone"
    )
    keep_checkpoints: Annotated[int, Unkeyed()] = Field(
        2, gt=0, description="newest checkpoints kept; older are removed"
    )

    @model_validator(mode="after")
    def _warmup_within_steps(self) -> Self:
        if self.schedule.warmup_steps > self.steps:
            msg = f"schedule.warmup_steps={self.schedule.warmup_steps} exceeds steps={self.steps}"
            raise ValueError(msg)
        return self


class TrainingStageConfig(StageConfig):
    """Base of a training stage's configuration: adds its `train:` block."""

    train: TrainConfig

    @override
    def global_batch_sizes(self) -> Mapping[str, int]:
        return {"train.global_batch_size": self.train.global_batch_size}
