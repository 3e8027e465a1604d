"""An executor that runs nothing: a script decides how each attempt ends. For tests of the runner."""

import time
from collections.abc import Callable, Sequence

from pipeline.errors import WorkerExit
from pipeline.executors.base import AttemptEnd, Capacity
from pipeline.spec.job import Job

Script = Callable[[Job], AttemptEnd | int | None]
"""How an attempt ends: an AttemptEnd, or an exit code that stands for one of rank 0.

None keeps it running until it is stopped. The script is called once, when the attempt's turn to end
has come; what the stage would have done (writing and committing its outputs) it does itself.
"""

KILLED = 128 + 9
_ROOMY = Capacity(cpus=8, memory_bytes=None, gpus=0)
_IDLE_SECONDS = 0.005


class FakeExecutor:
    """Ends attempts one a `wait`, in the order they were submitted.

    An attempt that the script keeps running ends with 75 once it is asked to stop, with 137 when
    it is ended at once.

    Attributes:
        submitted: every job, in order.
        stopped: (attempt id, now) of every call of `stop`.
        running: attempt id -> job of those that have not ended.
    """

    def __init__(self, script: Script, capacity: Capacity = _ROOMY) -> None:
        self._script = script
        self._capacity = capacity
        self._kept: set[str] = set()
        self._ready: list[AttemptEnd] = []
        self.submitted: list[Job] = []
        self.stopped: list[tuple[str, bool]] = []
        self.running: dict[str, Job] = {}
        self.closed = False

    @property
    def capacity(self) -> Capacity:
        """What the test said."""
        return self._capacity

    def submit(self, job: Job) -> None:
        """Remembers the job; nothing starts."""
        self.submitted.append(job)
        self.running[job.attempt_id] = job

    def wait(self, timeout_seconds: float) -> Sequence[AttemptEnd]:
        """The next end, at most one; nothing after a short pause when all are kept running."""
        while not self._ready:
            job = next((j for name, j in self.running.items() if name not in self._kept), None)
            if job is None:
                time.sleep(min(timeout_seconds, _IDLE_SECONDS))
                return ()
            self._play(job)
        end = self._ready.pop(0)
        self.running.pop(end.attempt_id, None)
        return (end,)

    def stop(self, attempt_id: str, *, now: bool) -> None:
        """Ends an attempt that is still running."""
        self.stopped.append((attempt_id, now))
        if attempt_id not in self.running or any(e.attempt_id == attempt_id for e in self._ready):
            return
        self._kept.add(attempt_id)
        code, cause = (KILLED, "killed") if now else (int(WorkerExit.PREEMPTED), "asked to stop")
        self._ready.append(AttemptEnd(attempt_id, code, 0, cause))

    def close(self) -> None:
        """Forgets what still runs."""
        self.running.clear()
        self._ready.clear()
        self.closed = True

    def _play(self, job: Job) -> None:
        end = self._script(job)
        if isinstance(end, int):
            cause = f"exit {end}" if end else ""
            end = AttemptEnd(job.attempt_id, end, 0 if end else None, cause)
        self._kept.add(job.attempt_id)
        if end is not None:
            self._ready.append(end)
