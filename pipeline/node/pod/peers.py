"""The agents of a gang on their own line: who is there, who has failed, and how it all ended.

Node 0's agent is the hub. The others connect to its stable DNS name and say which start of the
gang they belong to; one of another start is turned away, so nobody meets the dead. Ranks start
when all are there. Whoever fails first decides for all: every pod ends with the same words, and
nobody hangs in a collective until a timeout. In lines of JSON:

    {"hello": node, "uid": u}                      to the hub
    {"ended": {a NodeExit}}                        to the hub, when a node's ranks have ended
    {"start": port}                                to all, with the port where ranks meet
    {"signal": "stop" | "peer failed"}             to nodes whose ranks still run
    {"verdict": {a NodeExit}}                      to all, when the gang has failed
    {"done": true}                                 to all, when node 0 has succeeded
"""

import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

from pipeline.errors import NEVER_RETRIED, WorkerExit
from pipeline.spec.attempt import NodeExit

Signal = Literal["stop", "peer failed"]

SETTLE_SECONDS = 3.0
"""The first to be heard of need not be the first that failed: others are waited for so long."""
LOST_SECONDS = 8.0
"""A pod that vanished is the cluster's to judge (killed for memory, node gone): it gets so long."""
_SEND_SECONDS = 5.0
_CONNECT_SECONDS = 2.0
_LONGEST_LINE = 256 * 1024
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 4))


class Line:
    """One connection between two agents."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""
        connection.settimeout(0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        # A rank must not hold a line that its agent has let go.
        os.register_at_fork(after_in_child=connection.close)

    @property
    def peer(self) -> str:
        """Address of the other end."""
        address: str = self._connection.getpeername()[0]
        return address

    def fileno(self) -> int:
        """Readable when `receive` has something."""
        return self._connection.fileno()

    def send(self, **message: Any) -> None:
        """Sends; a line that is gone is found out by who reads it."""
        try:
            self._connection.settimeout(_SEND_SECONDS)
            self._connection.sendall(json.dumps(message).encode() + b"\n")
            self._connection.settimeout(0)
        except OSError:
            return

    def receive(self) -> list[dict[str, Any]] | None:
        """What has come; None when the other end is gone or talks nonsense."""
        try:
            data = self._connection.recv(1 << 16)
        except BlockingIOError:
            return []
        except OSError:
            return None
        *lines, self._received = (self._received + data).split(b"\n")
        if not data or len(self._received) > _LONGEST_LINE:
            return None
        try:
            messages = [json.loads(line) for line in lines]
        except ValueError:
            return None
        return messages if all(isinstance(one, dict) for one in messages) else None

    def close(self) -> None:
        """Hangs up."""
        self._connection.close()


class Hub:
    """Node 0's end."""

    def __init__(self, nodes: int, uid: str, *, host: str, port: int) -> None:
        """Waits for the others from now on.

        Raises:
            OSError: the port is taken.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=nodes)
        self._listener.settimeout(0)
        os.register_at_fork(after_in_child=self._listener.close)
        self._nodes = nodes
        self._uid = uid
        self._strangers: list[Line] = []
        self._lines: dict[int, Line] = {}
        self._ends: dict[int, NodeExit] = {}
        self._signals: list[Signal] = []
        self._settle_at: float | None = None

    @property
    def absent(self) -> list[int]:
        """Nodes that have not come yet."""
        return [node for node in range(1, self._nodes) if node not in self._lines]

    def watched(self) -> list[int]:
        """File descriptors that are readable when `turn` has something to do."""
        lines = (*self._strangers, *self._lines.values())
        return [self._listener.fileno(), *(line.fileno() for line in lines)]

    def start(self, port: int) -> None:
        """Everyone is there: ranks meet at `port` of this host."""
        for line in self._lines.values():
            line.send(start=port)

    def turn(self) -> list[Signal]:
        """Hears the others; what this node's ranks are to be told."""
        self._accept()
        for line in tuple(self._strangers):
            self._greet(line)
        for node, line in tuple(self._lines.items()):
            messages = line.receive()
            for message in messages or ():
                if "ended" in message:
                    self._take_in(node, NodeExit(**message["ended"]))
            if messages is None:
                del self._lines[node]
                line.close()
                if node not in self._ends:
                    self._lose(node)
        signals, self._signals = self._signals, []
        return signals

    def ended(self, end: NodeExit) -> None:
        """This node's ranks have ended."""
        self._take_in(0, end)
        if end.exit_code == 0:
            for line in self._lines.values():
                line.send(done=True)

    def verdict(self) -> NodeExit | None:
        """How the gang ended, for all; None while that may change. Asked after `ended`."""
        if self._ends[0].exit_code == 0:
            return self._ends[0]
        if len(self._ends) < self._nodes and time.monotonic() < (self._settle_at or 0.0):
            return None
        first = decide(self._ends)
        for line in self._lines.values():
            line.send(verdict=asdict(first))
        return first

    def close(self) -> None:
        """Hangs up on everybody."""
        for line in (*self._strangers, *self._lines.values()):
            line.close()
        self._listener.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        self._strangers.append(Line(connection))

    def _greet(self, line: Line) -> None:
        messages = line.receive()
        if messages == []:
            return
        self._strangers.remove(line)
        hello = messages[0] if messages else {}
        node = hello.get("hello")
        is_ours = hello.get("uid") == self._uid
        if not (is_ours and isinstance(node, int) and 0 < node < self._nodes):
            line.close()  # of an earlier start of this gang, or none of ours
            return
        if node in self._lines:
            self._lines[node].close()
        self._lines[node] = line

    def _take_in(self, node: int, end: NodeExit) -> None:
        self._ends[node] = end
        if end.exit_code != 0:
            preempted = end.exit_code == WorkerExit.PREEMPTED
            self._alarm("stop" if preempted else "peer failed", SETTLE_SECONDS)

    def _lose(self, node: int) -> None:
        self._ends[node] = _gone(node)
        # Whatever the end counts as: without that node the others can save nothing together.
        self._alarm("peer failed", LOST_SECONDS)

    def _alarm(self, signal: Signal, settle_seconds: float) -> None:
        """Tells all nodes whose ranks still run."""
        if self._settle_at is None:
            self._settle_at = time.monotonic() + settle_seconds
        for other, line in self._lines.items():
            if other not in self._ends:
                line.send(signal=signal)
        if 0 not in self._ends:
            self._signals.append(signal)


