"""The loop in one process: what it computes, records and refuses."""

import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from pipeline.errors import ConfigError, DataError, Diverged, Preempted
from pipeline.spec.resources import EngineConfig
from pipeline.training.checkpoint_files import steps_in
from pipeline.training.export import read_weights
from pipeline.training.loop import train
from pipeline.training.method import Batch, Loss, Picks
from tests.training.contexts import Killed, context, recorder_of, train_config
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
    assert recorder.scalars["train_loss"] == recorder.scalars["train_score{score=squared_error}"]
    assert recorder.steps == [(step, 6) for step in range(1, 7)]
    assert list(recorder.scalars["eval_score{score=error}"]) == [2, 4, 6]
    assert recorder.counts["train_samples_total"] == 48
    assert set(recorder.scalars) >= {"train_grad_norm", "train_learning_rate"}


def test_train_tells_its_size_its_steps_and_what_it_is_at(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ctx = context(tmp_path)
    with caplog.at_level(logging.INFO, "pipeline.training"):
        train(Regression(), train_config(evaluate_every=4), ctx)
    num = sum(one.numel() for one in Regression().model.parameters())
    assert f"{num} parameters, {num} of them trained; 6 steps of 8 examples" in caplog.text
    lines = [line for line in caplog.messages if line.startswith("step ")]
    # The first and the last: a quick training does not fill the log.
    assert [line.split()[1] for line in lines] == ["1/6", "6/6"]
    assert all("  loss " in line and "  squared_error " in line for line in lines)
    assert "evaluated after step 4 in " in caplog.text
    phases = recorder_of(ctx).phases
    assert phases[0] == "looking for a checkpoint"
    assert phases[-3:] == ["evaluating", "evaluating, batch 1", "finishing"]
    assert "saving a checkpoint" in phases


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
    ctx = context(tmp_path)
    with pytest.raises(Diverged, match="not finite at step 3"):
        train(BrokenAt(3), train_config(log_every=5), ctx)
    assert recorder_of(ctx).counts["train_nonfinite_total{what=loss}"] == 1


class BrokenGradient(Regression):
    """Its loss is finite, and the slope of it is not."""

    @override
    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        loss = super().loss(model, batch)
        return Loss(loss.total + (model(batch["x"]).sum() * 0.0).sqrt(), {})


def test_train_with_gradient_that_is_not_finite_says_and_counts_it_so(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    with pytest.raises(Diverged, match="the gradient is not finite at step 1"):
        train(BrokenGradient(), train_config(), ctx)
    counts = recorder_of(ctx).counts
    assert counts["train_nonfinite_total{what=gradient}"] == 1
    assert "train_nonfinite_total{what=loss}" not in counts


def test_train_asked_to_stop_raises_preempted(tmp_path: Path) -> None:
    with pytest.raises(Preempted, match="after step 0"):
        train(Regression(), train_config(), context(tmp_path, should_stop=lambda: True))


class SlowToEvaluate(Regression):
    """Evaluates in ten forward passes; counts them, and is asked to stop at the `stops_at`-th."""

    def __init__(self, stops_at: int = 0) -> None:
        super().__init__()
        self.num_forwards = 0
        self._stops_at = stops_at

    def should_stop(self) -> bool:
        return 0 < self._stops_at <= self.num_forwards

    @override
    def evaluate(self, model: nn.Module) -> Mapping[str, tuple[Tensor, Tensor]]:
        for _ in range(9):
            super().evaluate(model)
            self.num_forwards += 1
        self.num_forwards += 1
        return super().evaluate(model)


@pytest.mark.parametrize(("stops_at", "step"), [(3, 2), (13, 4), (23, 6)])
def test_train_asked_to_stop_in_an_evaluation_leaves_it_and_loses_nothing(
    tmp_path: Path, stops_at: int, step: int
) -> None:
    config = train_config(evaluate_every=2, ema_decay=0.5)
    whole = context(tmp_path / "whole")
    train(SlowToEvaluate(), config, whole, output=tmp_path / "whole")
    method = SlowToEvaluate(stops_at)
    cut = tmp_path / "cut"
    with pytest.raises(Preempted, match=f"saved after step {step}"):
        train(method, config, context(cut, should_stop=method.should_stop))
    assert method.num_forwards == stops_at
    again = context(cut)
    train(SlowToEvaluate(), config, again, output=cut)
    scores = recorder_of(whole).scalars["eval_score{score=error}"]
    resumed = recorder_of(again)
    assert list(resumed.scalars.get("train_loss", {})) == list(range(step + 1, 7))
    assert resumed.scalars["eval_score{score=error}"] == {
        number: score for number, score in scores.items() if number >= step
    }
    name = "model.safetensors"
    assert (cut / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


class DiesInEvaluation(Regression):
    @override
    def evaluate(self, model: nn.Module) -> Mapping[str, tuple[Tensor, Tensor]]:
        raise Killed


@pytest.mark.parametrize("changes", [{}, {"evaluate_every": 3, "checkpoint_every": 3}])
def test_train_killed_in_an_evaluation_has_saved_the_step(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    with pytest.raises(Killed):
        train(DiesInEvaluation(), train_config(**changes), context(tmp_path))
    assert steps_in(tmp_path / "state") == [3 if changes else 6]


class WithoutHeldOut(Regression):
    @override
    def evaluate(self, model: nn.Module) -> Mapping[str, tuple[Tensor, Tensor]]:
        return {}


def test_train_asked_to_stop_after_the_last_step_stops_there(tmp_path: Path) -> None:
    calls = iter([False] * 6)
    ctx = context(tmp_path, should_stop=lambda: next(calls, True))
    with pytest.raises(Preempted, match="saved after step 6"):
        train(WithoutHeldOut(), train_config(), ctx)


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
