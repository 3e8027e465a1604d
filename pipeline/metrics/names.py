"""Every metric of the framework, declared once; a method adds its own through its ScoreSpecs."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

PREFIX = "pipeline_"

PHASES = (
    "data",
    "agree",
    "forward",
    "backward",
    "all_reduce",
    "optimizer",
    "checkpoint",
    "eval",
)
"""What the time of a training loop is divided into."""

PLACE_LABELS = ("pipeline", "run", "stage", "attempt")
"""What every series gets from where it was told, besides its own labels: the DAG's name, the run's
id, the stage's address, and of a rank's or an agent's the attempt."""

_WRITTEN = re.compile(r"(?P<name>[a-z_][a-z0-9_]*)(?:\{(?P<labels>[^{}]*)\})?")


@dataclass(frozen=True)
class Metric:
    """A metric: `name` is what recorders take, `PREFIX + name` what Prometheus sees.

    Attributes:
        name: without the prefix.
        kind: counters only grow while a process lives.
        unit: one base unit ("seconds", "bytes", "ratio", or a thing counted); "" for none.
        meaning: one line for a person.
        labels: those a recorder gives; pipeline, run, stage and attempt come from where it runs.
        known: every value of the first label, where they are known beforehand: such counters
            begin at 0.
        buckets: upper bounds of a histogram's buckets, rising.
    """

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def is_per_rank(self) -> bool:
        """Whether each rank tells its own; everything else comes from rank 0."""
        return "rank" in self.labels

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


_STEP_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)
_SAVE_BUCKETS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)

# Told by the training loop, all but those with `rank` by rank 0 alone.
TRAIN_LOSS = Metric("train_loss", "gauge", "", "loss of the last logged step, over the batch")
TRAIN_LEARNING_RATE = Metric("train_learning_rate", "gauge", "", "largest over parameter groups")
TRAIN_LOSS_SCALE = Metric("train_loss_scale", "gauge", "", "loss scale of fp16 training")
TRAIN_GRAD_NORM = Metric("train_grad_norm", "gauge", "", "global gradient norm before clipping")
TRAIN_SCORE = Metric(
    "train_score", "gauge", "", "what the method measures of the last logged step", ("score",)
)
TRAIN_STEP = Metric("train_step", "gauge", "steps", "the last finished step")
TRAIN_TARGET_STEPS = Metric("train_target_steps", "gauge", "steps", "steps the training has in all")
TRAIN_STEPS_TOTAL = Metric("train_steps_total", "counter", "steps", "steps taken by this attempt")
TRAIN_SAMPLES_TOTAL = Metric("train_samples_total", "counter", "samples", "examples over all ranks")
TRAIN_TOKENS_TOTAL = Metric("train_tokens_total", "counter", "tokens", "tokens over all ranks")
TRAIN_STEP_DURATION_SECONDS = Metric(
    "train_step_duration_seconds",
    "histogram",
    "seconds",
    "wall time of a step, data included",
    buckets=_STEP_BUCKETS,
)
TRAIN_PHASE_SECONDS_TOTAL = Metric(
    "train_phase_seconds_total",
    "counter",
    "seconds",
    "time in a phase: waiting for data, for the slowest rank to begin, forward, backward, the part "
    "of the all-reduce that nothing hides, optimizer, checkpoint, evaluation",
    ("phase",),
    known=PHASES,
)
TRAIN_DATA_WAIT_SECONDS_TOTAL = Metric(
    "train_data_wait_seconds_total",
    "counter",
    "seconds",
    "time a rank's steps waited for their batch",
    ("rank",),
)
TRAIN_COMPUTE_SECONDS_TOTAL = Metric(
    "train_compute_seconds_total",
    "counter",
    "seconds",
    "time of a rank's forward and backward passes without waiting for other ranks: the largest is "
    "the straggler's",
    ("rank",),
)
TRAIN_MODEL_FLOPS_TOTAL = Metric(
    "train_model_flops_total",
    "counter",
    "flops",
    "arithmetic the model asks for, over all ranks; a multiply-add is two",
)
TRAIN_MFU_RATIO = Metric(
    "train_mfu_ratio", "gauge", "ratio", "model arithmetic since the last logged step over the peak"
)
DEVICE_PEAK_FLOPS = Metric(
    "device_peak_flops",
    "gauge",
    "flops",
    "arithmetic a second that one device can do: a GPU's data sheet, a CPU's measured",
)
TRAIN_NONFINITE_TOTAL = Metric(
    "train_nonfinite_total",
    "counter",
    "steps",
    "steps with NaN or infinity",
    ("what",),
    known=("loss", "gradient"),
)
TRAIN_SKIPPED_STEPS_TOTAL = Metric(
    "train_skipped_steps_total", "counter", "steps", "steps whose update was left out"
)
TRAIN_LOST_STEPS_TOTAL = Metric(
    "train_lost_steps_total", "counter", "steps", "steps an earlier attempt had done already"
)
TRAIN_LAST_STEP_TIMESTAMP_SECONDS = Metric(
    "train_last_step_timestamp_seconds", "gauge", "seconds", "when the last step ended, Unix time"
)
CHECKPOINT_SAVE_DURATION_SECONDS = Metric(
    "checkpoint_save_duration_seconds",
    "histogram",
    "seconds",
    "the step loop's pause for a save",
    buckets=_SAVE_BUCKETS,
)
CHECKPOINT_BYTES = Metric("checkpoint_bytes", "gauge", "bytes", "size of the last checkpoint")
CHECKPOINT_LAST_SUCCESS_TIMESTAMP_SECONDS = Metric(
    "checkpoint_last_success_timestamp_seconds", "gauge", "seconds", "when it was saved, Unix time"
)
CHECKPOINT_LAST_STEP = Metric("checkpoint_last_step", "gauge", "steps", "step of the last one")
CHECKPOINT_INTERVAL_SECONDS = Metric(
    "checkpoint_interval_seconds",
    "gauge",
    "seconds",
    "longest time between two saves that is asked for; absent where steps alone decide",
)
CHECKPOINT_FAILURES_TOTAL = Metric(
    "checkpoint_failures_total", "counter", "saves", "saves that did not complete"
)
GPU_MEMORY_BYTES = Metric(
    "gpu_memory_bytes",
    "gauge",
    "bytes",
    "most device memory since the attempt began",
    ("kind", "rank"),
    known=("allocated_peak", "reserved_peak"),
)
HOST_MEMORY_BYTES = Metric(
    "host_memory_bytes", "gauge", "bytes", "most resident memory of the process", ("rank",)
)
GPU_ALLOC_RETRIES_TOTAL = Metric(
    "gpu_alloc_retries_total",
    "counter",
    "retries",
    "allocations that had to free caches first",
    ("rank",),
)
GPU_OOMS_TOTAL = Metric("gpu_ooms_total", "counter", "errors", "allocations that failed", ("rank",))
EVAL_SCORE = Metric("eval_score", "gauge", "", "a score the stage kind declares", ("score",))
STAGE_ACTIVE_SECONDS_TOTAL = Metric(
    "stage_active_seconds_total",
    "counter",
    "seconds",
    "where a training's time goes; replay is steps that an earlier attempt had done",
    ("kind",),
    known=("startup", "data", "train", "replay", "checkpoint", "eval"),
)

