"""The runner's end of an agent on this machine: starts it, talks to it, and outlives it."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Literal

from pipeline.errors import InfrastructureError
from pipeline.spec.attempt import NodeExit
from pipeline.spec.job import Job

_MODULE = "pipeline.node.server"
_END_SECONDS = 10.0


class LocalNode:
    """One agent process; its death shows as the end of `receive`."""

    def __init__(self) -> None:
        """Starts the process and returns while it still imports.

        Raises:
            InfrastructureError: no process could be started.
        """
        self._control, theirs = socket.socketpair()
        # The write end is this process's alone and closes with it, by kill -9 too: see
        # pipeline.node.lifeline.
        lifeline, self._lifeline = os.pipe()
        environment = os.environ | {
            # A thread of numpy's BLAS would not survive the fork.
            "OPENBLAS_NUM_THREADS": "1",
            # Code that goes over a set of strings must give the same bytes in every process.
            "PYTHONHASHSEED": "0",
        }
        # -P: the working folder is not for import, a user's random.py would shadow the library's.
        command = [sys.executable, "-P", "-m", _MODULE, str(theirs.fileno()), str(lifeline)]
        try:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), lifeline),
                start_new_session=True,  # Ctrl-C is for the runner alone
            )
        except OSError as exc:
            os.close(self._lifeline)
            self._control.close()
            msg = f"no agent could be started: {exc}"
            raise InfrastructureError(msg) from exc
        finally:
            theirs.close()
            os.close(lifeline)
        self._received = b""

    def fileno(self) -> int:
        """Readable when `receive` has something, or the agent is gone."""
        return self._control.fileno()

    def start(self, job: Job, node: int, *, meeting: tuple[str, int], devices: str | None) -> None:
        """Starts the ranks of node `node` of an attempt; `meeting` is rank 0's address and port.

        Raises:
            InfrastructureError: the agent is gone.
        """
        address, port = meeting
        self._send(
            {
                "start": job.attempt_id,
                "node": node,
                "job": job.model_dump(mode="json"),
                "address": address,
                "port": port,
                "devices": devices,
            }
        )

    def signal(self, attempt_id: str, what: Literal["stop", "peer failed", "kill"]) -> None:
        """Signals the ranks of an attempt; one that has ended gets none.

        Raises:
            InfrastructureError: the agent is gone.
        """
        self._send({"signal": attempt_id, "what": what})

    def receive(self) -> Iterator[tuple[str, NodeExit]] | None:
        """Attempt ids and ends that have been told since; None when the agent is gone."""
        try:
            data = self._control.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        if not data:
            return None
        *lines, self._received = (self._received + data).split(b"\n")
        messages = [json.loads(line) for line in lines]
        return ((message["ended"], NodeExit(**message["exit"])) for message in messages)

    def close(self) -> int:
        """Ends the agent and everything below it; returns how it ended, negative for a signal."""
        self._control.close()
        try:
            return self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            os.close(self._lifeline)

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._control.sendall(json.dumps(message).encode() + b"\n")
        except OSError as exc:
            msg = f"an agent is gone: {exc}"
            raise InfrastructureError(msg) from exc
