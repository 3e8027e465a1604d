"""One pod from its first line to its exit code: node N of a gang, one worker, or one process."""

import json
import logging
import os
import signal
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from pipeline.errors import InfrastructureError, UserError, WorkerError, WorkerExit, plain_text
from pipeline.node.agent import Agent
from pipeline.node.pod.attempt import PodAttempt
from pipeline.node.pod.place import Place
from pipeline.spec.attempt import NodeExit

_MOST_TERMINATION_BYTES = 4096
"""The kubelet keeps no more of a termination message."""
_log = logging.getLogger(__name__)


def main() -> int:
    """Runs what PIPELINE_ORDER says; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="[agent] %(message)s", stream=sys.stderr)
    agent = Agent()  # takes SIGTERM from now on, and the one held back since the first line
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    termination: Path | None = None
    try:
        place = Place.from_environment(os.environ)
        termination = place.termination
        end = PodAttempt(agent, place, os.environ).run()
    except Exception as exc:  # noqa: BLE001 - whatever it is, the cluster must learn of it
        end = _failed(exc)
        logging.exception("the agent failed") if end.exit_code == 1 else None
    finally:
        agent.close()
    if end.cause:
        _log.error("%s", end.cause)
    _tell_cluster(end, termination)
    return end.exit_code


def _failed(exc: Exception) -> NodeExit:
    """The end of an agent that could not do its work."""
    code = 1
    if isinstance(exc, WorkerError):
        code = int(exc.worker_exit)
    elif isinstance(exc, UserError):
        code = int(WorkerExit.CONFIG)
    elif isinstance(exc, InfrastructureError):
        code = int(WorkerExit.STORE)
    cause = plain_text(f"{type(exc).__name__}: {exc}")
    return NodeExit(code, None, None, cause, [], time.time())


def _tell_cluster(end: NodeExit, termination: Path | None) -> None:
    """Leaves the end where the cluster shows it; of a long log only the last lines fit."""
    if termination is None or end.exit_code == 0:
        return
    short = replace(end, cause=plain_text(end.cause, 1500))
    while len(text := json.dumps(asdict(short)).encode()) > _MOST_TERMINATION_BYTES:
        if not short.log_tail:
            return
        short = replace(short, log_tail=short.log_tail[1:])
    try:
        termination.write_bytes(text)
    except OSError as exc:
        _log.warning("the cluster is not told: %s", exc)