# Told by stages that do not train, summed over their workers.
STAGE_ITEMS_TOTAL = Metric(
    "stage_items_total", "counter", "items", "work done by a stage that does not train", ("unit",)
)

# Told by the agent of a node.
STAGE_GRACE_SECONDS = Metric(
    "stage_grace_seconds", "gauge", "seconds", "time a worker has to save after SIGTERM"
)
NODE_RANKS = Metric("node_ranks", "gauge", "ranks", "processes of the stage that run on the node")
POD_INFO = Metric(
    "pod_info", "gauge", "", "1: which pod, on which node of the attempt", ("namespace", "pod")
)

# Told by the runner, with the stage as a label of each series.
RUN_STATE = Metric(
    "run_state",
    "gauge",
    "",
    "1 for the state the run is in",
    ("state",),
    known=("running", "succeeded", "failed", "cancelled", "interrupted"),
)
STAGE_STATE = Metric(
    "stage_state",
    "gauge",
    "",
    "1 for the state a stage is in",
    ("state",),
    known=(
        "waiting",
        "running",
        "retrying",
        "done",
        "reused",
        "failed",
        "cancelled",
        "blocked",
        "skipped",
    ),
)
STAGE_ATTEMPTS_TOTAL = Metric("stage_attempts_total", "counter", "attempts", "attempts started")
STAGE_RESTARTS_TOTAL = Metric(
    "stage_restarts_total",
    "counter",
    "restarts",
    "attempts that ended and were, or were to be, followed by another, by why they ended",
    ("cause",),
    known=("crashed", "killed", "lost", "preempted", "timeout"),
)
STAGE_READY_TIMESTAMP_SECONDS = Metric(
    "stage_ready_timestamp_seconds",
    "gauge",
    "seconds",
    "when a stage had all its inputs, Unix time; only while it has not started",
)
STAGE_QUEUE_WAIT_SECONDS = Metric(
    "stage_queue_wait_seconds", "gauge", "seconds", "from all inputs there to the first attempt"
)
STAGE_DURATION_SECONDS = Metric("stage_duration_seconds", "gauge", "seconds", "of the last attempt")
STAGE_LAST_SUCCESS_TIMESTAMP_SECONDS = Metric(
    "stage_last_success_timestamp_seconds", "gauge", "seconds", "when it last ended well, Unix time"
)
STAGE_GPU_SECONDS_TOTAL = Metric(
    "stage_gpu_seconds_total", "counter", "GPU seconds", "time times GPUs held by its attempts"
)
STAGE_GPU_WASTED_SECONDS_TOTAL = Metric(
    "stage_gpu_wasted_seconds_total",
    "counter",
    "GPU seconds",
    "of these, of ended attempts, what no checkpoint and no result kept",
)
CACHE_REQUESTS_TOTAL = Metric(
    "cache_requests_total",
    "counter",
    "requests",
    "stages that were looked up in the store",
    ("result",),
    known=("hit", "miss"),
)
WEBHOOK_DELIVERIES_TOTAL = Metric(
    "webhook_deliveries_total",
    "counter",
    "messages",
    "state changes told to the webhook",
    ("result",),
    known=("delivered", "dropped"),
)

# Told by agents and the runner.
BUILD_INFO = Metric("build_info", "gauge", "", "1, with the version as a label", ("version",))


def _collect(values: Iterable[object]) -> Mapping[str, Metric]:
    return {value.name: value for value in values if isinstance(value, Metric)}


METRICS: Mapping[str, Metric] = _collect(list(globals().values()))
"""Name (without the prefix) -> declaration, in the order above."""
