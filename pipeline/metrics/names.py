"""Every metric of the framework, declared once; a method adds its own through its ScoreSpecs."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

PREFIX = "pipeline_"
_WRITTEN = re.compile(r"(?P<name>[a-z_][a-z0-9_]*)(?:\{(?P<labels>[^{}]*)\})?")


@dataclass(frozen=True)
class Metric:
    """A metric: `name` is what recorders take, `PREFIX + name` what Prometheus sees.

    `unit` is one base unit ("seconds", "bytes", "ratio", or a thing counted); `labels` are those a
    recorder gives; pipeline, stage, run and attempt come from where it runs.
    """

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()

    @property
    def exported_name(self) -> str:
        """The name in Prometheus."""
        return PREFIX + self.name


def labelled(metric: Metric, **labels: str) -> str:
    """How a recorder is told of one series, e.g. `eval_score{score=accuracy}`.

    Raises:
        ValueError: the labels are not those that the metric declares.
    """
    if set(labels) != set(metric.labels):
        msg = f"{metric.name} has the labels {metric.labels}, not {tuple(labels)}"
        raise ValueError(msg)
    inside = ",".join(f"{key}={labels[key]}" for key in metric.labels)
    return f"{metric.name}{{{inside}}}" if inside else metric.name


def parse(written: str) -> tuple[str, dict[str, str]]:
    """(name, labels) of what `labelled` wrote; a name in no such form comes back as it is."""
    match = _WRITTEN.fullmatch(written)
    if match is None:
        return written, {}
    pairs = (part.partition("=") for part in (match["labels"] or "").split(",") if part)
    return match["name"], {key: value for key, _, value in pairs}


TRAIN_LOSS = Metric("train_loss", "gauge", "", "loss of the last step, over the global batch")
TRAIN_LEARNING_RATE = Metric("train_learning_rate", "gauge", "", "largest over parameter groups")
TRAIN_LOSS_SCALE = Metric("train_loss_scale", "gauge", "", "loss scale of fp16 training")
TRAIN_GRAD_NORM = Metric("train_grad_norm", "gauge", "", "global gradient norm before clipping")
TRAIN_STEP = Metric("train_step", "gauge", "steps", "the last finished step")
TRAIN_STEPS_TOTAL = Metric("train_steps_total", "counter", "steps", "steps taken by this attempt")
TRAIN_SAMPLES_TOTAL = Metric("train_samples_total", "counter", "samples", "examples over all ranks")
TRAIN_TOKENS_TOTAL = Metric("train_tokens_total", "counter", "tokens", "tokens over all ranks")
TRAIN_STEP_DURATION_SECONDS = Metric(
    "train_step_duration_seconds", "histogram", "seconds", "wall time of a step, data included"
)
TRAIN_PHASE_SECONDS_TOTAL = Metric(
    "train_phase_seconds_total", "counter", "seconds", "time in a phase of the step", ("phase",)
)
TRAIN_DATA_WAIT_SECONDS_TOTAL = Metric(
    "train_data_wait_seconds_total", "counter", "seconds", "time the step waited for its batch"
)
TRAIN_MODEL_FLOPS_TOTAL = Metric(
    "train_model_flops_total", "counter", "flops", "arithmetic the model asked for, over all ranks"
)
TRAIN_MFU_RATIO = Metric(
    "train_mfu_ratio", "gauge", "ratio", "model arithmetic over the devices' peak"
)
TRAIN_NONFINITE_TOTAL = Metric(
    "train_nonfinite_total", "counter", "steps", "steps with NaN or infinity", ("what",)
)
TRAIN_SKIPPED_STEPS_TOTAL = Metric(
    "train_skipped_steps_total", "counter", "steps", "steps whose update was left out"
)
TRAIN_LOST_STEPS_TOTAL = Metric(
    "train_lost_steps_total", "counter", "steps", "steps done again after a restart"
)
TRAIN_LAST_STEP_TIMESTAMP_SECONDS = Metric(
    "train_last_step_timestamp_seconds", "gauge", "seconds", "when the last step ended, Unix time"
)
CHECKPOINT_SAVE_DURATION_SECONDS = Metric(
    "checkpoint_save_duration_seconds", "histogram", "seconds", "the step loop's pause for a save"
)
CHECKPOINT_BYTES = Metric("checkpoint_bytes", "gauge", "bytes", "size of the last checkpoint")
CHECKPOINT_LAST_SUCCESS_TIMESTAMP_SECONDS = Metric(
    "checkpoint_last_success_timestamp_seconds", "gauge", "seconds", "when it was saved, Unix time"
)
CHECKPOINT_LAST_STEP = Metric("checkpoint_last_step", "gauge", "steps", "step of the last one")
CHECKPOINT_FAILURES_TOTAL = Metric(
    "checkpoint_failures_total", "counter", "saves", "saves that did not complete"
)
GPU_MEMORY_BYTES = Metric(
    "gpu_memory_bytes", "gauge", "bytes", "device memory, by what is counted", ("kind", "rank")
)
GPU_ALLOC_RETRIES_TOTAL = Metric(
    "gpu_alloc_retries_total", "counter", "retries", "allocations that had to free caches first"
)
GPU_OOMS_TOTAL = Metric("gpu_ooms_total", "counter", "errors", "allocations that failed")
EVAL_SCORE = Metric("eval_score", "gauge", "", "a score the stage kind declares", ("score",))

STAGE_ITEMS_TOTAL = Metric(
    "stage_items_total", "counter", "items", "work done by a stage that does not train", ("unit",)
)
STAGE_STATE = Metric("stage_state", "gauge", "", "1 for the state a stage is in", ("state",))
STAGE_ATTEMPTS_TOTAL = Metric("stage_attempts_total", "counter", "attempts", "attempts started")
STAGE_RESTARTS_TOTAL = Metric(
    "stage_restarts_total", "counter", "restarts", "attempts after the first", ("cause",)
)
STAGE_QUEUE_WAIT_SECONDS = Metric(
    "stage_queue_wait_seconds", "gauge", "seconds", "from ready to running"
)
STAGE_DURATION_SECONDS = Metric("stage_duration_seconds", "gauge", "seconds", "of the last attempt")
STAGE_ACTIVE_SECONDS_TOTAL = Metric(
    "stage_active_seconds_total", "counter", "seconds", "where the time went", ("kind",)
)
STAGE_GRACE_SECONDS = Metric(
    "stage_grace_seconds", "gauge", "seconds", "time a worker has to save after SIGTERM"
)
STAGE_LAST_SUCCESS_TIMESTAMP_SECONDS = Metric(
    "stage_last_success_timestamp_seconds", "gauge", "seconds", "when it last ended well, Unix time"
)
CACHE_REQUESTS_TOTAL = Metric(
    "cache_requests_total", "counter", "requests", "look-ups of results", ("result",)
)
BUILD_INFO = Metric("build_info", "gauge", "", "1, with the version as a label", ("version",))


def _collect(values: Iterable[object]) -> Mapping[str, Metric]:
    return {value.name: value for value in values if isinstance(value, Metric)}


METRICS: Mapping[str, Metric] = _collect(list(globals().values()))
"""Name (without the prefix) -> declaration, in the order above."""
