"""How a run stops: on request, for a lost lease, or because it cannot go on."""

import logging
import time
from collections.abc import Mapping

from pipeline.errors import InfrastructureError
from pipeline.executors.base import Executor, OutlivingExecutor
from pipeline.runner import events as ev
from pipeline.runner.cancel import StopRequests
from pipeline.runner.journal import Journal
from pipeline.runner.leases import LeaseKeeper, run_lease
from pipeline.runner.running import Running

_log = logging.getLogger(__name__)
_TICK_SECONDS = 0.5


class Stopping:
    """Asks attempts to stop. Used from the run loop's thread."""

    def __init__(
        self,
        executor: Executor,
        journal: Journal,
        keeper: LeaseKeeper,
        stops: StopRequests,
        grace_seconds: float,
    ) -> None:
        """`grace_seconds` is how long attempts may take to save and end."""
        self._executor = executor
        self._journal = journal
        self._keeper = keeper
        self._stops = stops
        self._grace_seconds = grace_seconds

    def heed(self, running: Mapping[str, Running]) -> None:
        """Passes new requests on, and ends what lost its lease.

        Raises:
            InfrastructureError: the run itself is another runner's now.
        """
        asked = self._stops.pending()
        if asked:
            self._journal.append(ev.CancelRequested(now=asked > 1))
            for attempt_id in running:
                self._executor.stop(attempt_id, now=asked > 1)
        run = self._journal.run
        if self._stops.is_left:
            msg = f"the runner was asked to end; what runs goes on, `pipeline resume {run}` follows"
            raise InfrastructureError(msg)
        lost = self._keeper.lost()
        if why := lost.get(run_lease(run)):
            msg = f"run {run}: {why}"
            raise InfrastructureError(msg)
        for one in running.values() if lost else ():
            # It builds on something that is no longer its own; what it has cannot be committed.
            if (why := lost.get(one.job.plan_key)) and not self._may_go_on(one.job.plan_key):
                _log.warning("%s: %s; the attempt is ended", one.address, why)
                self._executor.stop(one.job.attempt_id, now=True)

    def _may_go_on(self, plan_key: str) -> bool:
        """Whether an attempt may do without its lease for a while: its pods commit by themselves.

        Only the store's word that somebody else has it ends days of training.
        """
        if not isinstance(self._executor, OutlivingExecutor):
            return False
        return self._keeper.recover(plan_key) or not self._keeper.was_taken(plan_key)

    def abandon(self, running: dict[str, Running]) -> None:
        """The run cannot go on: asks what runs to save and stop, for as long as that may take.

        What outlives its runner is left to the next one, with its leases.
        """
        if isinstance(self._executor, OutlivingExecutor) and not self._stops.heeded:
            for one in running.values():
                self._keeper.leave(one.job.plan_key)
            return
        for attempt_id in running:
            self._executor.stop(attempt_id, now=False)
        give_up = time.monotonic() + self._grace_seconds
        while running and time.monotonic() < give_up and not self._stops.is_urgent:
            for end in self._executor.wait(_TICK_SECONDS):
                running.pop(end.attempt_id, None)
