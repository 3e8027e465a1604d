"""How a run is asked to stop: by signal, or through the store from anywhere."""

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.errors import StoreError
from pipeline.storage import Store

_log = logging.getLogger(__name__)

_SAME_REQUEST_SECONDS = {signal.SIGINT: 1.0, signal.SIGTERM: 2.0, signal.SIGHUP: 2.0}
"""A signal so soon after the last request is the same one again: `timeout` and `make` pass on what
their whole group got already, and a person who means it again is slower."""
_POLL_SECONDS = 1.0
_REMOTE_POLL_SECONDS = 5.0
"""Pauses between looks at the store; on an object store each look is a paid request."""


class Cancellation:
    """Counts the requests: the first asks for a checkpoint and an end, the second ends at once.

    Attributes:
        is_left: the runner alone shall end; what outlives it goes on.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.is_left = False

    def request(self, *, now: bool = False) -> None:
        """Asks once more; safe in a signal handler and from another thread."""
        self.requests = 2 if now else self.requests + 1


@contextmanager
def cancel_on_signals(
    *, outliving: bool = False, clock: Callable[[], float] = time.monotonic
) -> Iterator[Cancellation]:
    """SIGINT, SIGTERM and a closed terminal become requests for the block. In the main thread.

    `outliving`: stages go on without a runner, so only Ctrl-C is meant for them; SIGTERM (a drained
    node) and a closed terminal are for the runner.
    """
    cancellation = Cancellation()
    last = float("-inf")

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal last
        if outliving and number != signal.SIGINT:
            cancellation.is_left = True
        elif (now := clock()) - last >= _SAME_REQUEST_SECONDS[signal.Signals(number)]:
            last = now
            cancellation.request()

    before = {number: signal.signal(number, handle) for number in _SAME_REQUEST_SECONDS}
    try:
        yield cancellation
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def request_cancel(store: Store, run: str, *, now: bool) -> None:
    """Asks the runner of a run, wherever it is, to stop; it looks every few seconds."""
    store.write(_key(run), _NOW if now else _GENTLY)


class StopRequests:
    """The requests of one session, from the signal handler and from the store."""

    def __init__(self, cancellation: Cancellation, store: Store, run: str) -> None:
        """Forgets what was asked of an earlier session of the run."""
        self._cancellation = cancellation
        self._store = store
        self._key = _key(run)
        self._pause = _POLL_SECONDS if store.local_path() is not None else _REMOTE_POLL_SECONDS
        self._next_look = 0.0
        self._asked_in_store = 0
        self.heeded = 0
        store.remove(self._key)

    def pending(self) -> int:
        """1 when asked to save and stop, 2 when asked to stop at once, 0 when nothing is new."""
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + self._pause
            self._look()
        asked = min(max(self._cancellation.requests, self._asked_in_store), 2)
        if asked <= self.heeded:
            return 0
        self.heeded = asked
        return asked

    @property
    def is_left(self) -> bool:
        """Whether the runner alone shall end."""
        return self._cancellation.is_left

    @property
    def is_urgent(self) -> bool:
        """Whether the user asked twice."""
        return self._cancellation.requests > 1

    def _look(self) -> None:
        try:
            content = self._store.read(self._key)
        except KeyError:
            return
        except StoreError as exc:
            # What runs may run for days yet; the store counts when there is something to write.
            _log.warning("cannot see whether the run shall stop: %s", exc)
            return
        self._asked_in_store = 2 if content == _NOW else 1


_NOW, _GENTLY = b"now\n", b"save and stop\n"


def _key(run: str) -> str:
    return f"runs/{run}/cancel"
