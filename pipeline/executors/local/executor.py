"""Runs attempts as processes of this machine: one agent a node, one worker a rank."""

import select
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import InfrastructureError, WorkerExit
from pipeline.executors.base import AttemptEnd, Capacity
from pipeline.executors.local.forkserver import AgentEnd, ForkServerClient
from pipeline.executors.local.machine import gpu_names, machine_capacity, reserve_port
from pipeline.spec.attempt import AttemptFolder, NodeExit
from pipeline.spec.job import Job

_PEER_FAILED = signal.SIGUSR1  # as pipeline.node.agent takes it


@dataclass
class _Running:
    """An attempt that has not ended on all of its nodes."""

    job: Job
    port: socket.socket
    gpus: list[str]
    ends: dict[int, AgentEnd] = field(default_factory=dict)
    fate: str = ""  # why its agents cannot say themselves how they ended

    @property
    def open_nodes(self) -> list[int]:
        """Nodes whose agent still runs."""
        return [node for node in range(self.job.nodes) if node not in self.ends]


class LocalExecutor:
    """Implements `Executor`. The fork server starts with the first attempt, not before."""

    def __init__(self) -> None:
        self._capacity = machine_capacity()
        self._free_gpus = gpu_names()
        self._server: ForkServerClient | None = None
        self._running: dict[str, _Running] = {}
        self._told: list[AttemptEnd] = []

    @property
    def capacity(self) -> Capacity:
        """All that this process may use of the machine."""
        return self._capacity

    def submit(self, job: Job) -> None:
        """Starts the agents of an attempt; its job.json is in its folder.

        Raises:
            InfrastructureError: too few GPUs are free, or no process can be started.
        """
        wanted = job.nodes * job.gpus_per_node
        if wanted > len(self._free_gpus):
            msg = f"{job.stage} needs {wanted} GPUs; {len(self._free_gpus)} are free here"
            raise InfrastructureError(msg)
        try:
            port = reserve_port()
        except OSError as exc:
            msg = f"no port is free for the ranks of {job.stage}: {exc}"
            raise InfrastructureError(msg) from exc
        gpus, self._free_gpus = self._free_gpus[:wanted], self._free_gpus[wanted:]
        attempt = _Running(job, port, gpus)
        try:
            self._start(attempt)
        except InfrastructureError:  # the server was killed while nothing ran
            if self._server is not None:
                self._lose_server(self._server)
            self._start(attempt)
        self._running[job.attempt_id] = attempt

    def _start(self, attempt: _Running) -> None:
        if self._server is None:
            self._server = ForkServerClient()
        job = attempt.job
        address, number = attempt.port.getsockname()
        for node in range(job.nodes):
            first = node * job.gpus_per_node
            self._server.start(
                job.attempt_id,
                node,
                job=str(AttemptFolder(Path(job.folder)).job),
                address=address,
                port=number,
                devices=",".join(attempt.gpus[first : first + job.gpus_per_node]),
            )

    def wait(self, timeout_seconds: float) -> Sequence[AttemptEnd]:
        """Sleeps until an attempt has ended or the time is over."""
        deadline = time.monotonic() + timeout_seconds
        while not self._told:
            pause = max(0.0, deadline - time.monotonic())
            if self._server is None:
                time.sleep(pause)  # nothing runs; whoever asks wants the pause
                break
            if not select.select([self._server], [], [], pause)[0]:
                break
            self._receive(self._server)
        told, self._told = self._told, []
        return told

    def stop(self, attempt_id: str, *, now: bool) -> None:
        """Passes SIGTERM to the agents, or kills them; one that has ended is left alone."""
        attempt = self._running.get(attempt_id)
        if attempt is None:
            return
        if now:
            attempt.fate = "ended at once, as asked"
        self._signal(attempt, signal.SIGKILL if now else signal.SIGTERM)

    def close(self) -> None:
        """Kills what still runs and ends the fork server."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for attempt in self._running.values():
            attempt.port.close()
        self._running.clear()

    def _receive(self, server: ForkServerClient) -> None:
        ends = server.receive()
        if ends is None:
            self._lose_server(server)
            return
        for end in ends:
            attempt = self._running[end.attempt_id]
            attempt.ends[end.node] = end
            if not attempt.open_nodes:
                self._finish(attempt)
            elif end.status == WorkerExit.PREEMPTED:
                self._signal(attempt, signal.SIGTERM)  # the others have saved the same step
            elif end.status != 0:
                self._signal(attempt, _PEER_FAILED)

    def _signal(self, attempt: _Running, number: signal.Signals) -> None:
        for node in attempt.open_nodes:
            try:
                if self._server is not None:
                    self._server.signal(attempt.job.attempt_id, node, number)
            except InfrastructureError:
                return  # its death is received next, and ends the attempt

    def _lose_server(self, server: ForkServerClient) -> None:
        status = server.close()  # and with it all agents and workers, by their lifelines
        self._server = None
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit {status}"
        for attempt in list(self._running.values()):
            attempt.fate = attempt.fate or f"the fork server ended: {how}"
            for node in attempt.open_nodes:
                end = AgentEnd(attempt.job.attempt_id, node, -signal.SIGKILL, time.time())
                attempt.ends[node] = end
            self._finish(attempt)

    def _finish(self, attempt: _Running) -> None:
        del self._running[attempt.job.attempt_id]
        attempt.port.close()
        self._free_gpus += attempt.gpus
        failed = [self._node_exit(attempt, end) for end in attempt.ends.values() if end.status != 0]
        first = min(failed, key=lambda end: end.time, default=None)
        self._told.append(
            AttemptEnd(attempt.job.attempt_id, 0, None, "")
            if first is None
            else AttemptEnd(attempt.job.attempt_id, first.exit_code, first.rank, first.cause)
        )

    def _node_exit(self, attempt: _Running, end: AgentEnd) -> NodeExit:
        """What the agent left, or what is known of one that could leave nothing."""
        left = NodeExit.read(AttemptFolder(Path(attempt.job.folder)).node_exit(end.node))
        if left is not None and left.exit_code == end.status:
            return left
        if end.status > 0:
            log = AttemptFolder(Path(attempt.job.folder)).agent_log(end.node)
            cause = f"the agent of node {end.node} ended with exit code {end.status}; see {log}"
            return NodeExit(end.status, None, None, cause, [], end.time)
        name = signal.Signals(-end.status).name
        cause = attempt.fate or f"the agent of node {end.node} was killed by {name}"
        return NodeExit(128 - end.status, None, name, cause, [], end.time)
