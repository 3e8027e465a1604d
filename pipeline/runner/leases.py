"""Keeps the leases of a run alive from a thread, and knows which are lost."""

import logging
import threading
import time
from collections.abc import Sequence

from pipeline.cache.leases import LEASE_SECONDS, Leases, describe
from pipeline.errors import StoreError

_log = logging.getLogger(__name__)


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
        self._lost: set[str] = set()
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
            self._lost.discard(key)
        return True

    def holder(self, key: str) -> str:
        """Who holds a lease, in words; "" when it is free."""
        lease = self._leases.holder(key)
        return describe(lease) if lease else ""

    def release(self, key: str) -> None:
        """Gives a lease back."""
        with self._lock:
            held = self._held.pop(key, None)
            self._lost.discard(key)
        if held is not None:
            self._leases.release(key, held[0])

    def lost(self) -> set[str]:
        """The keys of leases that are ours no more; each is told until it is released."""
        with self._lock:
            return set(self._lost)

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
        now = time.monotonic()
        try:
            ours = self._leases.renew(key, token)
        except StoreError as exc:
            _log.warning("lease %s could not be renewed: %s", key, exc)
            ours = now - since < self._lifetime_seconds
            now = since
        with self._lock:
            if self._held.get(key, ("", 0.0))[0] != token:
                return  # given back meanwhile
            self._held[key] = (token, now)
            if not ours:
                self._lost.add(key)
