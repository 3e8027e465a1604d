"""One per node: starts a worker for each rank, passes signals on, and says how they ended.

PID 1 in a pod, where it runs one attempt; on one machine it serves an executor (see
`pipeline.node.server`) and runs many. It knows nothing of the stage: whether ranks agree to stop,
and what they save, is for the training loop.
"""

import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType

from pipeline.node.lifeline import Lifeline, adopt_orphans, end_children
from pipeline.node.rendezvous import Meeting, rank_environment
from pipeline.node.share import NodeOrder, NodeShare, kill_group
from pipeline.node.worker import fork, work
from pipeline.spec.attempt import NodeExit
from pipeline.spec.context import World
from pipeline.spec.job import Job


class Agent:
    """Hosts shares of attempts; used from one thread, once a process.

    Workers are forks: what is imported here is theirs, and threads do not survive.
    """

    def __init__(self, lifelines: Sequence[int] = (), private: Sequence[int] = ()) -> None:
        """Takes SIGTERM, SIGCHLD and orphans from now on.

        Args:
            lifelines: read ends of the lifelines of all processes above.
            private: file descriptors that no worker may keep.
        """
        self._above = list(lifelines)
        self._private = list(private)
        self._lifeline = Lifeline()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._shares: list[NodeShare] = []
        self._asked = False
        self._stopping = False
        # The handlers only take note; the byte on the wake-up pipe ends the wait.
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_sigterm)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        adopt_orphans()

    @property
    def shares(self) -> Sequence[NodeShare]:
        """Those that run."""
        return tuple(self._shares)

    @property
    def is_stopping(self) -> bool:
        """Whether SIGTERM has come."""
        return self._stopping

    def begin(self, order: NodeOrder) -> None:
        """Starts the ranks of an attempt on this node."""
        self._shares.append(NodeShare(order, self._fork_rank))

    def turn(self, watched: Sequence[int] = (), *, pause_seconds: float | None = None) -> set[int]:
        """Sleeps until something happens, and does what it calls for.

        Args:
            watched: file descriptors that end the sleep when they are readable.
            pause_seconds: sleeps no longer.

        Returns:
            which of `watched` are readable or closed, and which lifelines have ended.
        """
        ready = self._sleep([*watched, *self._above], pause_seconds)
        if self._asked:
            self._asked = False
            for share in self._shares:
                share.stop()
        self._reap()
        for share in self._shares:
            share.enforce()
        return ready

    def take_ended(self) -> list[tuple[NodeOrder, NodeExit]]:
        """Shares whose ranks have all ended; nothing they started is left."""
        ended = [share for share in self._shares if not share.pids]
        self._shares = [share for share in self._shares if share.pids]
        if ended:
            self._sweep([share.name for share in ended])
        for share in ended:
            try:
                share.close()
            except OSError:
                traceback.print_exc()  # told all the same, just not written down
        return [(share.order, share.verdict) for share in ended]

    def close(self) -> None:
        """Kills everything below, at once."""
        for share in self._shares:
            share.kill()
        end_children()

    def _on_sigterm(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = self._stopping = True

    def _fork_rank(self, order: NodeOrder, world: World) -> int:
        environment = rank_environment(order.job, world, order.meeting, order.devices)

        def child() -> int:
            for descriptor in (self._wake_read, self._wake_write, *self._private):
                os.close(descriptor)
            lifelines = [*self._above, self._lifeline.leave_to_parent()]
            return work(order.job, world, environment, lifelines)

        pid = fork(child)
        # Both do it, so that neither can be signalled as a group before it is one.
        os.setpgid(pid, pid)
        return pid

    def _sleep(self, watched: Iterable[int], longest: float | None) -> set[int]:
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        for descriptor in watched:
            poll.register(descriptor, select.POLLIN)
        deadlines = [share.deadline for share in self._shares if share.deadline is not None]
        pauses = [] if longest is None else [longest]
        if deadlines:
            pauses.append(max(0.0, min(deadlines) - time.monotonic()))
        pause = min(pauses, default=None)
        ready = {fd for fd, _ in poll.poll(None if pause is None else pause * 1000 + 1)}
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)
        return ready - {self._wake_read}

    def _reap(self) -> None:
        """Takes in every child that has ended: ranks, and orphans, as PID 1 has to."""
        exits: dict[int, int] = {}
        while True:
            try:
                # Looked at before it is reaped: until then nobody else can get its group's number.
                seen = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if seen is None:
                break
            if any(seen.si_pid in share.pids for share in self._shares):
                kill_group(seen.si_pid)
            _, status = os.waitpid(seen.si_pid, 0)
            exits[seen.si_pid] = os.waitstatus_to_exitcode(status)
        for share in self._shares:
            if mine := {pid: exits[pid] for pid in share.pids & exits.keys()}:
                share.ended(mine)

    def _sweep(self, names: Sequence[str]) -> None:
        """Ends orphans of these shares: daemons that left their rank's group."""
        ranks = {pid for share in self._shares for pid in share.pids}
        end_children(spare=ranks, shares=names if ranks else None)


def main() -> int:
    """`python -m pipeline.node.agent JOB_FILE NODE ADDRESS PORT`: one node of an attempt, as PID 1.

    Rank 0's node is at ADDRESS. What it serves over HTTP stands in the environment: see
    `pipeline.node.exposition`. OPENBLAS_NUM_THREADS=1 belongs into the environment: workers are
    forks, and a thread of numpy's BLAS does not survive one.
    """
    # Deferred: on one machine an agent serves nothing, and this would double what it imports.
    from pipeline.node.exposition import AgentPages, ExpositionSettings  # noqa: PLC0415

    job_file, node, address, port = sys.argv[1:]
    job = Job.model_validate_json(Path(job_file).read_bytes())
    settings = ExpositionSettings.from_environment(os.environ)
    pages = None if settings.port is None else AgentPages(job, settings)
    agent = Agent()
    agent.begin(NodeOrder(job, int(node), Meeting(address, int(port))))
    while not (ended := agent.take_ended()):
        agent.turn([] if pages is None else [pages.server.fileno()])
        if pages is not None:
            pages.server.serve()
    if pages is not None:
        pages.linger(lambda: agent.is_stopping)
        pages.close()
    ((_, end),) = ended
    if end.cause:
        sys.stderr.write(f"{end.cause}\n")
    return end.exit_code


if __name__ == "__main__":
    sys.exit(main())
