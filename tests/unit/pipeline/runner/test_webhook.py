"""The webhook against a real receiver that misbehaves."""

import hashlib
import hmac
import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from typing_extensions import override

from pipeline.errors import UserError
from pipeline.runner.webhook import Target, Webhook
from tests.runner.lab import Lab, Toy

SECRET = "s3cr3t"


class Receiver(ThreadingHTTPServer):
    """Answers with the next of `answers`, then 200; keeps what it took."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[int] = []
        self.taken: list[dict[str, Any]] = []
        self.signatures: list[bool] = []
        self.num_requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook?token={SECRET}"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.num_requests += 1
        status = self.server.answers.pop(0) if self.server.answers else 200
        if status == 200:
            self.server.taken.append(json.loads(body))
            digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
            self.server.signatures.append(
                self.headers["X-Pipeline-Signature"] == f"sha256={digest}"
            )
        if status == 0:
            time.sleep(5)
        self.send_response(status or 200)
        if status == 302:
            self.send_header("Location", self.server.url)
        self.end_headers()

    @override
    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _run(lab: Lab, receiver: Receiver, ends: dict[str, list[int]] | None = None) -> Webhook:
    hook = Webhook(Target(receiver.url, SECRET), pauses=(0.01, 0.01))
    plan = lab.plan({"raw": Toy("hello"), "next": Toy("you", ("raw",))})
    lab.run(plan, executor=lab.executor(ends or {}), listener=hook)
    hook.close()
    return hook


def _states(receiver: Receiver) -> list[tuple[str, str]]:
    return [(one.get("stage", ""), one["state"]) for one in receiver.taken]


def test_webhook_tells_every_change_of_state_in_order_and_signed(
    lab: Lab, receiver: Receiver
) -> None:
    hook = _run(lab, receiver)
    assert _states(receiver) == [
        ("", "running"),
        ("raw", "running"),
        ("raw", "done"),
        ("next", "running"),
        ("next", "done"),
        ("", "succeeded"),
    ]
    assert all(receiver.signatures)
    assert hook.deliveries == {"delivered": 6, "dropped": 0}
    change = receiver.taken[2]
    assert (change["event"], change["previous"], change["attempt"]) == ("stage_state", "running", 1)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_webhook_tries_again_what_was_not_taken(lab: Lab, receiver: Receiver, status: int) -> None:
    receiver.answers = [status, status]
    hook = _run(lab, receiver)
    assert _states(receiver)[0] == ("", "running")
    assert hook.deliveries == {"delivered": 6, "dropped": 0}
    assert receiver.num_requests == 8


@pytest.mark.parametrize("status", [302, 404])
def test_webhook_that_is_refused_goes_on_and_names_no_secret(
    lab: Lab, receiver: Receiver, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [status]
    with caplog.at_level(logging.DEBUG):
        hook = _run(lab, receiver)
    assert hook.deliveries == {"delivered": 5, "dropped": 1}
    assert receiver.num_requests == 6
    assert f"HTTP {status}" in caplog.text
    assert SECRET not in caplog.text
    assert SECRET not in repr(Target(receiver.url, SECRET))


def test_webhook_that_nobody_hears_does_not_hold_up_the_run(lab: Lab) -> None:
    hook = Webhook(Target("http://127.0.0.1:9/hook"), pauses=(60.0,))
    begin = time.monotonic()
    outcome = lab.run(lab.plan({"raw": Toy("hello")}), lab.executor(), listener=hook)
    assert outcome.error is None
    hook.close(timeout_seconds=0.2)
    assert time.monotonic() - begin < 10


def test_webhook_of_a_run_leaves_nothing_of_it_in_the_store(lab: Lab, receiver: Receiver) -> None:
    _run(lab, receiver)
    for path in lab.folder.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()


@pytest.mark.parametrize("url", ["ftp://x/s3cr3t", "s3cr3t", "http://"])
def test_webhook_target_that_is_no_web_address_is_refused_unnamed(url: str) -> None:
    with pytest.raises(UserError) as refusal:
        Target(url)
    assert SECRET not in str(refusal.value)
