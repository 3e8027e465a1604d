"""GPU time of stages: what their attempts held, and what of it nothing kept."""

from dataclasses import dataclass

from pipeline.runner.state import AttemptState, StageState, StageStatus


@dataclass(frozen=True)
class GpuTime:
    """Seconds times GPUs.

    Attributes:
        held: by all attempts, idle or not; from when their pods ran, in a cluster.
        wasted: of attempts that ended without success, the part after their last checkpoint.
    """

    held: float = 0.0
    wasted: float = 0.0

    def __add__(self, other: "GpuTime") -> "GpuTime":
        return GpuTime(self.held + other.held, self.wasted + other.wasted)


def gpu_time(stage: StageState, now: float) -> GpuTime:
    """Of a stage until `now`, Unix time; an attempt whose runner was killed has no known end."""
    total, saved = GpuTime(), 0
    for attempt in stage.attempts:
        if attempt.ended is not None:
            held = attempt.gpus * (attempt.ended - attempt.started - attempt.pending_seconds)
            total += GpuTime(held, held * _wasted_share(attempt, saved))
            saved = max(saved, attempt.step or 0)
        elif attempt is stage.attempts[-1] and stage.status is StageStatus.RUNNING:
            held = now - attempt.started - attempt.pending_seconds
            total += GpuTime(attempt.gpus * max(0.0, held))
    return total


def _wasted_share(attempt: AttemptState, saved_before: int) -> float:
    """Of an attempt's time, by steps: those behind its last checkpoint over all it took."""
    if attempt.exit_class == "done":
        return 0.0
    kept = (attempt.step or 0) - saved_before
    if kept <= 0:
        return 1.0
    # Progress is written twice a second, so it may be behind a checkpoint.
    taken = max(kept, (attempt.reached or 0) - saved_before)
    return 1.0 - kept / taken
