"""The journal of a run: events are appended, each its own create-only object, and replayed."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from pipeline.errors import InfrastructureError, UserError
from pipeline.runner.events import Entry, Event, RunStarted, decode, encode
from pipeline.runner.state import RunState, replay
from pipeline.storage import Store

_log = logging.getLogger(__name__)

_REMOTE_READERS = 16
"""Parallel reads from an object store, where one takes tens of milliseconds."""


def record_key(run: str) -> str:
    """Where a run's record is kept; it exists before the first event."""
    return f"runs/{run}/run.json"


def event_key(run: str, number: int) -> str:
    """Where an event is kept; names sort as the numbers do."""
    return f"runs/{run}/events/{number:08d}.json"


class Journal:
    """The only writer of a run's events, and the state they add up to.

    Two runners on one run: the slower one's `create` fails, and it must stop.
    """

    def __init__(
        self,
        store: Store,
        state: RunState,
        *,
        listener: Callable[[Entry, RunState], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Continues after `state`, which is kept up to date from here on."""
        self._store = store
        self._listener = listener
        self._clock = clock
        self.state = state

    @property
    def run(self) -> str:
        """The run's id."""
        return self.state.run

    def append(self, event: Event) -> None:
        """Makes an event part of the run, applies it to the state and tells the listener.

        Raises:
            InfrastructureError: another runner wrote this number first.
            StoreError: the store refused.
        """
        entry = Entry(self.state.entries + 1, round(self._clock(), 6), event)
        key, data = event_key(self.run, entry.number), encode(entry)
        # A create whose answer was lost and that was tried again finds its own bytes.
        if not self._store.create(key, data, durable=False) and self._store.read(key) != data:
            msg = (
                f"run {self.run}: another runner continued it (it wrote {key} first). "
                f"This one stops; follow the other with `pipeline status {self.run}`."
            )
            raise InfrastructureError(msg)
        self.state.apply(entry)
        if self._listener is not None:
            self._listener(entry, self.state)


def read_entries(store: Store, run: str, first: int = 1) -> list[Entry]:
    """The events of a run from number `first` on, in order.

    Events are not fsynced one by one: what counts, the results, is. After a crash of the machine
    one may be missing or empty; then the rest of that session says nothing reliable and is left
    out. The next session begins with a plan of everything.

    Raises:
        StoreError: the store failed, or an event is not readable.
    """
    numbers = [n for n in _numbers(store, run) if n >= first]
    keys = [event_key(run, number) for number in numbers]
    if store.local_path() is not None:
        datas = [store.read(key) for key in keys]
    else:
        with ThreadPoolExecutor(_REMOTE_READERS) as pool:
            datas = list(pool.map(store.read, keys))
    entries: list[Entry] = []
    left_out, intact, expected = 0, True, first
    for number, key, data in zip(numbers, keys, datas, strict=True):
        lost = not data.strip(b"\0")
        entry = None if lost else decode(data, f"{store.url}/{key}")
        intact = not lost and number == expected and intact
        if entry is not None and isinstance(entry.event, RunStarted):
            intact = True
        if entry is not None and intact:
            entries.append(entry)
        else:
            left_out += 1
        expected = number + 1
    if left_out:
        _log.warning("run %s: %d events after one lost in a crash are left out", run, left_out)
    return entries


def _numbers(store: Store, run: str) -> list[int]:
    names = store.list(f"runs/{run}/events")
    return [int(name.removesuffix(".json")) for name in names if name[:1].isdigit()]


def load_run(store: Store, run: str) -> RunState:
    """The state of a run, finished or not.

    Raises:
        UserError: there is no such run.
        StoreError: the store failed, or an event is not readable.
    """
    state = replay(run, read_entries(store, run))
    if not state.entries and not store.exists(record_key(run)):
        msg = f"there is no run {run!r} in this store; `pipeline list` shows those there are"
        raise UserError(msg)
    state.entries = max(_numbers(store, run), default=0)
    return state


def list_runs(store: Store) -> list[str]:
    """Ids of all runs, oldest first (ids begin with the time of their start)."""
    names = store.list("runs")
    if store.local_path() is None:
        return names
    # A folder is there a moment before the record in it is.
    return [name for name in names if store.exists(record_key(name))]
