"""An agent that serves `pipeline.executors.local`: everything a worker needs is imported once.

A worker is a fork and costs milliseconds where a new interpreter costs half a second. This process
never imports torch and never starts a thread: neither survives a fork. It is told over a socket, in
lines of JSON:

    {"start": id, "node": n, "job": {...}, "address": a, "port": p, "devices": d}
    {"signal": id, "what": "stop" | "peer failed" | "kill"}
    and back, once all ranks have ended and nothing they started is left:
    {"ended": id, "exit": {a NodeExit}}
"""

import gc
import json
import socket
import sys
from dataclasses import asdict
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.cache import Artifacts
from pipeline.node.agent import Agent
from pipeline.node.rendezvous import Meeting
from pipeline.node.share import NodeOrder, NodeShare
from pipeline.spec.builtins import CHECK, COMMAND, IMPORT
from pipeline.spec.job import Job
from pipeline.spec.kinds import kind_names, load_entry
from pipeline.spec.ports import FOLDER
from pipeline.storage import Store

_SIGNALS = {"stop": NodeShare.stop, "peer failed": NodeShare.peer_failed, "kill": NodeShare.kill}


def serve(control: socket.socket, runner_lifeline: int) -> None:
    """Runs attempts until the executor is gone, then ends all that still runs."""
    agent = Agent([runner_lifeline], [control.fileno()])
    received = b""
    try:
        while True:
            ready = agent.turn([control.fileno()])
            if runner_lifeline in ready:
                return
            if control.fileno() in ready:
                data = control.recv(1 << 16)
                if not data:
                    return
                *lines, received = (received + data).split(b"\n")
                for line in lines:
                    _obey(agent, json.loads(line))
            for order, end in agent.take_ended():
                answer = {"ended": order.job.attempt_id, "exit": asdict(end)}
                control.sendall(json.dumps(answer).encode() + b"\n")
    except (BrokenPipeError, ConnectionResetError):
        return
    finally:
        agent.close()


def _obey(agent: Agent, message: dict[str, Any]) -> None:
    if "start" in message:
        agent.begin(
            NodeOrder(
                job=Job.model_validate(message["job"]),
                node=message["node"],
                meeting=Meeting(message["address"], message["port"]),
                devices=message["devices"],
            )
        )
        return
    for share in agent.shares:
        if share.order.job.attempt_id == message["signal"]:
            _SIGNALS[message["what"]](share)


def _preload() -> None:
    """What every fork would do again: the built-in kinds, the list of the installed ones."""
    for spec in (COMMAND, IMPORT, CHECK):
        load_entry(spec, spec.name)
    kind_names()
    _rehearse()
    # Frozen objects are left alone by the collector, which would unshare their pages.
    gc.collect()
    gc.freeze()


def _rehearse() -> None:
    """Commits a file to a store of its own: what libraries build on first use is then inherited."""
    with TemporaryDirectory() as folder:
        artifacts = Artifacts(Store(folder))
        staged = artifacts.staging("rehearsal", "0", "out")
        (staged / "file").touch()
        artifacts.write_part("rehearsal", "0", {"out": FOLDER})
        digests = artifacts.commit("rehearsal", "0", {"out": FOLDER}, lease_token="")
        artifacts.open(digests["out"])


def main() -> None:
    """`python -m pipeline.node.server CONTROL_FD LIFELINE_FD`."""
    control, lifeline = (int(argument) for argument in sys.argv[1:])
    _preload()
    serve(socket.socket(fileno=control), lifeline)


if __name__ == "__main__":
    main()
