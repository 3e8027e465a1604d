"""How far running stages are, and how long they will take."""

from __future__ import annotations

from pathlib import Path

from pipeline.metrics.progress import Progress, read_progress
from pipeline.numbers import duration, rate
from pipeline.runner.state import StageState, StageStatus

_MIN_SECONDS = 2.0
"""Between two looks that a pace is taken from."""


class Pace:
    """Progress lines of stages; remembers its first look at an attempt, to tell the time left.

    Steps by the time since the attempt began would tell too little time: a resumed attempt begins
    at the step of its checkpoint, and every attempt with imports.
    """

    def __init__(self) -> None:
        self._first: dict[str, Progress] = {}

    def text(self, stage: StageState) -> str:
        """`step 120/500 24%  3.1k tokens/s  loss 5.2  ETA 2m05s`; "" unless it runs.

        Outside its steps what it is at comes first: `evaluating, batch 7  step 500/500`.
        """
        if stage.status is not StageStatus.RUNNING or not stage.attempts:
            return ""
        attempt = stage.attempts[-1]
        progress = read_progress(Path(attempt.folder) / "progress.json")
        if progress is None:
            return "starting"
        parts = [progress.phase] if progress.phase else []
        if progress.total_steps:
            parts.append(f"step {progress.step}/{progress.total_steps}")
        if progress.phase or not progress.total_steps:
            return "  ".join(parts)
        first = self._first.setdefault(attempt.attempt_id, progress)
        parts.append(f"{progress.step / progress.total_steps:.0%}")
        if progress.rate > 0:
            parts.append(rate(progress.rate, progress.unit))
        if progress.loss is not None:
            parts.append(f"loss {progress.loss:.4g}")
        seconds = _seconds_left(first, progress)
        if seconds is None and first is progress:
            # A single look: what is known is when the attempt began and where it went on from.
            before = stage.attempts[-2].step if len(stage.attempts) > 1 else None
            start = Progress(before or 0, progress.total_steps, None, 0.0, "", attempt.started)
            seconds = _seconds_left(start, progress)
        if seconds is not None:
            parts.append(f"ETA {duration(seconds)}")
        return "  ".join(parts)


def _seconds_left(first: Progress, now: Progress) -> float | None:
    steps, seconds = now.step - first.step, now.time - first.time
    if steps <= 0 or seconds < _MIN_SECONDS:
        return None
    return seconds / steps * max(0, now.total_steps - now.step)
