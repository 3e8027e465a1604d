"""What a training run tells of its time, its speed and its restarts."""

import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from pipeline.errors import Preempted, StoreError
from pipeline.metrics import names
from pipeline.training.clock import HostClock, LastGradient, phase_clock
from pipeline.training.loop import train
from pipeline.training.method import Batch, Costed, Loss, Picks, StepCost
from pipeline.training.peak import device_peak_flops
from pipeline.training.reached import Reached
from tests.training.contexts import FolderState, KeptRecorder, context, recorder_of, train_config
from tests.training.methods import Regression

PAUSE = 0.05
"""Seconds; far more than the arithmetic of a regression takes."""


class SlowRegression(Regression):
    """Takes its time where it is told to."""

    def __init__(self, *, batch: float = 0, loss: float = 0, evaluate: float = 0) -> None:
        super().__init__()
        self._pauses = {"batch": batch, "loss": loss, "evaluate": evaluate}

    @override
    def batch(self, picks: Mapping[str, Picks]) -> Batch:
        time.sleep(self._pauses["batch"])
        return super().batch(picks)

    @override
    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        time.sleep(self._pauses["loss"])
        return super().loss(model, batch)

    @override
    def evaluate(self, model: nn.Module) -> Mapping[str, tuple[Tensor, Tensor]]:
        time.sleep(self._pauses["evaluate"])
        return super().evaluate(model)

    def step_cost(self, *, global_batch_size: int, num_forwards: int) -> StepCost:
        return StepCost(flops=1000.0 * global_batch_size, tokens=2.0 * num_forwards)


def _phases(recorder: KeptRecorder) -> dict[str, float]:
    prefix = "train_phase_seconds_total{phase="
    return {
        name.removeprefix(prefix)[:-1]: seconds
        for name, seconds in recorder.counts.items()
        if name.startswith(prefix)
    }


@pytest.mark.parametrize(
    ("slow", "phase", "times"),
    [("batch", "data", 3), ("loss", "forward", 6), ("evaluate", "eval", 3)],
)
def test_train_finds_the_time_in_the_phase_that_took_it(
    tmp_path: Path, slow: str, phase: str, times: int
) -> None:
    ctx = context(tmp_path)
    train(SlowRegression(**{slow: PAUSE}), train_config(evaluate_every=2), ctx)
    phases = _phases(recorder_of(ctx))
    assert set(phases) <= set(names.PHASES)
    # Reading ahead hides a part of the six pauses of the data, how much the machine decides.
    assert phases[phase] >= times * PAUSE
    assert max(phases, key=lambda name: phases[name]) == phase