class Spoke:
    """The end of any other node."""

    def __init__(self, node: int, uid: str, line: Line) -> None:
        """`line` leads to the hub."""
        self._node = node
        self._line = line
        self._end: NodeExit | None = None
        self._verdict: NodeExit | None = None
        self._is_done = False
        self._is_gone_since: float | None = None
        self._gone: NodeExit | None = None
        self.port: int | None = None
        line.send(hello=node, uid=uid)

    @property
    def is_gone(self) -> bool:
        """Whether the hub has hung up."""
        return self._is_gone_since is not None

    @property
    def hub_address(self) -> str:
        """Where ranks meet."""
        return self._line.peer

    def watched(self) -> list[int]:
        """As of the hub."""
        return [] if self.is_gone else [self._line.fileno()]

    def turn(self) -> list[Signal]:
        """Hears the hub; what this node's ranks are to be told."""
        if self.is_gone:
            return []
        signals: list[Signal] = []
        messages = self._line.receive()
        for message in messages or ():
            if "start" in message:
                self.port = int(message["start"])
            elif "signal" in message:
                signals.append(message["signal"])
            elif "verdict" in message:
                self._verdict = NodeExit(**message["verdict"])
            elif "done" in message:
                self._is_done = True
        if messages is None:
            self._is_gone_since, self._gone = time.monotonic(), _gone(0)
            if not self._is_done:
                signals.append("peer failed")
        return signals

    def ended(self, end: NodeExit) -> None:
        """This node's ranks have ended."""
        self._end = end
        self._line.send(ended=asdict(end))

    def verdict(self) -> NodeExit | None:
        """As of the hub: its word, or, when it is gone without one, that node 0 is lost."""
        assert self._end is not None  # asked after `ended`
        if self._verdict is not None:
            return self._verdict
        if self._end.exit_code == 0 or self._is_done:
            return self._end
        if self._gone is None or self._is_gone_since is None:
            return None
        if time.monotonic() < self._is_gone_since + LOST_SECONDS:
            return None
        return decide({0: self._gone, self._node: self._end})

    def close(self) -> None:
        """Hangs up."""
        self._line.close()


def connect(address: str, port: int) -> Line | None:
    """A line to the hub; None while its pod is not there yet. The name is looked up each time."""
    try:
        return Line(socket.create_connection((address, port), timeout=_CONNECT_SECONDS))
    except OSError:
        return None


def decide(ends: Mapping[int, NodeExit]) -> NodeExit:
    """Of several ends that are no success the one that caused the others.

    What is never retried comes first whatever the clocks of two machines say: it is nobody's
    consequence. Then whoever failed first.
    """
    failed = [end for end in ends.values() if end.exit_code != 0]
    return min(failed, key=lambda end: (end.exit_code not in NEVER_RETRIED, end.time))


def _gone(node: int) -> NodeExit:
    cause = f"the pod of node {node} is gone without a word"
    # Ranks that lost their peer fail before its line is seen to end: they are the consequence.
    when = time.time() - LOST_SECONDS
    return NodeExit(int(WorkerExit.PREEMPTED), None, None, cause, [], when, is_witness=True)
