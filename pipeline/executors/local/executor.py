"""Runs attempts as processes of this machine: one agent a node, one worker a rank."""

import select
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipeline.errors import InfrastructureError, WorkerExit
from pipeline.executors.base import AttemptEnd, Capacity
from pipeline.executors.local.machine import end_shares, gpu_names, machine_capacity, reserve_port
from pipeline.executors.local.node import LocalNode
from pipeline.spec.attempt import NodeExit, share_name
from pipeline.spec.job import Job


@dataclass
class _Running:
    """An attempt that has not ended on all of its nodes."""

    job: Job
    port: socket.socket
    gpus: list[str]
    ends: dict[int, NodeExit] = field(default_factory=dict)

    @property
    def open_nodes(self) -> list[int]:
        """Nodes whose ranks still run."""
        return [node for node in range(self.job.nodes) if node not in self.ends]


class LocalExecutor:
    """Implements `Executor`. An agent starts with the first attempt that needs it, not before.

    A machine has as many agents as the widest attempt has nodes, so `nodes: 2` is two of them.
    """

    def __init__(self) -> None:
        self._capacity = machine_capacity()
        self._free_gpus = gpu_names()
        self._nodes: dict[int, LocalNode] = {}
        self._running: dict[str, _Running] = {}
        self._told: list[AttemptEnd] = []

    @property
    def capacity(self) -> Capacity:
        """All that this process may use of the machine."""
        return self._capacity

    def submit(self, job: Job) -> None:
        """Starts an attempt on as many agents as it has nodes.

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
        attempt = _Running(job, port, self._free_gpus[:wanted])
        try:
            for node in range(job.nodes):
                self._start(attempt, node)
        except InfrastructureError:
            self._signal(attempt, "kill")
            port.close()
            raise
        del self._free_gpus[:wanted]
        self._running[job.attempt_id] = attempt

    def _start(self, attempt: _Running, node: int) -> None:
        if node in self._nodes:
            try:
                self._order(attempt, node)
            except InfrastructureError:
                self._lose_node(node)  # killed while nothing ran on it, or at this very moment
            else:
                return
        self._nodes[node] = LocalNode()
        self._order(attempt, node)

    def _order(self, attempt: _Running, node: int) -> None:
        first = node * attempt.job.gpus_per_node
        gpus = attempt.gpus[first : first + attempt.job.gpus_per_node]
        self._nodes[node].start(
            attempt.job, node, meeting=attempt.port.getsockname(), devices=",".join(gpus)
        )

    def wait(self, timeout_seconds: float) -> Sequence[AttemptEnd]:
        """Sleeps until an attempt has ended or the time is over."""
        deadline = time.monotonic() + timeout_seconds
        while not self._told:
            pause = max(0.0, deadline - time.monotonic())
            ready = set(select.select(list(self._nodes.values()), [], [], pause)[0])
            if not ready:
                break
            for node in [node for node, agent in self._nodes.items() if agent in ready]:
                self._receive(node)
        told, self._told = self._told, []
        return told

    def stop(self, attempt_id: str, *, now: bool) -> None:
        """Has the ranks asked to stop, or killed; an attempt that has ended is left alone."""
        if attempt_id in self._running:
            self._signal(self._running[attempt_id], "kill" if now else "stop")

    def close(self) -> None:
        """Kills what still runs and ends the agents."""
        for agent in self._nodes.values():
            agent.close()
        self._nodes.clear()
        for attempt in self._running.values():
            attempt.port.close()
        self._running.clear()

    def _receive(self, node: int) -> None:
        ends = self._nodes[node].receive()
        if ends is None:
            self._lose_node(node)
            return
        for attempt_id, end in ends:
            if attempt_id in self._running:
                self._end(self._running[attempt_id], node, end)

    def _end(self, attempt: _Running, node: int, end: NodeExit) -> None:
        attempt.ends[node] = end
        if not attempt.open_nodes:
            self._finish(attempt)
        elif end.exit_code == WorkerExit.PREEMPTED:
            self._signal(attempt, "stop")  # the others have saved the same step
        elif end.exit_code != 0:
            self._signal(attempt, "peer failed")

    def _signal(self, attempt: _Running, what: Literal["stop", "peer failed", "kill"]) -> None:
        for node in self._nodes.keys() & set(attempt.open_nodes):
            try:
                self._nodes[node].signal(attempt.job.attempt_id, what)
            except InfrastructureError:
                continue  # its death is received next, and ends its share

    def _lose_node(self, node: int) -> None:
        """An agent has died, and with it, by their lifelines, all its workers."""
        status = self._nodes.pop(node).close()
        name = signal.Signals(-status).name if status < 0 else None
        cause = f"the agent of node {node} ended: {name or f'exit code {status}'}"
        code = 128 + signal.SIGKILL
        lost = [attempt for attempt in self._running.values() if node in attempt.open_nodes]
        end_shares({share_name(attempt.job.attempt_id, node) for attempt in lost})
        for attempt in lost:
            self._end(attempt, node, NodeExit(code, None, name, cause, [], time.time()))

    def _finish(self, attempt: _Running) -> None:
        del self._running[attempt.job.attempt_id]
        attempt.port.close()
        self._free_gpus += attempt.gpus
        failed = [end for end in attempt.ends.values() if end.exit_code != 0]
        first = min(failed, key=lambda end: end.time, default=None)
        end = AttemptEnd(attempt.job.attempt_id, 0, None, "")
        if first is not None:
            end = AttemptEnd(attempt.job.attempt_id, first.exit_code, first.rank, first.cause)
        self._told.append(end)
