"""Keeps the leases of a run alive from a thread, and knows which are lost."""

import logging
import threading
import time
from collections.abc import Sequence

from pipeline.cache.leases import LEASE_SECONDS, Leases, describe
from pipeline.errors import StoreError

_log = logging.getLogger(__name__)

_TAKEN = "another runner took its lease over, or the lease was removed"


def run_lease(run: str) -> str:
    """The key of the lease that a run's one runner holds."""
    return f"run-{run}"


class LeaseKeeper:
    """The leases this runner holds, renewed three times a lifetime until they are given back.

    A lease that could not be renewed within its lifetime, or that another runner took over, is
    lost: whoever wrote under it must stop. The commit checks the lease once more.
    """

    def __init__(self, leases: Leases, *, lifetime_seconds: float = LEASE_SECONDS) -> None:
        """`lifetime_seconds` is what `leases` gives each lease."""
        self._leases = leases
        self._lifetime_seconds = lifetime_seconds
        self._lock = threading.Lock()
        self._held: dict[str, tuple[str, float]] = {}
        self._lost: dict[str, str] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="leases", daemon=True)
        self._thread.start()

    def acquire(self, key: str, token: str, *, keeps: Sequence[str] = ()) -> bool:
        """Takes a lease and keeps it; False when another living holder has it.

        Args:
            key: a plan key, or `run_lease(run)`.
            token: what the commit shows.
            keeps: plan keys whose results must not be evicted meanwhile.
        """
        if not self._leases.acquire(key, token, keeps=keeps):
            return False
        with self._lock:
            self._held[key] = (token, time.monotonic())
            self._lost.pop(key, None)
        return True

    def holder(self, key: str) -> str:
        """Who holds a lease, in words; "" when it is free."""
        lease = self._leases.holder(key)
        return describe(lease) if lease else ""

    def release(self, key: str) -> None:
        """Gives a lease back."""
        with self._lock:
            held = self._held.pop(key, None)
            self._lost.pop(key, None)
        if held is not None:
            self._leases.release(key, held[0])

    def leave(self, key: str) -> None:
        """Keeps a lease no longer but does not give it back: what works under it goes on.

        It expires by itself, and whoever shows the same token has it until somebody takes it.
        """
        with self._lock:
            self._held.pop(key, None)
            self._lost.pop(key, None)

    def lost(self) -> dict[str, str]:
        """Leases that are ours no more, and why; each is told until it is released."""
        with self._lock:
            return dict(self._lost)

    def recover(self, key: str) -> bool:
        """Takes up again a lease that could not be renewed in time and that nobody took.

        Raises nothing: while the store is away it stays lost.
        """
        with self._lock:
            held, why = self._held.get(key), self._lost.get(key)
        if held is None or why == _TAKEN:
            return False
        try:
            is_ours = self._leases.renew(key, held[0])
        except StoreError:
            return False
        with self._lock:
            if is_ours:
                self._held[key] = (held[0], time.monotonic())
                self._lost.pop(key, None)
            else:
                self._lost[key] = _TAKEN
        return is_ours

    def was_taken(self, key: str) -> bool:
        """Whether a lost lease is known to be another's now."""
        with self._lock:
            return self._lost.get(key) == _TAKEN

    def why_lost(self, key: str) -> str:
        """Why a lease is ours no more, known from the store itself; "" while we hold it."""
        with self._lock:
            held, why = self._held.get(key), self._lost.get(key, "")
        if why or held is None:
            return why
        try:
            return "" if self._leases.held_by(key, held[0]) else _TAKEN
        except StoreError as exc:
            _log.warning("lease %s could not be looked at: %s", key, exc)
            return ""

    def close(self) -> None:
        """Gives all back; one that the store refuses to take back expires by itself."""
        self._end.set()
        self._thread.join()
        for key in list(self._held):
            try:
                self.release(key)
            except StoreError as exc:
                _log.warning("lease %s is left to expire: %s", key, exc)

    def _renew(self) -> None:
        while not self._end.wait(self._lifetime_seconds / 3):
            with self._lock:
                held = dict(self._held)
            for key, (token, since) in held.items():
                self._renew_one(key, token, since)

    def _renew_one(self, key: str, token: str, since: float) -> None:
        now, why = time.monotonic(), ""
        try:
            if not self._leases.renew(key, token):
                why = _TAKEN
        except StoreError as exc:
            _log.warning("lease %s could not be renewed: %s", key, exc)
            if now - since >= self._lifetime_seconds:
                why = f"its lease could not be renewed for {now - since:.0f} s: {exc}"
            now = since
        with self._lock:
            if self._held.get(key, ("", 0.0))[0] != token:
                return  # given back meanwhile
            self._held[key] = (token, now)
            if why:
                self._lost.setdefault(key, why)
