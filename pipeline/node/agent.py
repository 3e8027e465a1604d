"""One per node: starts a worker for each rank, passes signals on, and says how they ended.

PID 1 in a pod, a fork of the fork server on one machine. It knows nothing of the stage: whether
ranks agree to stop, and what they save, is for the training loop.
"""

import os
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from pipeline.errors import WorkerExit
from pipeline.node.lifeline import Lifeline, adopt_orphans, end_children
from pipeline.node.rendezvous import Meeting, rank_environment, world_of
from pipeline.node.worker import fork, work
from pipeline.spec.attempt import AttemptFolder, NodeExit, RankFailure, log_tail
from pipeline.spec.job import Job
from pipeline.spec.stage import Launch

PEER_FAILED = signal.SIGUSR1
"""Sent to an agent when another node's attempt has failed: nothing is left to save together."""

TIMED_OUT = 124
# Ranks of a broken gang hang in a collective; there is nothing they could save.
_BROKEN_GANG_GRACE_SECONDS = 1.0
_CRASHED = 1


@dataclass(frozen=True)
class NodeOrder:
    """What an agent is told: the attempt, which of its nodes this is, and where ranks meet.

    `devices` is the node's share of the machine's GPUs; None for all that it sees.
    """

    job: Job
    node: int
    meeting: Meeting
    devices: str | None = None


