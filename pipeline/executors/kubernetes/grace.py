"""How long a stage's checkpoints took to save, for the time that its pods get to end in."""

from pathlib import Path

from pipeline.metrics import names
from pipeline.metrics.recorder import METRICS_FILE, read_metrics


def measured_save_seconds(attempt: Path) -> float | None:
    """The longest save of this stage's earlier attempts in its run; None where none was measured.

    Args:
        attempt: folder of the attempt that is about to start; the others are beside it.
    """
    longest: float | None = None
    for file in attempt.parent.glob(f"*/{METRICS_FILE}"):
        for point in read_metrics(file):
            if point.name == names.CHECKPOINT_SAVE_DURATION_SECONDS.name:
                longest = max(point.value, longest or 0.0)
    return longest
