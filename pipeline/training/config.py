"""How long, how fast and how carefully to train: the `train:` block of a training stage."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import override

from pipeline.spec.config import StageConfig, Unkeyed

TRAINING_LIBRARIES = ("torch", "deepspeed", "numpy")
"""What `StageSpec.libraries` of every stage that trains begins with: another version of one of
these may compute other numbers."""

_STRICT = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

_Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(BaseModel):
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101); defaults are torch's but for the rate."""

    model_config = _STRICT

    learning_rate: float = Field(gt=0, description="peak rate; a parameter group may scale it")
    betas: tuple[_Beta, _Beta] = Field(
        (0.9, 0.999), description="decay of the first and second moment"
    )
    eps: float = Field(1e-8, gt=0, description="added to the root of the second moment")
    weight_decay: float = Field(0.01, ge=0, description="decoupled; times the rate of the step")
    bias_correction: bool = Field(
        default=True,
        description="false as in the released code of BERT and XLNet when they decay weights",
    )


class ScheduleConfig(BaseModel):
    """Learning rate over the steps: a linear warm-up from 0, then `kind` down to `min_ratio`."""

    model_config = _STRICT

    kind: Literal["linear", "cosine", "constant"] = "linear"
    warmup_steps: int = Field(0, ge=0)
    min_ratio: float = Field(
        0.0, ge=0, le=1, description="rate after the last step, over the peak; not for constant"
    )


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