def test_train_tells_a_rank_what_it_computed_and_waited(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    train(SlowRegression(batch=PAUSE, loss=PAUSE), train_config(), ctx)
    counts = recorder_of(ctx).counts
    phases = _phases(recorder_of(ctx))
    computed = counts["train_compute_seconds_total{rank=0}"]
    assert computed == pytest.approx(phases["forward"] + phases["backward"])
    assert counts["train_data_wait_seconds_total{rank=0}"] == pytest.approx(phases["data"])


def test_train_divides_its_time_into_where_it_went(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    begin = time.monotonic()
    train(SlowRegression(loss=PAUSE, evaluate=PAUSE), train_config(checkpoint_every=2), ctx)
    took = time.monotonic() - begin
    recorder = recorder_of(ctx)
    active = {
        kind: recorder.counts.get(f"stage_active_seconds_total{{kind={kind}}}", 0.0)
        for kind in names.STAGE_ACTIVE_SECONDS_TOTAL.known
    }
    assert active["train"] >= 6 * PAUSE
    assert active["eval"] >= PAUSE
    assert active["checkpoint"] > 0
    assert active["replay"] == 0
    # The startup is that of this test's process, long before.
    assert sum(active.values()) - active["startup"] <= took
    assert active["train"] + active["data"] == pytest.approx(
        sum(recorder.observed["train_step_duration_seconds"])
    )


def test_train_of_a_method_with_a_cost_tells_tokens_flops_and_mfu(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    train(SlowRegression(loss=PAUSE), train_config(), ctx)
    recorder = recorder_of(ctx)
    assert recorder.counts["train_model_flops_total"] == 6 * 8 * 1000
    assert recorder.counts["train_tokens_total"] == 6 * 2
    peak = recorder.gauges["device_peak_flops"]
    ratio = recorder.scalars["train_mfu_ratio"][6]
    seconds = recorder.scalars["train_step_duration_seconds"][6]
    assert ratio == pytest.approx(8000 / seconds / peak)


def test_train_of_a_method_without_a_cost_tells_no_mfu(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    method = Regression()
    assert not isinstance(method, Costed)
    train(method, train_config(), ctx)
    recorder = recorder_of(ctx)
    assert "train_mfu_ratio" not in recorder.scalars
    assert "train_model_flops_total" not in recorder.prepared
    assert recorder.prepared >= {"train_nonfinite_total", "train_lost_steps_total"}


def test_train_after_a_kill_counts_the_steps_it_does_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.training.reached._WRITE_EVERY_SECONDS", 0.0)
    config = train_config(checkpoint_every=2)
    calls = iter(range(1000))
    state = FolderState(tmp_path / "state")
    first = context(tmp_path, state=state, should_stop=lambda: next(calls) == 5)
    with pytest.raises(Preempted, match="after step 5"):
        train(Regression(), config, first)
    # As if killed before it saved step 5: what stands is step 4.
    for file in (tmp_path / "state").glob("step-*5/*"):
        file.unlink()
    again = context(tmp_path, state=state)
    train(Regression(), config, again)
    counts = recorder_of(again).counts
    assert counts["train_lost_steps_total"] == 1
    assert counts["stage_active_seconds_total{kind=replay}"] > 0
    assert recorder_of(first).counts["train_lost_steps_total"] == 0


class FullState(FolderState):
    """A disk that takes nothing more."""

    @override
    def publish(self, name: str) -> None:
        message = f"{name}: no space left"
        raise StoreError(message)


def test_train_that_cannot_save_counts_the_failure(tmp_path: Path) -> None:
    ctx = context(tmp_path, state=FullState(tmp_path / "state"))
    with pytest.raises(StoreError, match="no space left"):
        train(Regression(), train_config(), ctx)
    assert recorder_of(ctx).counts["checkpoint_failures_total"] == 1


@pytest.mark.parametrize("content", [b"", b"x", b"9" * 100])
def test_reached_of_a_broken_note_is_no_failure(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "reached").write_bytes(content)
    assert Reached(tmp_path).before >= 0


def test_last_gradient_ends_this_ranks_part_of_the_backward_pass() -> None:
    layer = nn.Linear(2, 1)
    clock = HostClock()
    (last, _) = layer.parameters()
    gate = LastGradient(clock, last)
    clock.start()
    layer(torch.ones(1, 2)).sum().backward()
    time.sleep(PAUSE)  # the other ranks
    gate.end_backward()
    phases = clock.take()
    assert phases["all_reduce"] >= PAUSE > phases["backward"]
    assert clock.take() == {}


def test_measured_peak_of_a_cpu_is_that_of_a_computer() -> None:
    assert 1e8 < (device_peak_flops(torch.device("cpu"), "fp32") or 0) < 1e14


@pytest.mark.gpu
def test_device_clock_tells_the_devices_time_and_waits_for_nothing() -> None:
    clock = phase_clock(torch.device("cuda"))
    matrix = torch.ones(8192, 8192, device="cuda")
    torch.cuda.synchronize()
    begin = time.perf_counter()
    clock.start()
    for _ in range(20):
        matrix = matrix @ matrix / 8192
    clock.lap("forward")
    early = clock.take()
    asked = time.perf_counter() - begin
    torch.cuda.synchronize()
    took = time.perf_counter() - begin
    late = clock.take()
    assert early == {}
    assert asked < took / 2
    assert took / 2 < late["forward"] < took
