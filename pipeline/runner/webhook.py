"""Tells a URL when the run or a stage changes its state: one JSON POST each, in order, retried.

It goes out from a thread of its own; a receiver that hangs costs the run nothing. The URL may hold
a token and the secret signs what is sent, so neither is in any message, log or record of the run.
"""

import hashlib
import hmac
import json
import logging
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from typing import IO, Any
from urllib.parse import urlsplit

from typing_extensions import override

from pipeline.errors import UserError
from pipeline.runner import events as ev
from pipeline.runner.events import Entry
from pipeline.runner.state import RunState

_log = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 10.0
_PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each further try."""
_MOST_WAITING = 1000
_RETRIED_STATUSES = (408, 425, 429)


@dataclass(frozen=True)
class Target:
    """Where messages go, and what signs them; None leaves the signature out."""

    url: str
    secret: str | None = None

    def __post_init__(self) -> None:
        """Refuses what is no web address.

        Raises:
            UserError: naming no part of the URL, which may be a secret.
        """
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            msg = "the webhook is no http:// or https:// URL"
            raise UserError(msg)

    @property
    def host(self) -> str:
        """What a message may name of it."""
        return urlsplit(self.url).hostname or ""

    @override
    def __repr__(self) -> str:
        return f"Target({self.host})"


class Webhook:
    """A listener that sends every change of state."""

    def __init__(self, target: Target, *, pauses: tuple[float, ...] = _PAUSES) -> None:
        """Sends nothing yet.

        Args:
            target: where to.
            pauses: seconds before each further try of a message.
        """
        self._target = target
        self._pauses = pauses
        self._known: dict[str, str] = {}
        self._waiting: queue.Queue[tuple[str, bytes] | None] = queue.Queue(_MOST_WAITING)
        self._counts = {"delivered": 0, "dropped": 0}
        self._hurry = threading.Event()
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._thread = threading.Thread(target=self._send_all, name="webhook", daemon=True)
        self._thread.start()

    @property
    def deliveries(self) -> Mapping[str, int]:
        """Result ("delivered", "dropped") -> messages."""
        return self._counts

    def event(self, entry: Entry, state: RunState) -> None:
        """Sends what the event changed."""
        if isinstance(entry.event, ev.RunStarted | ev.RunEnded):
            self._put(entry, state, {"state": str(state.status), "cause": state.cause})
        for address in _touched(entry.event):
            stage = state.stages.get(address)
            if stage is None or self._known.get(address) == stage.status:
                continue
            change = {
                "stage": address,
                "state": str(stage.status),
                "previous": self._known.get(address, ""),
                "attempt": len(stage.attempts),
                "cause": stage.note,
            }
            self._known[address] = stage.status
            self._put(entry, state, change)
        if isinstance(entry.event, ev.StagesPlanned):
            # What a plan says is no change: it would be a message a stage before anything ran.
            self._known = {address: str(one.status) for address, one in state.stages.items()}

    def tick(self, state: RunState) -> None:
        """Nothing."""

    def close(self, timeout_seconds: float = 20.0) -> None:
        """Waits for what is under way, no longer than this; what is left is dropped."""
        deadline = time.monotonic() + timeout_seconds
        with suppress(queue.Full):
            self._waiting.put(None, timeout=timeout_seconds)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        self._hurry.set()
        if self._counts["dropped"] or self._thread.is_alive():
            left = self._waiting.qsize()
            _log.warning(
                "the webhook at %s missed %d changes of state",
                self._target.host,
                self._counts["dropped"] + left,
            )

    def _put(self, entry: Entry, state: RunState, change: Mapping[str, object]) -> None:
        message = {
            "event": "stage_state" if "stage" in change else "run_state",
            "pipeline": state.dag,
            "run": state.run,
            "time": entry.time,
            **change,
        }
        name = f"{state.run}/{entry.number}/{change.get('stage', '')}"
        try:
            self._waiting.put_nowait((name, json.dumps(message).encode()))
        except queue.Full:
            self._counts["dropped"] += 1

    def _send_all(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            result = "delivered" if self._deliver(*waiting) else "dropped"
            self._counts[result] += 1

    def _deliver(self, name: str, body: bytes) -> bool:
        """Whether it arrived, with all the tries it has."""
        for pause in (*self._pauses, None):
            try:
                self._send(name, body)
            except urllib.error.HTTPError as exc:
                exc.close()
                why = f"HTTP {exc.code}"
                if exc.code < 500 and exc.code not in _RETRIED_STATUSES:
                    pause = None  # noqa: PLW2901 - it would say so again
            except (OSError, HTTPException, ValueError) as exc:
                # Not the message: it may quote the URL.
                why = type(exc).__name__
            else:
                return True
            if pause is None or self._hurry.wait(pause):
                _log.warning("the webhook at %s did not take a message: %s", self._target.host, why)
                return False
        return False

    def _send(self, name: str, body: bytes) -> None:
        headers = {"Content-Type": "application/json", "X-Pipeline-Delivery": name}
        if self._target.secret is not None:
            digest = hmac.new(self._target.secret.encode(), body, hashlib.sha256).hexdigest()
            headers["X-Pipeline-Signature"] = f"sha256={digest}"
        request = urllib.request.Request(self._target.url, data=body, headers=headers)
        with self._opener.open(request, timeout=_TIMEOUT_SECONDS):
            return


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """What is signed for one place is not sent to another; a redirected POST would be a GET."""

    @override
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> None:
        return None


def _touched(event: Any) -> list[str]:
    if isinstance(event, ev.CellsProposed):
        return [event.stage]
    address = getattr(event, "stage", None)
    return [] if address is None else [address]
