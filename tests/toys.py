"""Stage kinds for tests of the spec; loaded by path, as a user's own file is."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import override

from pipeline.spec.config import Source, StageConfig
from pipeline.spec.context import StageContext
from pipeline.spec.ports import CHECKPOINT, SCORES, SHARDS, TABLE
from pipeline.spec.stage import Launch, StageSpec


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal["tiny", "base"] = "tiny"
    d_model: int = Field(64, gt=0)
    num_heads: int = Field(4, gt=0)

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.d_model % self.num_heads:
            msg = f"d_model={self.d_model} is not a multiple of num_heads={self.num_heads}"
            raise ValueError(msg)
        return self


class TrainConfig(StageConfig):
    """Trains a toy."""

    steps: int = Field(gt=0, description="optimizer updates")
    global_batch_size: int = Field(48, gt=0)
    model: Model = Model()
    dropout: float = 0.1
    verbose: bool = False
    names: tuple[str, ...] = ()
    corpus: Source | None = None

    @override
    def global_batch_sizes(self) -> Mapping[str, int]:
        return {"global_batch_size": self.global_batch_size}


class NoConfig(StageConfig):
    """Takes no settings."""


def train(ctx: StageContext[TrainConfig]) -> int:
    return ctx.seed


TRAIN = StageSpec(
    name="toy.train",
    config=TrainConfig,
    run="toys:train",
    inputs={"shards": SHARDS("tokens"), "checkpoint": CHECKPOINT("toy", optional=True)},
    outputs={"checkpoint": CHECKPOINT("toy"), "scores": SCORES},
    launch=Launch.GANG,
    uses_seed=True,
)
CUT = StageSpec(
    name="toy.cut",
    config=NoConfig,
    run="toys:train",
    outputs={"shards": SHARDS("tokens")},
    launch=Launch.WORKERS,
)
GATHER = StageSpec(
    name="toy.gather",
    config=NoConfig,
    run="toys:train",
    inputs={"scores": replace(SCORES, many=True)},
    outputs={"table": TABLE},
)
NOT_A_KIND = 3
