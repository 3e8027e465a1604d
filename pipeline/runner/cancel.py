"""How a run is asked to stop: by signal, or through the store from anywhere."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.storage import Store


class Cancellation:
    """Counts the requests: the first asks for a checkpoint and an end, the second ends at once."""

    def __init__(self) -> None:
        self.requests = 0

    def request(self, *, now: bool = False) -> None:
        """Asks once more; safe in a signal handler and from another thread."""
        self.requests = 2 if now else self.requests + 1

    @property
    def now(self) -> bool:
        """Whether there is no time left for saving."""
        return self.requests >= 2


@contextmanager
def cancel_on_signals() -> Iterator[Cancellation]:
    """SIGINT and SIGTERM become requests while the block lasts. For the main thread."""
    cancellation = Cancellation()

    def handle(_signal: int, _frame: FrameType | None) -> None:
        cancellation.request()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield cancellation
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def cancel_key(run: str) -> str:
    """Where a request lies until the runner sees it."""
    return f"runs/{run}/cancel.json"


def request_cancel(store: Store, run: str, *, now: bool) -> None:
    """Asks the runner of this run, wherever it is, to stop; it looks about once a second."""
    store.write(cancel_key(run), b'{"now": true}' if now else b'{"now": false}')


def requested(store: Store, run: str) -> bool | None:
    """Whether a stop was asked for: None if not, else whether it shall be `now`."""
    key = cancel_key(run)
    return b"true" in store.read(key) if store.exists(key) else None


def clear_request(store: Store, run: str) -> None:
    """Forgets a request that was made of an earlier session."""
    if store.exists(cancel_key(run)):
        store.remove(cancel_key(run))
