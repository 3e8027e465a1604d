"""A few small pages over HTTP for scrapers and probes, served without a thread and without waiting.

Nothing a client does holds up who serves: it may send a byte a minute, or never read what it asked
for. Only GET, one request a connection, nothing is read from the request but path and Accept.
"""

import logging
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_log = logging.getLogger(__name__)

_LONGEST_REQUEST = 8 * 1024
_MOST_CLIENTS = 32
_PATIENCE_SECONDS = 30.0
"""How long a client may take; looked at when another one comes."""


@dataclass(frozen=True)
class Page:
    """What a path answers."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: str = "200 OK"


Handler = Callable[[str], Page]
"""Takes the request's Accept header, "" without one."""


@dataclass
class _Client:
    connection: socket.socket
    since: float = field(default_factory=time.monotonic)
    received: bytes = b""
    answer: memoryview | None = None


class PageServer:
    """Serves the pages when told to; used from one thread at a time.

    Its `fileno` is readable when `serve` has something to do, so it fits into any poll loop.
    """

    def __init__(self, pages: Mapping[str, Handler], *, host: str = "", port: int = 0) -> None:
        """Listens at once; port 0 takes a free one, host "" every address of the machine.

        Raises:
            OSError: the port is taken, or not ours to take.
        """
        self._pages = dict(pages)
        self._selector = selectors.DefaultSelector()
        self._clients: dict[int, _Client] = {}
        self._listener = _listener(host, port)
        self._listener.settimeout(0)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self.num_served = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for an answer."""
        return not self._clients

    def fileno(self) -> int:
        """For a poll loop: readable when a client comes, sends, or can take more."""
        descriptor: int = self._selector.fileno()
        return descriptor

    def serve(self, timeout_seconds: float = 0.0) -> None:
        """Does what can be done now; waits for the first thing to do as long as `timeout_seconds`.

        A page whose handler raises is answered with 500, and the error is in the log.
        """
        for key, _ in self._selector.select(timeout_seconds):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fd in self._clients:
                self._advance(self._clients[key.fd])

    def close(self) -> None:
        """Hangs up on everybody."""
        for client in tuple(self._clients.values()):
            self._drop(client)
        self._selector.close()
        self._listener.close()

    def close_in_child(self) -> None:
        """In a fork: lets go of the sockets and leaves the parent's connections alone."""
        self._selector.close()
        self._listener.close()
        for client in self._clients.values():
            client.connection.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it hung up again, or no descriptor is left for it
            return
        connection.settimeout(0)
        now = time.monotonic()
        for client in tuple(self._clients.values()):  # the oldest first
            if now - client.since > _PATIENCE_SECONDS or len(self._clients) >= _MOST_CLIENTS:
                self._drop(client)
        self._clients[connection.fileno()] = _Client(connection)
        self._selector.register(connection, selectors.EVENT_READ)

    def _advance(self, client: _Client) -> None:
        try:
            if client.answer is None:
                self._read(client)
            else:
                self._write(client, client.answer)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)

    def _read(self, client: _Client) -> None:
        data = client.connection.recv(_LONGEST_REQUEST)
        client.received += data
        if b"\r\n\r\n" in client.received:
            page = self._answer(client.received.partition(b"\r\n\r\n")[0])
        elif not data or len(client.received) > _LONGEST_REQUEST:
            self._drop(client)
            return
        else:
            return
        head = (
            f"HTTP/1.1 {page.status}\r\nContent-Type: {page.content_type}\r\n"
            f"Content-Length: {len(page.body)}\r\nConnection: close\r\n\r\n"
        )
        client.answer = memoryview(head.encode("latin-1") + page.body)
        self._selector.modify(client.connection, selectors.EVENT_WRITE)
        self._write(client, client.answer)

    def _write(self, client: _Client, answer: memoryview) -> None:
        client.answer = answer[client.connection.send(answer) :]
        if not client.answer:
            self.num_served += 1
            self._drop(client)

    def _answer(self, head: bytes) -> Page:
        request, *lines = head.decode("latin-1").split("\r\n")
        words = request.split(" ")
        if len(words) != 3 or words[0] != "GET":
            return Page(b"only GET\n", status="405 Method Not Allowed")
        handler = self._pages.get(words[1].partition("?")[0])
        if handler is None:
            return Page(f"{' '.join(sorted(self._pages))}\n".encode(), status="404 Not Found")
        fields = (line.partition(":") for line in lines)
        accept = {name.strip().lower(): value.strip() for name, _, value in fields}.get("accept")
        try:
            return handler(accept or "")
        except Exception:  # noqa: BLE001 - whoever serves has more to do than this page
            _log.exception("the page %s failed", words[1])
            return Page(b"see the log\n", status="500 Internal Server Error")

    def _drop(self, client: _Client) -> None:
        del self._clients[client.connection.fileno()]
        self._selector.unregister(client.connection)
        client.connection.close()


def _listener(host: str, port: int) -> socket.socket:
    # Some clusters know nothing but IPv6, others nothing of it.
    if not host and socket.has_dualstack_ipv6():
        return socket.create_server(
            (host, port),
            family=socket.AF_INET6,
            dualstack_ipv6=True,
            backlog=_MOST_CLIENTS,
        )
    return socket.create_server((host, port), backlog=_MOST_CLIENTS)
