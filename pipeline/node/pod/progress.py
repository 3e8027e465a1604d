"""Whether an attempt moves: from step to step, and from one start of it to the next."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.cache.state import list_state
from pipeline.errors import Diverged
from pipeline.metrics.recorder import METRICS_FILE, PROGRESS_FILE
from pipeline.spec.job import Job
from pipeline.spec.pod import attempt_path
from pipeline.storage import Store
from pipeline.storage.keys import safe_name

_FREE_STARTS = 2
"""Starts without progress that are granted beyond the counted ones, as the runner grants them."""


class StallWatch:
    """Tells when a training stage lives and does not step."""

    def __init__(
        self, folder: Path, limit_seconds: float | None, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Starts the clock; `folder` is the attempt's, None for no limit."""
        self._files = (folder / PROGRESS_FILE, folder / METRICS_FILE)
        self._limit = limit_seconds
        self._clock = clock
        self._since = clock()

    def problem(self) -> str:
        """What is wrong, "" while ranks move."""
        if self._limit is None:
            return ""
        idle = self._clock() - max(self._since, *(_modified(path) for path in self._files))
        if idle < self._limit:
            return ""
        return f"no step for {idle:.0f} s, cluster.stall_seconds is {self._limit:.0f}"


def check_progress(store: Store, job: Job, restart: int) -> None:
    """Notes where a start begins, and ends an attempt that begins at the same step for ever.

    The cluster restarts preempted gangs for free and without a limit; a gang that never reaches its
    next checkpoint would restart for as long as there is a cluster.

    Args:
        store: of the attempt.
        job: with its content key.
        restart: how often the cluster has restarted it.

    Raises:
        Diverged: too many starts in a row began where this one does.
        StoreError: the store failed.
    """
    names = list_state(store, job.state_key)
    steps = [int(match[1]) for name in names if (match := re.fullmatch(r"\D*(\d+)", name))]
    step = max(steps, default=None)
    store.write(_note_key(job, restart), json.dumps({"step": step}).encode(), durable=False)
    allowed = job.retry.max_attempts + _FREE_STARTS
    same = 0
    while same < restart and _noted(store, job, restart - same - 1) == (step,):
        same += 1
    if same >= allowed:
        where = "before a first checkpoint" if step is None else f"at step {step}"
        msg = f"no progress: {same + 1} starts in a row began {where}"
        raise Diverged(msg)


def _note_key(job: Job, restart: int) -> str:
    return f"{attempt_path(job.run, safe_name(job.stage), job.attempt, str(restart))}/began.json"


def _noted(store: Store, job: Job, restart: int) -> tuple[int | None] | None:
    try:
        return (json.loads(store.read(_note_key(job, restart)))["step"],)
    except (KeyError, ValueError, TypeError):
        return None


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
