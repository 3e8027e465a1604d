"""The fork server: everything a worker needs is imported once, then each agent is a fork of it.

A fork costs a millisecond where a new interpreter costs half a second. It never imports torch and
never starts a thread: neither survives a fork. Started by `pipeline.executors.local`, which talks
to it over a socket in lines of JSON:

    {"start": id, "node": n, "job": path, "address": a, "port": p, "devices": d}
    {"signal": id, "node": n, "number": s}
    and back, once an agent has ended and nothing it started is left:
    {"ended": id, "node": n, "status": what the process ended with, negative for a signal,
     "time": Unix time}
"""

import gc
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.node.agent import NodeOrder, run_agent
from pipeline.node.lifeline import Lifeline, adopt_orphans, end_children
from pipeline.node.rendezvous import Meeting
from pipeline.node.worker import fork, redirect_output
from pipeline.spec.attempt import AttemptFolder
from pipeline.spec.builtins import CHECK, COMMAND, IMPORT
from pipeline.spec.job import Job
from pipeline.spec.kinds import kind_names, load_entry


class ForkServer:
    """Serves one executor until that is gone."""

    def __init__(self, control: socket.socket, runner_lifeline: int) -> None:
        """Takes the socket to the executor and the read end of the runner's lifeline."""
        self._control = control
        self._runner_lifeline = runner_lifeline
        self._lifeline = Lifeline()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._agents: dict[int, tuple[str, int]] = {}  # pid -> (attempt id, node)
        self._received = b""

    def serve(self) -> None:
        """Starts agents and tells of their ends; returns when the executor has gone."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        adopt_orphans()
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        poll.register(self._runner_lifeline, select.POLLHUP)
        try:
            while True:
                ready = {fd for fd, _ in poll.poll()}
                if self._wake_read in ready:
                    os.read(self._wake_read, 4096)
                    self._reap()
                if self._control.fileno() in ready and not self._receive():
                    return
                if self._runner_lifeline in ready:
                    return
        except (BrokenPipeError, ConnectionResetError):
            return
        finally:
            end_children()

    def _receive(self) -> bool:
        data = self._control.recv(1 << 16)
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._obey(json.loads(line))
        return bool(data)

    def _obey(self, message: dict[str, Any]) -> None:
        if "start" in message:
            self._start(message)
            return
        wanted = (message["signal"], message["node"])
        for pid, name in self._agents.items():
            if name == wanted:
                os.kill(pid, message["number"])

    def _start(self, message: dict[str, Any]) -> None:
        def child() -> int:
            self._control.close()
            os.close(self._wake_read)
            os.close(self._wake_write)
            lifelines = [self._runner_lifeline, self._lifeline.leave_to_parent()]
            return _agent(message, lifelines)

        self._agents[fork(child)] = (message["start"], message["node"])

    def _reap(self) -> None:
        while self._agents:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            name = self._agents.pop(pid, None)
            if name is None:
                continue
            ended = time.time()
            # Before the end is told: the next attempt must not meet ranks of this one.
            end_children(spare=self._agents)
            answer = {
                "ended": name[0],
                "node": name[1],
                "status": os.waitstatus_to_exitcode(status),
                "time": ended,
            }
            self._control.sendall(json.dumps(answer).encode() + b"\n")


def _agent(message: dict[str, Any], lifelines: list[int]) -> int:
    path = Path(message["job"])
    redirect_output(AttemptFolder(path.parent).agent_log(message["node"]))
    order = NodeOrder(
        job=Job.model_validate_json(path.read_bytes()),
        node=message["node"],
        meeting=Meeting(message["address"], message["port"]),
        devices=message["devices"],
    )
    return run_agent(order, lifelines)


def main() -> None:
    """`python -m pipeline.node.forkserver CONTROL_FD LIFELINE_FD`."""
    control, lifeline = (int(argument) for argument in sys.argv[1:])
    _preload()
    ForkServer(socket.socket(fileno=control), lifeline).serve()


def _preload() -> None:
    """What every fork would do again: the built-in kinds, the list of the installed ones."""
    for spec in (COMMAND, IMPORT, CHECK):
        load_entry(spec, spec.name)
    kind_names()
    # Frozen objects are left alone by the collector, which would unshare their pages.
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    main()
