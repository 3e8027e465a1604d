"""What the loop tells the recorder, and under which names."""

import time
from collections.abc import Mapping
from typing import Literal

from pipeline.metrics import names
from pipeline.metrics.names import labelled
from pipeline.spec.context import Recorder
from pipeline.training.checkpoint import Saved
from pipeline.training.config import TrainConfig
from pipeline.training.guard import Seen


class Telemetry:
    """Turns steps and evaluations into metrics; nothing here waits for a device."""

    def __init__(self, recorder: Recorder, config: TrainConfig) -> None:
        self._recorder = recorder
        self._config = config
        self._seconds = 0.0
        self._steps = 0
        self._loss: float | None = None
        self._skipped = 0

    def step(self, step: int, seen: Seen, learning_rate: float) -> None:
        """The numbers of a step that is logged."""
        scalar = self._recorder.scalar
        self._loss = seen.loss
        scalar(names.TRAIN_LOSS.name, seen.loss, step)
        scalar(names.TRAIN_LEARNING_RATE.name, learning_rate, step)
        if seen.grad_norm is not None:
            scalar(names.TRAIN_GRAD_NORM.name, seen.grad_norm, step)
        for name, value in seen.scores.items():
            scalar(f"train/{name}", value, step)
        scalar(names.TRAIN_STEP.name, step, step)
        scalar(names.TRAIN_LAST_STEP_TIMESTAMP_SECONDS.name, time.time(), step)

    def scaler(self, step: int, scale: float, num_updates: int) -> None:
        """The loss scale of fp16, and the steps that it made the optimizer leave out."""
        self._recorder.scalar(names.TRAIN_LOSS_SCALE.name, scale, step)
        skipped = step - num_updates
        self._recorder.count(names.TRAIN_SKIPPED_STEPS_TOTAL.name, skipped - self._skipped)
        self._skipped = skipped

    def timing(self, step: int, seconds: float, wait_seconds: float, *, logs: bool) -> None:
        """How long a step took, of which it waited for data; the mean goes out when it `logs`."""
        batch_size = self._config.global_batch_size
        self._recorder.count(names.TRAIN_STEPS_TOTAL.name)
        self._recorder.count(names.TRAIN_SAMPLES_TOTAL.name, batch_size)
        self._recorder.count(names.TRAIN_DATA_WAIT_SECONDS_TOTAL.name, wait_seconds)
        self._seconds += seconds
        self._steps += 1
        mean = self._seconds / self._steps
        self._recorder.progress(step, self._config.steps, self._loss, batch_size / mean, "samples")
        if logs:
            self._recorder.scalar(names.TRAIN_STEP_DURATION_SECONDS.name, mean, step)
            self._seconds, self._steps = 0.0, 0

    def scores(self, step: int, scores: Mapping[str, float]) -> None:
        """An evaluation's scores."""
        for name, value in scores.items():
            self._recorder.scalar(labelled(names.EVAL_SCORE, score=name), value, step)

    def checkpoint(self, saved: Saved) -> None:
        """A checkpoint that stands."""
        scalar = self._recorder.scalar
        scalar(names.CHECKPOINT_SAVE_DURATION_SECONDS.name, saved.seconds, saved.step)
        scalar(names.CHECKPOINT_BYTES.name, saved.size_bytes, saved.step)
        scalar(names.CHECKPOINT_LAST_STEP.name, saved.step, saved.step)
        scalar(names.CHECKPOINT_LAST_SUCCESS_TIMESTAMP_SECONDS.name, time.time(), saved.step)

    def diverged(self, what: Literal["loss", "gradient"]) -> None:
        """A loss or gradient that is not finite was met."""
        self._recorder.count(labelled(names.TRAIN_NONFINITE_TOTAL, what=what))
