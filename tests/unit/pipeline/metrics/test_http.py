"""Pages are served to those who ask well, and nobody else holds up who serves."""

import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from pipeline.metrics.http import Page, PageServer

BIG = b"x" * 8_000_000
"""More than any socket's buffer takes."""


@contextmanager
def _serving() -> Iterator[PageServer]:
    """A server in a poll loop of its own, as an agent is one."""
    pages = {"/small": lambda accept: Page(accept.encode()), "/big": lambda _: Page(BIG)}
    server = PageServer(pages, host="127.0.0.1")
    over = threading.Event()

    def loop() -> None:
        while not over.is_set():
            server.serve(0.05)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield server
    finally:
        over.set()
        thread.join()
        server.close()


def _get(server: PageServer, path: str) -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}")
    request.add_header("Accept", "a/b;q=0.5")
    with urllib.request.urlopen(request, timeout=10) as answer:
        body: bytes = answer.read()
    return body


def _ask(server: PageServer, text: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    client.sendall(text)
    return client


def test_page_server_gives_pages_and_their_accept_header() -> None:
    with _serving() as server:
        assert _get(server, "/small?x=1") == b"a/b;q=0.5"
        assert _get(server, "/big") == BIG


def test_page_server_of_an_unknown_path_names_those_there_are() -> None:
    with _serving() as server, pytest.raises(urllib.error.HTTPError, match="404") as failure:
        _get(server, "/other")
    with failure.value:
        assert failure.value.read() == b"/big /small\n"


@pytest.mark.parametrize("text", [b"POST /small HTTP/1.1\r\n\r\n", b"\x16\x03\x01\r\n\r\n"])
def test_page_server_refuses_what_is_no_get(text: bytes) -> None:
    with _serving() as server, _ask(server, text) as client:
        assert client.recv(100).startswith(b"HTTP/1.1 405 ")


def test_page_server_hangs_up_on_an_endless_request() -> None:
    request = b"GET /small HTTP/1.1\r\n" + b"a" * 9000
    with (
        _serving() as server,
        _ask(server, request) as client,
        suppress(ConnectionResetError),  # it hung up with our bytes unread: as good
    ):
        assert client.recv(100) == b""


def test_page_server_with_clients_that_never_read_serves_the_next_at_once() -> None:
    with _serving() as server:
        stuck = [_ask(server, b"GET /big HTTP/1.1\r\n\r\n") for _ in range(40)]
        stuck += [_ask(server, b"GET /sm") for _ in range(5)]
        begin = time.monotonic()
        assert _get(server, "/small") == b"a/b;q=0.5"
        assert time.monotonic() - begin < 2
        for client in stuck:
            client.close()


def test_page_server_serve_without_clients_returns_at_once() -> None:
    server = PageServer({}, host="127.0.0.1")
    begin = time.monotonic()
    server.serve()
    assert time.monotonic() - begin < 0.1
    assert server.is_idle
    server.close()
