"""What the loop tells the recorder, and under which names."""

import logging
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch

from pipeline.metrics import names
from pipeline.metrics.names import labelled
from pipeline.metrics.process import process_age_seconds
from pipeline.metrics.throughput import mfu
from pipeline.spec.context import Recorder
from pipeline.training.checkpoint import Saved
from pipeline.training.config import TrainConfig
from pipeline.training.guard import Seen
from pipeline.training.method import StepCost
from pipeline.training.reached import Reached
from pipeline.training.world import TrainingWorld

_log = logging.getLogger(__name__)

_MEMORY_EVERY_SECONDS = 5.0
_LINE_EVERY_SECONDS = 5.0
"""A long training leaves lines by the hundred thousand, not by the million."""
_COUNTED = (
    names.TRAIN_STEPS_TOTAL,
    names.TRAIN_SAMPLES_TOTAL,
    names.TRAIN_STEP_DURATION_SECONDS,
    names.TRAIN_PHASE_SECONDS_TOTAL,
    names.TRAIN_NONFINITE_TOTAL,
    names.TRAIN_SKIPPED_STEPS_TOTAL,
    names.TRAIN_LOST_STEPS_TOTAL,
    names.CHECKPOINT_SAVE_DURATION_SECONDS,
    names.CHECKPOINT_FAILURES_TOTAL,
    names.STAGE_ACTIVE_SECONDS_TOTAL,
)
_COSTED = (names.TRAIN_TOKENS_TOTAL, names.TRAIN_MODEL_FLOPS_TOTAL)
_PHASES = {phase: labelled(names.TRAIN_PHASE_SECONDS_TOTAL, phase=phase) for phase in names.PHASES}
_ACTIVE = {
    kind: labelled(names.STAGE_ACTIVE_SECONDS_TOTAL, kind=kind)
    for kind in names.STAGE_ACTIVE_SECONDS_TOTAL.known
}


