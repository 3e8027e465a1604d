"""Leases: of all runners that want to build the same thing, one does.

A lease is the file `leases/<key>/<generation>` with the highest generation. A free, expired or
dead generation n is taken over by exclusively creating n + 1, so two runners that both find a dead
holder cannot both replace it; nothing is ever deleted that may be the highest. A new holder looks
again after its create: one that was slow and filled a gap below the highest backs off.

Time makes no lease exclusive (a holder may sleep past its expiry), so whoever commits asks
`held_by` again first: that is the fence.
"""

import logging
import time
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.cache.holder import Holder, this_process
from pipeline.errors import InfrastructureError
from pipeline.storage import Store

LEASE_SECONDS = 60.0
"""How long a holder on another machine may be silent; renewed at a third of it."""
CLOCK_SKEW_SECONDS = 5.0
"""By how much the clocks of two machines may differ."""
_MAX_TRIES = 20

_log = logging.getLogger(__name__)


class LeaseLost(InfrastructureError):  # noqa: N818 - an event, as its siblings Cancelled and Preempted
    """Somebody else holds the lease now; what was built under it must not be committed."""


class Lease(BaseModel):
    """One generation of a lease.

    Attributes:
        token: names the holder's claim; whoever knows it acts under the lease.
        holder: the process that acquired it.
        acquired, expires: seconds since the epoch by the holder's clock.
        released: given back; free for the next.
        keeps: plan keys whose results must not be evicted while the lease is held.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: str
    holder: Holder
    acquired: float
    expires: float
    released: bool = False
    keeps: tuple[str, ...] = ()


class Leases:
    """The leases of a store."""

    def __init__(
        self,
        store: Store,
        *,
        duration_seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` gives seconds since the epoch."""
        self._store = store
        self._duration = duration_seconds
        self._clock = clock

    def acquire(self, key: str, token: str, *, keeps: Sequence[str] = ()) -> bool:
        """Takes the lease for this process; True as well when this process holds it as `token`.

        Raises:
            StoreError: the store failed; the lease may or may not be held.
        """
        for _ in range(_MAX_TRIES):
            top, lease = self._top(key)
            if top and not self._is_free(key, top, lease):
                is_mine = lease and lease.token == token and lease.holder == this_process()
                return bool(is_mine) and self.renew(key, token)
            if top and lease and not lease.released:
                _log.warning("lease %s: taken over from %s", key[:12], describe(lease))
            mine = self._claim(token, keeps)
            if not self._store.create(_key(key, top + 1), mine, durable=False):
                continue
            generations = self._generations(key)
            if max(generations, default=0) == top + 1:
                self._remove(key, [number for number in generations if number <= top])
                return True
            self._store.remove(_key(key, top + 1))
        return False

    def renew(self, key: str, token: str) -> bool:
        """Moves the expiry on; False when the lease is lost.

        Raises:
            StoreError: the store failed; the lease keeps its old expiry.
        """
        top, lease = self._top(key)
        if not top or lease is None or lease.token != token or lease.released:
            return False
        renewed = lease.model_copy(update={"expires": self._clock() + self._duration})
        self._store.write(_key(key, top), _to_bytes(renewed), durable=False)
        return max(self._generations(key), default=0) == top

    def release(self, key: str, token: str) -> None:
        """Gives the lease back; nothing happens when `token` does not hold it."""
        top, lease = self._top(key)
        if top and lease and lease.token == token and not lease.released:
            released = lease.model_copy(update={"released": True, "keeps": ()})
            self._store.write(_key(key, top), _to_bytes(released), durable=False)

    def held_by(self, key: str, token: str) -> bool:
        """Whether `token` still is the newest claim; past its expiry too, while nobody took it."""
        _, lease = self._top(key)
        return lease is not None and lease.token == token and not lease.released

    def holder(self, key: str) -> Lease | None:
        """The lease that somebody holds, None when it is free, expired or its holder is dead."""
        top, lease = self._top(key)
        return None if not top or self._is_free(key, top, lease) else lease

    def held(self) -> dict[str, Lease]:
        """Every lease that somebody holds, by key."""
        found = ((key, self.holder(key)) for key in self._store.list("leases"))
        return {key: lease for key, lease in found if lease is not None}

    def _top(self, key: str) -> tuple[int, Lease | None]:
        """(highest generation or 0, its content or None when damaged)."""
        for _ in range(_MAX_TRIES):
            top = max(self._generations(key), default=0)
            if not top:
                return 0, None
            try:
                data = self._store.read(_key(key, top))
            except KeyError:
                continue  # a newer holder tidied up between the two lines
            try:
                return top, Lease.model_validate_json(data)
            except ValidationError:
                return top, None
        return 0, None

    def _is_free(self, key: str, top: int, lease: Lease | None) -> bool:
        now = self._clock()
        if lease is not None:
            late = now > lease.expires + CLOCK_SKEW_SECONDS
            return lease.released or late or lease.holder.is_known_dead()
        # Damaged, by a machine that went down: nobody can renew it, so its age decides.
        found = self._store.info(_key(key, top))
        return found is None or now > found.modified + self._duration + CLOCK_SKEW_SECONDS

    def _generations(self, key: str) -> list[int]:
        names = self._store.list(f"leases/{key}")
        return [int(name) for name in names if name.isdecimal()]

    def _claim(self, token: str, keeps: Sequence[str]) -> bytes:
        now = self._clock()
        lease = Lease(
            token=token,
            holder=this_process(),
            acquired=now,
            expires=now + self._duration,
            keeps=tuple(keeps),
        )
        return _to_bytes(lease)

    def _remove(self, key: str, generations: Sequence[int]) -> None:
        for number in generations:
            self._store.remove(_key(key, number))


def describe(lease: Lease) -> str:
    """The holder in words: "process 123 on host"."""
    return f"process {lease.holder.pid} on {lease.holder.host}"


def _key(key: str, generation: int) -> str:
    return f"leases/{key}/{generation}"


def _to_bytes(lease: Lease) -> bytes:
    return lease.model_dump_json().encode()
