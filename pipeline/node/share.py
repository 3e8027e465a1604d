"""One node's share of an attempt: its ranks from start to end, and what is told of how it ended.

Knows neither the stage nor how events arrive; `pipeline.node.agent` brings them.
"""

import math
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import WorkerExit
from pipeline.node.rendezvous import Meeting, world_of
from pipeline.spec.attempt import (
    AttemptFolder,
    NodeExit,
    RankFailure,
    log_tail,
    share_name,
)
from pipeline.spec.context import World
from pipeline.spec.job import Job, scratch_folder
from pipeline.spec.stage import Launch

TIMED_OUT = 124
# Ranks of a broken gang hang in a collective; there is nothing they could save.
_BROKEN_GANG_GRACE_SECONDS = 1.0
_CRASHED = 1
_ABORT_SECONDS = 3.0


@dataclass(frozen=True)
class NodeOrder:
    """What an agent is told: the attempt, which of its nodes this is, and where ranks meet.

    `devices` is the node's share of the machine's GPUs; None for all that it sees.
    """

    job: Job
    node: int
    meeting: Meeting
    devices: str | None = None


class NodeShare:
    """The ranks of one attempt on one node."""

    def __init__(self, order: NodeOrder, fork_rank: Callable[[NodeOrder, World], int]) -> None:
        """Starts the ranks; when one cannot be started the share has failed and ends the others.

        Args:
            order: what to run.
            fork_rank: starts a worker as leader of a process group of its own; returns its pid.
        """
        self.order = order
        self._folder = AttemptFolder(Path(order.job.folder))
        self._ranks: dict[int, int] = {}  # pid -> rank, of those that run
        self._verdict: NodeExit | None = None
        self._started = time.monotonic()
        self._kill_at: float | None = None
        self._killed = False
        self._ended_at_once = False
        self._grace = 0.0
        try:
            for local_rank in range(order.job.processes_per_node):
                world = world_of(order.job, order.node, local_rank)
                self._ranks[fork_rank(order, world)] = world.rank
        except OSError as exc:
            cause = f"node {order.node} could not start rank {len(self._ranks)}: {exc}"
            self._verdict = NodeExit(_CRASHED, None, None, cause, [], time.time())
            self.kill()

    @property
    def name(self) -> str:
        """What the environment of all it starts calls it."""
        return share_name(self.order.job.attempt_id, self.order.node)

    @property
    def pids(self) -> set[int]:
        """Of the ranks that run."""
        return set(self._ranks)

    def ended(self, exits: Mapping[int, int]) -> None:
        """Takes the ends of some of `pids`: pid -> exit code, negative for a signal."""
        failed = []
        for pid, code in exits.items():
            rank = self._ranks.pop(pid)
            if code != 0:
                failed.append(self._describe(rank, code))
        if failed and self._verdict is None:
            self._verdict = min(failed, key=lambda end: end.time)
            preempted = self._verdict.exit_code == WorkerExit.PREEMPTED
            self._stop(self.order.job.grace_seconds if preempted else self._failure_grace)

    def stop(self) -> None:
        """Asks the ranks to save and end; kills them after the grace period."""
        self._stop(self.order.job.grace_seconds)

    def peer_failed(self) -> None:
        """Another node's share has failed: a gang has nothing left to save together."""
        self._stop(self._failure_grace)

    def give_up(self, cause: str) -> None:
        """The ranks hang: they write down where, and are killed; the share has failed."""
        if self._verdict is None:
            self._verdict = NodeExit(_CRASHED, None, None, cause, [], time.time())
        for pid in self._ranks:
            os.kill(pid, signal.SIGABRT)  # faulthandler prints every thread's stack
        self._kill_at = min(self._kill_at or math.inf, time.monotonic() + _ABORT_SECONDS)

    def kill(self) -> None:
        """Ends the ranks at once."""
        self._ended_at_once = not self._killed
        self._kill()

    @property
    def deadline(self) -> float | None:
        """When `enforce` has something to do, by the monotonic clock."""
        deadlines = [at for at in (self._kill_at, self._timeout_at) if at is not None]
        return min(deadlines, default=None)

    def enforce(self) -> None:
        """Does what is due by now: the end of the time limit, or of the grace period."""
        now = time.monotonic()
        if self._timeout_at is not None and now >= self._timeout_at:
            cause = f"not done after timeout_seconds={self.order.job.timeout_seconds:g}"
            self._verdict = NodeExit(TIMED_OUT, None, None, cause, [], time.time())
            self._stop(self.order.job.grace_seconds)
        if self._kill_at is not None and now >= self._kill_at:
            self._kill()

    def close(self) -> NodeExit:
        """Cleans up behind the last rank and leaves exit-<node>.json; how the share ended.

        Raises:
            OSError: the record could not be written.
        """
        for local_rank in range(self.order.job.processes_per_node):
            rank = world_of(self.order.job, self.order.node, local_rank).rank
            shutil.rmtree(scratch_folder(self.order.job) / str(rank), ignore_errors=True)
        self._verdict = self._verdict or NodeExit(0, None, None, "", [], time.time())
        self._verdict.write(self._folder.node_exit(self.order.node))
        return self._verdict

    @property
    def verdict(self) -> NodeExit:
        """How the share ended; called after `close`, whether that could write it or not."""
        assert self._verdict is not None  # `close` came first
        return self._verdict

    @property
    def _failure_grace(self) -> float:
        job = self.order.job
        if job.launch is Launch.WORKERS:
            return job.grace_seconds
        return min(job.grace_seconds, _BROKEN_GANG_GRACE_SECONDS)

    @property
    def _timeout_at(self) -> float | None:
        limit = self.order.job.timeout_seconds
        # Whatever has decided already, time decides no more.
        return None if limit is None or self._verdict is not None else self._started + limit

    def _stop(self, grace: float) -> None:
        """SIGTERM to all ranks; the earliest of all deadlines to be killed holds."""
        if self._killed:
            return
        kill_at = time.monotonic() + grace
        if self._kill_at is None or kill_at < self._kill_at:
            self._kill_at, self._grace = kill_at, grace
        for pid in self._ranks:
            os.kill(pid, signal.SIGTERM)

    def _kill(self) -> None:
        self._kill_at, self._killed = None, True
        for pid in self._ranks:
            kill_group(pid)

    def _describe(self, rank: int, code: int) -> NodeExit:
        failure = RankFailure.read(self._folder.failure(rank))
        name: str | None = None
        if code < 0:
            name = signal.Signals(-code).name
            cause = f"rank {rank} was killed by {name}"
            if self._killed and -code == signal.SIGKILL:
                cause = f"rank {rank} had not ended {self._grace:g} s after SIGTERM and was killed"
                if self._ended_at_once:
                    cause = "ended at once, as asked"
            elif -code == signal.SIGKILL:
                cause += ", not by us: the kernel does that when memory runs out"
        elif failure is not None:
            cause = f"rank {rank}: {failure.type}: {failure.message}".strip().rstrip(":")
        else:
            cause = f"rank {rank} ended with exit code {code} and gave no reason"
        tail = log_tail(self._folder.log(rank))
        # A signal acts at once; of two exceptions the earlier one is the cause of the other.
        when = failure.time if code > 0 and failure is not None else time.time()
        return NodeExit(code if code > 0 else 128 - code, rank, name, cause, tail, when)


def kill_group(pid: int) -> None:
    """Kills a rank and what it started; a group that has ended is left alone."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
