"""What a pod finds and leaves in the store: the result of its stage, and a lease without a runner."""

import logging
import time
from collections.abc import Callable

from pydantic import JsonValue

from pipeline.cache import Artifacts, Leases, Result, Results
from pipeline.cache.leases import LEASE_SECONDS, LeaseLost, describe
from pipeline.errors import StoreError
from pipeline.spec.job import Job
from pipeline.spec.kinds import load_kind
from pipeline.spec.ports import Port
from pipeline.spec.stage import Launch
from pipeline.storage import Store

_log = logging.getLogger(__name__)


class StageResult:
    """The result of one stage, as its pods see it."""

    def __init__(self, store: Store, job: Job, *, attempt_id: str, by_hand: bool, pod: int) -> None:
        """Reads nothing yet.

        Args:
            store: of the attempt.
            job: as it runs here: its attempt id is this start's.
            attempt_id: of the order: starts of it before this one count too.
            by_hand: no runner wants this result; any that is there will do.
            pod: which node or worker this is.
        """
        self._results = Results(store)
        self._leases = Leases(store)
        self._artifacts = Artifacts(store)
        self._job = job
        self._attempt_id = attempt_id
        self._by_hand = by_hand
        self._pod = pod

    def is_there(self) -> bool:
        """Whether there is nothing left to do.

        Raises:
            StoreError: the store failed.
        """
        found = self._results.lookup(self._job.plan_key)
        if found is None or self._by_hand:
            return found is not None
        # A runner that asked for this attempt may want it made anew.
        return found.attempt_id.startswith(f"{self._attempt_id}-")

    def take_lease(self) -> str:
        """Takes the lease for this start of the attempt; "" or who has it.

        Raises:
            StoreError: the store failed.
        """
        key = self._job.plan_key
        if self._leases.acquire(key, self._job.lease_token):
            return ""
        holder = self._leases.holder(key)
        return describe(holder) if holder else "another process"

    def record(self, seconds: float) -> None:
        """Makes what the attempt built findable; for a `workers` stage once all have handed in.

        Called after success, by node 0 of a gang or by any worker.

        Raises:
            DataError: two workers wrote the same file, or an output is empty.
            LeaseLost: another runner builds it now.
            StoreError: the store failed.
        """
        job, ports = self._job, self._ports()
        if job.launch is not Launch.WORKERS:
            self._commit(ports, seconds, is_repetition=True)
            return
        if self._artifacts.missing_parts(job.plan_key, job.attempt_id, job.world_size):
            return  # whoever is last joins them
        joining = f"{job.plan_key}-join"
        token = f"{job.attempt_id}-{self._pod}"
        if not self._leases.acquire(joining, token):
            return  # two were last, and the other one does it
        try:
            if not self.is_there():
                self._commit(ports, seconds, is_repetition=False)
        finally:
            self._leases.release(joining, token)

    def release(self) -> None:
        """Gives back a lease that no runner gave."""
        try:
            self._leases.release(self._job.plan_key, self._job.lease_token)
        except StoreError as exc:
            _log.warning("the lease is left to expire: %s", exc)

    def _ports(self) -> dict[str, Port]:
        spec = load_kind(self._job.kind)
        config = spec.config.model_validate(self._job.config)
        return dict(spec.ports(config)[1])

    def _commit(self, ports: dict[str, Port], seconds: float, *, is_repetition: bool) -> None:
        job = self._job
        artifacts = self._artifacts.commit(
            job.plan_key,
            job.attempt_id,
            ports,
            lease_token=job.lease_token,
            num_parts=job.world_size,
            meta={"stage": job.stage, "kind": job.kind, "run": job.run},
            is_repetition=is_repetition,
        )
        placement: dict[str, JsonValue] = {
            "seconds": round(seconds, 3),
            "nodes": job.nodes,
            "processes_per_node": job.processes_per_node,
            "engine": job.engine.model_dump(mode="json"),
        }
        result = Result(
            artifacts=artifacts,
            plan_key=job.plan_key,
            content_key=job.content_key,
            stage=job.stage,
            kind=job.kind,
            run=job.run,
            attempt_id=job.attempt_id,
            key_parts=job.key_parts,
            provenance=placement,
        )
        self._results.record((job.plan_key, job.content_key), result)
        self._results.set_latest(job.pipeline, job.stage, job.plan_key)
        self._artifacts.discard(job.plan_key, job.attempt_id)


class LeaseRenewal:
    """Keeps the lease of a stage applied by hand, from the agent's loop."""

    def __init__(
        self, store: Store, job: Job, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._leases = Leases(store)
        self._job = job
        self._clock = clock
        self._next = clock() + LEASE_SECONDS / 3

    def turn(self) -> None:
        """Renews when it is time; a store that is away is asked again, the commit is the fence.

        Raises:
            LeaseLost: somebody else builds this now.
        """
        if self._clock() < self._next:
            return
        self._next = self._clock() + LEASE_SECONDS / 3
        try:
            kept = self._leases.renew(self._job.plan_key, self._job.lease_token)
        except StoreError as exc:
            _log.warning("the lease could not be renewed: %s", exc)
            return
        if not kept:
            msg = f"{self._job.stage}: another process took over what this one builds"
            raise LeaseLost(msg)
