"""The loop in one process: what it computes, records and refuses."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from pipeline.errors import ConfigError, DataError, Diverged, Preempted
from pipeline.spec.resources import EngineConfig
from pipeline.training.export import read_weights
from pipeline.training.loop import train
from pipeline.training.method import Batch, Loss, Picks
from tests.training.contexts import context, recorder_of, train_config
from tests.training.methods import Regression


def test_train_on_linear_data_finds_the_weights(tmp_path: Path) -> None:
    method = Regression()
    result = train(method, train_config(steps=300), context(tmp_path), output=tmp_path)
    assert result.step == 300
    assert result.scores["error"] < 1e-4
    weights = read_weights(tmp_path / "model.safetensors")
    torch.testing.assert_close(weights["bias"], torch.tensor([0.25]), atol=1e-2, rtol=0)


def test_train_records_loss_scores_and_counters(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    train(Regression(), train_config(evaluate_every=2), ctx)
    recorder = recorder_of(ctx)
    assert list(recorder.scalars["train_loss"]) == [1, 2, 3, 4, 5, 6]
    assert recorder.scalars["train_loss"] == recorder.scalars["train/squared_error"]
    assert recorder.steps == [(step, 6) for step in range(1, 7)]
    assert list(recorder.scalars["eval_score{score=error}"]) == [2, 4, 6]
    assert recorder.counts["train_samples_total"] == 48
    assert set(recorder.scalars) >= {"train_grad_norm", "train_learning_rate"}


class BrokenAt(Regression):
    """Its loss is NaN from one step on."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._left = step

    @override
    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        self._left -= 1
        loss = super().loss(model, batch)
        return Loss(loss.total * (1.0 if self._left else float("nan")), {})


def test_train_with_nan_between_logged_steps_names_the_first_bad_step(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="not finite at step 3"):
        train(BrokenAt(3), train_config(log_every=5), context(tmp_path))


def test_train_asked_to_stop_raises_preempted(tmp_path: Path) -> None:
    with pytest.raises(Preempted, match="after step 0"):
        train(Regression(), train_config(), context(tmp_path, should_stop=lambda: True))


class Weightless(Regression):
    @override
    def weight(self, batch: Batch) -> Tensor:
        return torch.tensor(0.0)


def test_train_on_step_without_terms_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="step 1: no example"):
        train(Weightless(), train_config(), context(tmp_path))


class HalfTrained(Regression):
    def __init__(self) -> None:
        super().__init__()
        self.model.register_parameter("idle", nn.Parameter(torch.ones(2)))


def test_train_with_unreached_parameter_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="1 trainable parameters: idle"):
        train(HalfTrained(), train_config(), context(tmp_path))


class Unreadable(Regression):
    @override
    def batch(self, picks: Mapping[str, Picks]) -> Batch:
        msg = "shard-3.tar, offset 512: broken"
        raise DataError(msg)


def test_train_with_broken_example_raises_what_the_reader_raised(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"shard-3\.tar, offset 512"):
        train(Unreadable(), train_config(), context(tmp_path))


def test_train_with_micro_batch_that_does_not_divide_is_refused(tmp_path: Path) -> None:
    ctx = context(tmp_path, engine=EngineConfig(micro_batch_size=3))
    with pytest.raises(ConfigError, match="does not divide"):
        train(Regression(), train_config(), ctx)


class Overflowing(Regression):
    """Its loss is finite, and too large for the initial loss scale of 65536."""

    @override
    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        loss = super().loss(model, batch)
        return Loss(loss.total * 1e35, {})


def test_train_in_fp16_skips_overflowing_steps_and_counts_them(tmp_path: Path) -> None:
    ctx = context(tmp_path, engine=EngineConfig(precision="fp16"))
    train(Overflowing(), train_config(), ctx)
    recorder = recorder_of(ctx)
    assert recorder.counts["train_skipped_steps_total"] == 6
    assert recorder.scalars["train_loss_scale"][6] == 65536 / 2**6