class Telemetry:
    """Turns steps and evaluations into metrics; nothing here waits for a device.

    Every rank has one; the recorder knows which of its numbers count.
    """

    def __init__(
        self,
        recorder: Recorder,
        config: TrainConfig,
        world: TrainingWorld,
        state: Path,
        *,
        cost: StepCost | None,
        peak_flops: float | None,
    ) -> None:
        """Starts every counter at 0.

        Args:
            recorder: where the numbers go.
            config: how long and in which batches.
            world: this rank among its peers.
            state: the stage's durable folder.
            cost: of a step, where the method says it.
            peak_flops: of one device, where it is known.
        """
        self._recorder = recorder
        self._config = config
        self._world = world
        self._cost = cost
        self._peak_flops = peak_flops
        self._reached = Reached(state)
        self._seconds = 0.0
        self._steps = 0
        self._pauses = 0.0
        self._loss: float | None = None
        self._skipped = 0
        self._memory_told = self._line_told = float("-inf")
        self._alloc_retries = self._ooms = 0
        rank = str(world.rank)
        self._data_wait = labelled(names.TRAIN_DATA_WAIT_SECONDS_TOTAL, rank=rank)
        self._compute = labelled(names.TRAIN_COMPUTE_SECONDS_TOTAL, rank=rank)
        recorder.prepare(*_COUNTED, *(_COSTED if cost else ()))
        for name in (self._data_wait, self._compute):
            recorder.count(name, 0.0)
        recorder.gauge(names.TRAIN_TARGET_STEPS.name, config.steps)
        if config.checkpoint_every_seconds is not None:
            recorder.gauge(names.CHECKPOINT_INTERVAL_SECONDS.name, config.checkpoint_every_seconds)
        if peak_flops is not None:
            recorder.gauge(names.DEVICE_PEAK_FLOPS.name, peak_flops)

    def started(self, step: int) -> None:
        """The first step is next, after `step` that a checkpoint holds."""
        self._recorder.gauge(names.TRAIN_STEP.name, step)
        self._recorder.count(names.TRAIN_LOST_STEPS_TOTAL.name, max(0, self._reached.before - step))
        # What was saved or evaluated before the first step counts as that.
        startup = max(0.0, process_age_seconds() - self.take_pauses())
        self._recorder.count(_ACTIVE["startup"], startup)

    def step(self, step: int, seen: Seen, learning_rate: float) -> None:
        """The numbers of a step that is logged."""
        scalar = self._recorder.scalar
        self._loss = seen.loss
        scalar(names.TRAIN_LOSS.name, seen.loss, step)
        scalar(names.TRAIN_LEARNING_RATE.name, learning_rate, step)
        if seen.grad_norm is not None:
            scalar(names.TRAIN_GRAD_NORM.name, seen.grad_norm, step)
        for name, value in seen.scores.items():
            scalar(labelled(names.TRAIN_SCORE, score=name), value, step)
        self._memory()
        now = time.monotonic()
        is_last = step == self._config.steps
        if self._world.rank == 0 and (is_last or now - self._line_told >= _LINE_EVERY_SECONDS):
            self._line_told = now
            norm = "" if seen.grad_norm is None else f"  gradient {seen.grad_norm:.4g}"
            _log.info(
                "step %d/%d  loss %.5g%s  rate %.4g%s",
                step,
                self._config.steps,
                seen.loss,
                norm,
                learning_rate,
                "".join(f"  {name} {value:.4g}" for name, value in seen.scores.items()),
            )

    def phase(self, what: str) -> None:
        """What the training is at between its steps."""
        self._recorder.phase(what)

    def scaler(self, step: int, scale: float, num_updates: int) -> None:
        """The loss scale of fp16, and the steps that it made the optimizer leave out."""
        self._recorder.scalar(names.TRAIN_LOSS_SCALE.name, scale, step)
        skipped = step - num_updates
        self._recorder.count(names.TRAIN_SKIPPED_STEPS_TOTAL.name, skipped - self._skipped)
        self._skipped = skipped

    def timing(self, step: int, seconds: float, wait_seconds: float, *, logs: bool) -> None:
        """How long a step took, of which it waited for data; the mean goes out when it `logs`."""
        count, batch_size = self._recorder.count, self._config.global_batch_size
        count(names.TRAIN_STEPS_TOTAL.name)
        count(names.TRAIN_SAMPLES_TOTAL.name, batch_size)
        if self._cost is not None:
            count(names.TRAIN_TOKENS_TOTAL.name, self._cost.tokens)
            count(names.TRAIN_MODEL_FLOPS_TOTAL.name, self._cost.flops)
        count(self._data_wait, wait_seconds)
        count(_ACTIVE["data"], wait_seconds)
        is_replay = step <= self._reached.before
        count(_ACTIVE["replay" if is_replay else "train"], max(0.0, seconds - wait_seconds))
        self._recorder.observe(names.TRAIN_STEP_DURATION_SECONDS.name, seconds)
        self._recorder.gauge(names.TRAIN_STEP.name, step)
        self._recorder.gauge(names.TRAIN_LAST_STEP_TIMESTAMP_SECONDS.name, time.time())
        self._note_reached(step)
        self._seconds += seconds
        self._steps += 1
        mean = self._seconds / self._steps
        if logs:
            self._recorder.scalar(names.TRAIN_STEP_DURATION_SECONDS.name, mean, step)
            self._utilisation(step, mean)
            self._seconds, self._steps = 0.0, 0
        # Last: with it the agent sees all of the step.
        self._recorder.progress(step, self._config.steps, self._loss, batch_size / mean, "samples")

    def phases(self, seconds: Mapping[str, float]) -> None:
        """Seconds by phase since this was last told."""
        for phase, spent in seconds.items():
            self._recorder.count(_PHASES[phase], spent)
        compute = seconds.get("forward", 0.0) + seconds.get("backward", 0.0)
        self._recorder.count(self._compute, compute)

    def scores(self, step: int, scores: Mapping[str, float], seconds: float) -> None:
        """An evaluation's scores, and how long it took."""
        for name, value in scores.items():
            self._recorder.scalar(labelled(names.EVAL_SCORE, score=name), value, step)
        if self._world.rank == 0:
            told = "  ".join(f"{name} {value:.5g}" for name, value in scores.items())
            _log.info("evaluated after step %d in %.1f s: %s", step, seconds, told)
        self._pause("eval", seconds)

    def checkpoint(self, saved: Saved) -> None:
        """A checkpoint that stands."""
        scalar = self._recorder.scalar
        scalar(names.CHECKPOINT_SAVE_DURATION_SECONDS.name, saved.seconds, saved.step)
        scalar(names.CHECKPOINT_BYTES.name, saved.size_bytes, saved.step)
        self._recorder.observe(names.CHECKPOINT_SAVE_DURATION_SECONDS.name, saved.seconds)
        self._recorder.gauge(names.CHECKPOINT_LAST_STEP.name, saved.step)
        now = time.time()
        self._recorder.gauge(names.CHECKPOINT_LAST_SUCCESS_TIMESTAMP_SECONDS.name, now)
        self._pause("checkpoint", saved.seconds)

    def checkpoint_failed(self) -> None:
        """A save that did not complete."""
        self._recorder.count(names.CHECKPOINT_FAILURES_TOTAL.name)

    def diverged(self, what: Literal["loss", "gradient"]) -> None:
        """A loss or gradient that is not finite was met."""
        self._recorder.count(labelled(names.TRAIN_NONFINITE_TOTAL, what=what))

    def take_pauses(self) -> float:
        """Seconds of saving and evaluating since this was last asked; no part of a step."""
        pauses, self._pauses = self._pauses, 0.0
        return pauses

    def _pause(self, kind: Literal["checkpoint", "eval"], seconds: float) -> None:
        self._recorder.count(_PHASES[kind], seconds)
        self._recorder.count(_ACTIVE[kind], seconds)
        self._pauses += seconds

    def _utilisation(self, step: int, seconds: float) -> None:
        if self._cost is not None and self._peak_flops is not None:
            ratio = mfu(
                flops=self._cost.flops,
                seconds=seconds,
                peak_flops=self._peak_flops,
                num_devices=self._world.size,
            )
            self._recorder.scalar(names.TRAIN_MFU_RATIO.name, ratio, step)

    def _memory(self) -> None:
        """Memory so far, now and then: asking an allocator costs a tenth of a millisecond."""
        now, rank = time.monotonic(), str(self._world.rank)
        if now - self._memory_told < _MEMORY_EVERY_SECONDS:
            return
        self._memory_told = now
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak *= 1 if sys.platform == "darwin" else 1024
        self._recorder.gauge(labelled(names.HOST_MEMORY_BYTES, rank=rank), peak)
        if self._world.device.type != "cuda":
            return
        stats = torch.cuda.memory_stats(self._world.device)
        for kind in ("allocated", "reserved"):
            name = labelled(names.GPU_MEMORY_BYTES, kind=f"{kind}_peak", rank=rank)
            self._recorder.gauge(name, stats.get(f"{kind}_bytes.all.peak", 0))
        retries, ooms = stats.get("num_alloc_retries", 0), stats.get("num_ooms", 0)
        retried, failed = names.GPU_ALLOC_RETRIES_TOTAL, names.GPU_OOMS_TOTAL
        self._recorder.count(labelled(retried, rank=rank), retries - self._alloc_retries)
        self._recorder.count(labelled(failed, rank=rank), ooms - self._ooms)
        self._alloc_retries, self._ooms = retries, ooms

    def _note_reached(self, step: int) -> None:
        if self._world.rank == 0:
            try:
                self._reached.note(step)
            except OSError as exc:
                _log.debug("how far the training came is not noted: %s", exc)
