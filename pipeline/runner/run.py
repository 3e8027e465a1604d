"""Running a plan: a new run, or one more session of an earlier one."""

import logging
import os
import secrets
import socket
from typing import Literal

from pipeline.cache.leases import Leases
from pipeline.cache.local_copy import for_each
from pipeline.errors import InfrastructureError, UserError
from pipeline.executors.base import Executor
from pipeline.planner.plan import Action, Plan
from pipeline.runner import events as ev
from pipeline.runner.attempts import Attempts
from pipeline.runner.cancel import Cancellation, StopRequests
from pipeline.runner.journal import Journal, load_run
from pipeline.runner.leases import LeaseKeeper, run_lease
from pipeline.runner.loop import Loop
from pipeline.runner.narrate import planned_event
from pipeline.runner.outcome import Listener, RunOptions, RunOutcome, SilentListener
from pipeline.runner.record import RunRecord, write_record
from pipeline.runner.schedule import check_fits
from pipeline.runner.state import RunState, StageStatus
from pipeline.storage import Store

_log = logging.getLogger(__name__)


def run(
    plan: Plan,
    store: Store,
    executor: Executor,
    options: RunOptions,
    *,
    record: RunRecord,
    listener: Listener | None = None,
    cancellation: Cancellation | None = None,
) -> RunOutcome:
    """Runs a plan as a new run; stages continue from the state that earlier runs left.

    Args:
        plan: what to do; nothing in it may be blocked.
        store: where results, state and the run's events go.
        executor: starts the attempts; closed at the end, whatever happens.
        options: how to run.
        record: becomes run.json.
        listener: is told every event.
        cancellation: asks the run to stop, once to save first and twice at once.

    Raises:
        UserError: a stage is blocked or can never fit the machine; nothing was written.
        InfrastructureError: store, machine or executor failed, or another runner took the run
            over; `resume` goes on.
    """
    try:
        _check(plan, executor)
        write_record(store, record)
        session = _Session(plan, store, executor, options, RunState(record.run))
        return session.run(listener or SilentListener(), cancellation or Cancellation())
    finally:
        executor.close()


def resume(
    plan: Plan,
    store: Store,
    executor: Executor,
    options: RunOptions,
    *,
    run_id: str,
    listener: Listener | None = None,
    cancellation: Cancellation | None = None,
) -> RunOutcome:
    """As `run`, but goes on with an earlier run: same id, same journal, attempts count on.

    Raises:
        UserError: there is no such run, or as `run`.
        InfrastructureError: another runner has the run, or as `run`.
    """
    try:
        _check(plan, executor)
        session = _Session(plan, store, executor, options, load_run(store, run_id))
        return session.run(listener or SilentListener(), cancellation or Cancellation())
    finally:
        executor.close()


def is_running(store: Store, run_id: str) -> bool:
    """Whether a living runner has this run; False for one that was killed."""
    return Leases(store).holder(run_lease(run_id)) is not None


def current_state(store: Store, run_id: str) -> RunState:
    """How a run stands now: as `load_run`, and over when no living runner has it.

    Raises:
        UserError: there is no such run.
        StoreError: the store failed, or an event is not readable.
    """
    state = load_run(store, run_id)
    if state.ended is None and not is_running(store, run_id):
        state = load_run(store, run_id)  # it may have ended between the two
        if state.ended is None:
            state.runner_was_killed()
    return state


def _check(plan: Plan, executor: Executor) -> None:
    blocked = [
        f"{address}: {'; '.join(planned.reasons) or 'blocked'}"
        for address, planned in plan.stages.items()
        if planned.action is Action.BLOCKED
    ]
    if blocked:
        msg = "these stages cannot run as selected:\n" + "\n".join(blocked)
        raise UserError(msg)
    check_fits(plan, executor.capacity)


class _Session:
    """One runner at one run."""

    def __init__(
        self, plan: Plan, store: Store, executor: Executor, options: RunOptions, state: RunState
    ) -> None:
        self._plan = plan
        self._store = store
        self._executor = executor
        self._options = options
        self._state = state

    def run(self, listener: Listener, cancellation: Cancellation) -> RunOutcome:
        run_id = self._state.run
        keeper = LeaseKeeper(Leases(self._store))
        try:
            keys = [planned.plan_key for planned in self._plan.stages.values()]
            if not keeper.acquire(
                run_lease(run_id), f"{run_id}-{secrets.token_hex(4)}", keeps=keys
            ):
                holder = keeper.holder(run_lease(run_id)) or "another runner"
                msg = (
                    f"run {run_id}: {holder} is running it. Wait for it, or stop it with "
                    f"`pipeline cancel {run_id}`."
                )
                raise InfrastructureError(msg)
            journal = Journal(self._store, self._state, listener=listener.event)
            stops = StopRequests(cancellation, self._store, run_id)
            self._run(journal, keeper, stops, listener)
        finally:
            keeper.close()
        return RunOutcome(self._state)

    def _run(
        self, journal: Journal, keeper: LeaseKeeper, stops: StopRequests, listener: Listener
    ) -> None:
        journal.append(
            ev.RunStarted(dag=self._plan.dag.name, host=socket.gethostname(), pid=os.getpid())
        )
        journal.append(planned_event(self._plan))
        attempts = Attempts(
            self._store,
            keeper,
            dag=self._plan.dag.name,
            run=journal.run,
            options=self._options,
        )
        try:
            self._note_reused(journal, attempts)
            loop = Loop(self._plan, journal, attempts, self._executor, keeper, stops, self._options)
            loop.run(listener.tick)
        except InfrastructureError as exc:
            self._end_interrupted(journal, exc)
            raise
        finally:
            attempts.close()
        journal.append(ev.RunEnded(status=_verdict(journal.state), counts=journal.state.counts()))

    def _note_reused(self, journal: Journal, attempts: Attempts) -> None:
        """Makes what the plan reuses the last result of its stages; tells of accepted code."""
        reused = [one for one in self._plan.stages.values() if one.action is Action.REUSE]
        # Side by side: on an object store each is a request or more.
        for_each(lambda one: attempts.note_reused(one, journal.state.artifacts_of), reused)
        for planned in reused:
            if planned.accepted:
                journal.append(
                    ev.CodeAccepted(
                        stage=planned.stage.address,
                        code_digest=planned.code_digest,
                        plan_key=planned.plan_key,
                    )
                )

    def _end_interrupted(self, journal: Journal, cause: InfrastructureError) -> None:
        event = ev.RunEnded(status="interrupted", counts=journal.state.counts(), cause=str(cause))
        try:
            journal.append(event)
        except InfrastructureError as exc:
            _log.warning("the end of run %s is not in its journal: %s", journal.run, exc)


def _verdict(state: RunState) -> Literal["succeeded", "failed", "cancelled"]:
    if state.failures():
        return "failed"
    missing = (StageStatus.WAITING, StageStatus.CANCELLED)
    if any(stage.status in missing for stage in state.stages.values()):
        return "cancelled"
    return "succeeded"
