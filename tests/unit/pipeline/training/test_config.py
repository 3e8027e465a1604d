"""The training block: what it refuses, and what it tells the planner."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.spec.kinds import kind_names, resolve_kind
from pipeline.training.config import (
    TRAINING_LIBRARIES,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
    TrainingStageConfig,
)

RATE = OptimizerConfig(learning_rate=1e-3)


def test_stage_config_with_train_block_reports_its_global_batch_size() -> None:
    config = TrainingStageConfig(train=TrainConfig(steps=4, global_batch_size=8, optimizer=RATE))
    assert config.global_batch_sizes() == {"train.global_batch_size": 8}


def test_train_config_with_warmup_beyond_steps_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"schedule\.warmup_steps=5 exceeds steps=4"):
        TrainConfig(
            steps=4,
            global_batch_size=8,
            optimizer=RATE,
            schedule=ScheduleConfig(warmup_steps=5),
        )


@pytest.mark.parametrize("rate", [0.0, float("nan"), float("inf")])
def test_optimizer_config_with_senseless_rate_is_refused(rate: float) -> None:
    with pytest.raises(ValidationError):
        OptimizerConfig(learning_rate=rate)


def test_train_config_with_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        TrainConfig.model_validate(
            {"steps": 1, "global_batch_size": 1, "optimizer": {"learning_rate": 1}, "epochs": 3}
        )


def test_kinds_that_train_are_keyed_by_what_computes_their_numbers() -> None:
    specs = [resolve_kind(name, Path("/")) for name in kind_names()]
    training = [spec for spec in specs if issubclass(spec.config, TrainingStageConfig)]
    assert training
    assert [spec.name for spec in training if not {*TRAINING_LIBRARIES} <= {*spec.libraries}] == []
