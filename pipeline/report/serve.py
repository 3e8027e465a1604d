"""The page of a run that goes on: a small server for the browsers of this machine."""

import json
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from typing_extensions import override

from pipeline.errors import PipelineError, UserError
from pipeline.report.page import Page, Report
from pipeline.report.sections import text_digest

_HOST = "127.0.0.1"
_FRESH_SECONDS = 1.0
"""A page younger than this is not made again, whoever asks."""
_REST = 4.0
"""Nor one younger than so many times what making it took: a large run keeps its processors."""
_TIMEOUT_SECONDS = 30.0


def serve_report(report: Report, port: int, *, announce: Callable[[str], None]) -> None:
    """Serves until the process is told to end.

    Args:
        report: makes the page.
        port: 0 takes a free one.
        announce: is told the address once it answers.

    Raises:
        UserError: the port is taken.
        StoreError: the run cannot be read now; later that is only told to who asks.
    """
    source = _Source(report)
    source.page()
    try:
        server = _Server((_HOST, port), source)
    except OSError as exc:
        msg = f"port {port} on {_HOST}: {exc.strerror}; name another with --port"
        raise UserError(msg) from exc
    with server:
        announce(f"http://{_HOST}:{server.server_port}/")
        server.serve_forever()


class _Source:
    """The newest page; made when someone asks, by one thread at a time."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._page: Page | None = None
        self._fresh_until = 0.0

    def page(self) -> Page:
        with self._lock:
            begin = time.monotonic()
            is_old = begin >= self._fresh_until and (self._page is None or self._page.is_running)
            if self._page is None or is_old:
                self._page = self._report.page(is_live=True)
                end = time.monotonic()
                self._fresh_until = end + max(_FRESH_SECONDS, _REST * (end - begin))
            return self._page


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], source: _Source) -> None:
        super().__init__(address, _Handler)
        self.source = source

    @override
    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that went away in the middle of an answer is no news."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    """`/` is the page, `/state` what there is by digest, `/part/NAME` one part of it."""

    server: _Server
    timeout = _TIMEOUT_SECONDS
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answers; only to whom asked for this machine by name, so no foreign page reads along."""
        if not self._asked_for_us():
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", "ask for 127.0.0.1 or localhost\n")
            return
        try:
            page = self.server.source.page()
        except PipelineError as exc:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", f"{exc}\n")
            return
        path = unquote(self.path.partition("?")[0])
        texts = {part.name: str(part.html) for part in page.parts} | {"curve-data": page.curves}
        if path == "/":
            self._answer(HTTPStatus.OK, "text/html", page.html)
        elif path == "/state":
            state = {
                "running": page.is_running,
                "parts": {k: text_digest(v) for k, v in texts.items()},
            }
            self._answer(HTTPStatus.OK, "application/json", json.dumps(state))
        elif path.removeprefix("/part/") in texts:
            self._answer(HTTPStatus.OK, "text/plain", texts[path.removeprefix("/part/")])
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "no such part\n")

    def _asked_for_us(self) -> bool:
        name = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        return name in (_HOST, "localhost")

    def _answer(self, status: HTTPStatus, kind: str, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(data)

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: a line a request would bury the address."""
