"""The runner's end of the fork server: starts it, talks to it, and outlives it."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InfrastructureError

_MODULE = "pipeline.node.forkserver"
_END_SECONDS = 10.0


@dataclass(frozen=True)
class AgentEnd:
    """An agent that has ended with all it started; `status` is negative for a signal."""

    attempt_id: str
    node: int
    status: int
    time: float


class ForkServerClient:
    """One fork server process; its death shows as the end of `receive`."""

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
            msg = f"the fork server could not be started: {exc}"
            raise InfrastructureError(msg) from exc
        finally:
            theirs.close()
            os.close(lifeline)
        self._received = b""

    @property
    def pid(self) -> int:
        """Of the fork server."""
        return self._process.pid

    def fileno(self) -> int:
        """Readable when `receive` has something, or the server is gone."""
        return self._control.fileno()

    def start(self, attempt_id: str, node: int, **order: str | int | None) -> None:
        """Starts an agent; see `pipeline.node.forkserver` for the order.

        Raises:
            InfrastructureError: the server is gone.
        """
        self._send({"start": attempt_id, "node": node, **order})

    def signal(self, attempt_id: str, node: int, number: signal.Signals) -> None:
        """Sends a signal to an agent; one that has ended gets none.

        Raises:
            InfrastructureError: the server is gone.
        """
        self._send({"signal": attempt_id, "node": node, "number": int(number)})

    def receive(self) -> Iterator[AgentEnd] | None:
        """Ends that have been told since; None when the server is gone."""
        try:
            data = self._control.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        if not data:
            return None
        *lines, self._received = (self._received + data).split(b"\n")
        return (_parse(json.loads(line)) for line in lines)

    def close(self) -> int:
        """Ends the server and everything below it; returns how it ended, negative for a signal."""
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
            msg = f"the fork server is gone: {exc}"
            raise InfrastructureError(msg) from exc


def _parse(message: dict[str, Any]) -> AgentEnd:
    return AgentEnd(message["ended"], message["node"], message["status"], message["time"])