class Agent:
    """Runs the workers of one node to their end; used once."""

    def __init__(self, order: NodeOrder, lifelines: Sequence[int]) -> None:
        """Takes the read ends of the lifelines of all processes above; starts nothing."""
        self._order = order
        self._folder = AttemptFolder(Path(order.job.folder))
        self._above = list(lifelines)
        self._lifeline = Lifeline()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._ranks: dict[int, int] = {}  # pid -> rank, of those that run
        self._verdict: NodeExit | None = None
        self._started = time.monotonic()
        self._kill_at: float | None = None
        self._killed = False
        self._grace = 0.0
        self._asked = False
        self._peer_failed = False
        self._timed_out = False

    def run(self) -> NodeExit:
        """Starts the workers, waits for all of them, and leaves no descendant behind.

        Raises:
            OSError: a process could not be started; those that were are ended.
        """
        adopt_orphans()
        self._install_handlers()
        try:
            for local_rank in range(self._order.job.processes_per_node):
                self._start(local_rank)
            while self._ranks:
                if self._wait():
                    return self._orphaned()
                self._reap()
                self._enforce()
        finally:
            end_children()
            for rank in self._own_ranks():
                shutil.rmtree(self._folder.scratch / str(rank), ignore_errors=True)
        return self._verdict or NodeExit(0, None, None, "", [], time.time())

    @property
    def _failure_grace(self) -> float:
        job = self._order.job
        if job.launch is Launch.WORKERS:
            return job.grace_seconds
        return min(job.grace_seconds, _BROKEN_GANG_GRACE_SECONDS)

    def _own_ranks(self) -> range:
        first = world_of(self._order.job, self._order.node, 0).rank
        return range(first, first + self._order.job.processes_per_node)

    def _install_handlers(self) -> None:
        # The handlers only take note; the byte on the wake-up pipe ends the wait.
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(PEER_FAILED, self._on_signal)
        signal.signal(signal.SIGCHLD, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, PEER_FAILED})

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._asked |= number == signal.SIGTERM
        self._peer_failed |= number == PEER_FAILED

    def _start(self, local_rank: int) -> None:
        order = self._order
        world = world_of(order.job, order.node, local_rank)
        environment = rank_environment(order.job, world, order.meeting, order.devices)

        def child() -> int:
            os.close(self._wake_read)
            os.close(self._wake_write)
            lifelines = [*self._above, self._lifeline.leave_to_parent()]
            return work(order.job, world, environment, lifelines)

        pid = fork(child)
        # Both do it, so that neither can be signalled as a group before it is one.
        os.setpgid(pid, pid)
        self._ranks[pid] = world.rank

    def _wait(self) -> bool:
        """Sleeps until a signal or the next deadline; True when a process above has gone."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        for end in self._above:
            poll.register(end, select.POLLHUP)
        deadlines = [at for at in (self._kill_at, self._timeout_at()) if at is not None]
        pause = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        ready = {fd for fd, _ in poll.poll(None if pause is None else pause * 1000 + 1)}
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)
        return bool(ready - {self._wake_read})

    def _timeout_at(self) -> float | None:
        limit = self._order.job.timeout_seconds
        return None if limit is None or self._timed_out else self._started + limit

    def _reap(self) -> None:
        failed: list[NodeExit] = []
        while True:
            try:
                # Looked at before it is reaped: until then nobody else can get its group's number.
                seen = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if seen is None:
                break
            rank = self._ranks.pop(seen.si_pid, None)
            if rank is not None:
                _kill_group(seen.si_pid)
            _, status = os.waitpid(seen.si_pid, 0)
            code = os.waitstatus_to_exitcode(status)
            if rank is not None and code != 0:
                failed.append(self._describe(rank, code))
        if failed and self._verdict is None:
            self._verdict = min(failed, key=lambda end: end.time)
            preempted = self._verdict.exit_code == WorkerExit.PREEMPTED
            self._stop(self._order.job.grace_seconds if preempted else self._failure_grace)

    def _describe(self, rank: int, code: int) -> NodeExit:
        failure = RankFailure.read(self._folder.failure(rank))
        name: str | None = None
        if code < 0:
            name = signal.Signals(-code).name
            cause = f"rank {rank} was killed by {name}"
            if self._killed and -code == signal.SIGKILL:
                cause = f"rank {rank} had not ended {self._grace:g} s after SIGTERM and was killed"
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

    def _enforce(self) -> None:
        now = time.monotonic()
        grace = self._order.job.grace_seconds
        limit = self._timeout_at()
        if limit is not None and now >= limit:
            self._timed_out = True
            if self._verdict is None:
                cause = f"not done after timeout_seconds={self._order.job.timeout_seconds:g}"
                self._verdict = NodeExit(TIMED_OUT, None, None, cause, [], time.time())
            self._stop(grace)
        if self._asked:
            self._asked = False
            self._stop(grace)
        if self._peer_failed:
            self._peer_failed = False
            self._stop(self._failure_grace)
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at, self._killed = None, True
            for pid in self._ranks:
                _kill_group(pid)

    def _stop(self, grace: float) -> None:
        """SIGTERM to all workers; the earliest of all deadlines to be killed holds."""
        kill_at = time.monotonic() + grace
        if self._killed:
            return
        if self._kill_at is None or kill_at < self._kill_at:
            self._kill_at, self._grace = kill_at, grace
        for pid in self._ranks:
            os.kill(pid, signal.SIGTERM)

    def _orphaned(self) -> NodeExit:
        for pid in self._ranks:
            _kill_group(pid)
        return NodeExit(128 + signal.SIGKILL, None, None, "the runner is gone", [], time.time())


def run_agent(order: NodeOrder, lifelines: Sequence[int]) -> int:
    """Runs one node of an attempt and leaves exit-<node>.json; returns the exit code."""
    folder = AttemptFolder(Path(order.job.folder))
    try:
        end = Agent(order, lifelines).run()
    except OSError as exc:
        traceback.print_exc()
        end = NodeExit(_CRASHED, None, None, f"agent {order.node}: {exc}", [], time.time())
    try:
        end.write(folder.node_exit(order.node))
    except OSError:
        traceback.print_exc()  # the exit code alone has to do
    return end.exit_code


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # all of it has ended


def main() -> int:
    """`python -m pipeline.node.agent JOB_FILE NODE ADDRESS PORT`: one node of an attempt, as PID 1.

    Rank 0's node is at ADDRESS. OPENBLAS_NUM_THREADS=1 belongs into the environment, as the fork
    server has it: workers are forks, and threads do not survive one.
    """
    job_file, node, address, port = sys.argv[1:]
    job = Job.model_validate_json(Path(job_file).read_bytes())
    return run_agent(NodeOrder(job, int(node), Meeting(address, int(port))), lifelines=[])


if __name__ == "__main__":
    sys.exit(main())
