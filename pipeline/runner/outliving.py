"""Attempts that outlive their runner: found again, taken up, told of while they wait.

Does nothing for an executor whose attempts end with their runner.
"""

import re
from collections.abc import Mapping

from pipeline.executors.base import AttemptEnd, Executor, Found, OutlivingExecutor
from pipeline.runner import events as ev
from pipeline.runner.attempts import Attempts
from pipeline.runner.journal import Journal
from pipeline.runner.narrate import started_event
from pipeline.runner.running import Prepared, Running


class Outliving:
    """What the run loop asks of such an executor. Used from its thread."""

    def __init__(self, executor: Executor, attempts: Attempts, journal: Journal) -> None:
        """Asks the executor nothing yet."""
        self._executor = executor if isinstance(executor, OutlivingExecutor) else None
        self._attempts = attempts
        self._journal = journal
        self._told: dict[str, str] = {}

    @property
    def is_so(self) -> bool:
        """Whether attempts of this executor outlive the runner."""
        return self._executor is not None

    def find(self, prepared: Prepared) -> Found | None:
        """An attempt that works on the stage already, whichever run began it.

        Raises:
            InfrastructureError: the cluster does not answer.
        """
        planned = prepared.planned
        if self._executor is None:
            return None
        found = self._executor.find(planned.plan_key, prepared.content_key)
        # Asked for anew: what others began before that does not count.
        if found is not None and planned.forced and found.job.run != self._journal.run:
            return None
        return found

    def take_up(self, prepared: Prepared, found: Found) -> Running:
        """Goes on with what was found; its lease is held."""
        assert self._executor is not None  # it found it
        attempts = self._journal.state.stages[prepared.address].attempts
        is_ours = bool(attempts) and attempts[-1].attempt_id == found.job.attempt_id
        number = attempts[-1].number if is_ours else len(attempts) + 1
        running = self._attempts.take_up(prepared, found, number)
        self._journal.append(started_event(running.job, outlives=True, how="adopted"))
        self._executor.adopt(found.job)
        return running

    def restarted(self, running: Running, end: AttemptEnd) -> Running:
        """The cluster has started the attempt anew: the journal counts one more."""
        following = running.restarted(end.restarts or 0)
        self._journal.append(started_event(following.job, outlives=True, how="restarted"))
        return following

    def tell_pending(self, running: Mapping[str, Running]) -> None:
        """Journals why attempts do not run yet, when the reason is another one, and that they do."""
        if self._executor is None:
            return
        pending = self._executor.pending()
        for attempt_id, one in running.items():
            why = pending.get(attempt_id, "")
            # "0/3 nodes are available" may count up and down all day.
            kind = re.sub(r"[0-9]+", "0", why)
            if kind != self._told.get(attempt_id, ""):
                self._told[attempt_id] = kind
                self._journal.append(ev.AttemptPending(stage=one.address, why=why))
        for attempt_id in self._told.keys() - running.keys():
            del self._told[attempt_id]
