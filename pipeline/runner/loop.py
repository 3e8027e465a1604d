"""The run loop: starts what may start, hears what ended, decides what follows."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from pipeline.cache.leases import LeaseLost
from pipeline.errors import ConfigError, InputError, WorkerError
from pipeline.executors.base import AttemptEnd, Executor
from pipeline.planner.digests import Digests
from pipeline.planner.inputs import inputs_of
from pipeline.planner.keys import content_key, planned_stage
from pipeline.planner.plan import Action, Plan, PlannedStage
from pipeline.runner import events as ev
from pipeline.runner.attempts import Attempts
from pipeline.runner.cancel import StopRequests
from pipeline.runner.drivers import Driver, DriverFailed, Proposal
from pipeline.runner.journal import Journal
from pipeline.runner.leases import LeaseKeeper
from pipeline.runner.narrate import ended_event, failed_event, proposed_event, started_event
from pipeline.runner.outcome import RunOptions
from pipeline.runner.outliving import Outliving
from pipeline.runner.retry import (
    ExitClass,
    GiveUp,
    TryAgain,
    classify,
    decide,
    past_attempts,
)
from pipeline.runner.running import Prepared, Running
from pipeline.runner.schedule import Polls, Ready, Sleepers, Slots, demand
from pipeline.runner.state import RunState
from pipeline.runner.stopping import Stopping
from pipeline.spec.dag import Stage
from pipeline.spec.driver import Done
from pipeline.spec.stage import Launch

_TICK_SECONDS = 0.5
"""Longest sleep: how late a signal or a lost lease is noticed."""


class Loop:
    """One session of a run, from its plan to its last stage. Used from one thread.

    A stage goes: waiting for inputs (`Ready`) -> `queue` (waits for room) -> `running`; from there
    to its end, or to `sleeping` until a timer brings it back to the queue.
    """

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        attempts: Attempts,
        executor: Executor,
        keeper: LeaseKeeper,
        stops: StopRequests,
        options: RunOptions,
    ) -> None:
        """Starts nothing yet."""
        self._journal = journal
        self._attempts = attempts
        self._executor = executor
        self._keeper = keeper
        self._stops = stops
        self._options = options
        self._slots = Slots(executor.capacity, options.jobs)
        self._stages = {a: p for a, p in plan.stages.items() if p.action is Action.RUN}
        self._ready = Ready(
            {a: [u for u in p.stage.upstream if u in self._stages] for a, p in self._stages.items()}
        )
        self._queue: dict[str, Prepared] = {}
        self._running: dict[str, Running] = {}
        self._sleeping: Sleepers[Prepared] = Sleepers()
        self._polls = Polls()
        self._drivers: dict[str, tuple[Driver, Prepared]] = {}
        self._plan_keys = {a: p.plan_key for a, p in plan.stages.items()}
        self._digests = Digests(options.workdir)
        self._outliving = Outliving(executor, attempts, journal)
        self._stopping = Stopping(executor, journal, keeper, stops, options.grace_seconds)
        self._given_up: dict[str, GiveUp] = {}
        self._draining = False

    @property
    def state(self) -> RunState:
        """The run as its events tell."""
        return self._journal.state

    def run(self, tick: Callable[[RunState], None]) -> None:
        """Returns once nothing runs and nothing more may start.

        Raises:
            InfrastructureError: store, machine or executor failed; what ran was asked to save and
                stop, and the run can be resumed.
        """
        next_tick = 0.0
        try:
            while not self._settled():
                self._stopping.heed(self._running)
                self._start_what_may()
                self._attempts.tidy()
                for end in self._wait():
                    self._take_in(end) if end.restarts is None else self._take_in_restart(end)
                self._outliving.tell_pending(self._running)
                if time.monotonic() >= next_tick:
                    next_tick = time.monotonic() + _TICK_SECONDS / 2
                    tick(self.state)
        except BaseException:
            self._stopping.abandon(self._running)
            raise
        finally:
            self._attempts.tidy()
            self._digests.close()
        for address in (*self._sleeping, *self._drivers):
            self._journal.append(ev.StageCancelled(stage=address, cause="not gone on with"))

    def _settled(self) -> bool:
        if self._running:
            return False
        return self._halting or not (self._ready or self._queue or self._sleeping or self._drivers)

    @property
    def _halting(self) -> bool:
        """Whether nothing more may start."""
        return self._draining or self._stops.heeded > 0

    def _wait(self) -> list[AttemptEnd]:
        pause = self._sleeping.pause(_TICK_SECONDS)
        if self._running:
            return list(self._executor.wait(pause))
        if not self._settled():
            time.sleep(pause)
        return []

    # --- from inputs to a running attempt

    def _start_what_may(self) -> None:
        for woken in self._sleeping.wake():
            self._queue[woken.address] = woken
        while not self._halting:
            # A stage found in the cache may make others ready, and those again.
            for address in self._ready.take():
                self._prepare(self._stages[address])
            for address in tuple(self._queue):
                if self._slots.full or self._halting:
                    break
                # The one before may have ended a driver, and with it cells that waited here.
                if address in self._queue:
                    self._start(self._queue[address])
            if not self._ready:
                return

    def _prepare(self, planned: PlannedStage) -> None:
        """Now that the inputs are known, so is the content key: reuse, or queue."""
        address = planned.stage.address
        asked_by = self.state.stages[address].driver
        if asked_by and asked_by not in self._drivers:
            self._journal.append(ev.StageBlocked(stage=address, by=asked_by))
            return
        try:
            inputs = inputs_of(planned.stage, self.state.artifacts_of)
        except InputError as exc:
            self._fail(address, GiveUp(exc.worker_exit, str(exc)))
            return
        key = content_key(planned, inputs)
        wanted = demand(planned.stage, self._executor.capacity)
        prepared = Prepared(planned, inputs, key, wanted)
        if planned.stage.spec.launch is not Launch.DRIVER:
            if not self._reuse(prepared, {key: "content key"}):
                self._queue[address] = prepared
        # A driver is asked again each time: no key of its own says all that its cells depend on.
        elif self._is_as_planned(prepared):
            capacity = self._executor.capacity
            driver = Driver(planned, self._attempts.artifacts, self._plan_cell, capacity)
            self._drivers[address] = (driver, prepared)
            self._advance(address)

    def _is_as_planned(self, prepared: Prepared) -> bool:
        """Whether code and sources are still those of the key; if not, the stage has failed."""
        try:
            self._attempts.check_as_planned(prepared)
        except ConfigError as exc:
            self._fail(prepared.address, GiveUp(exc.worker_exit, str(exc)))
            return False
        return True

    def _reuse(self, prepared: Prepared, keys: Mapping[str, ev.How]) -> bool:
        """Takes a result that is there already under one of the keys (key -> its name)."""
        if prepared.planned.forced:
            return False
        for key, how in keys.items():
            result = self._attempts.find(key)
            if result is not None:
                self._attempts.adopt(prepared.planned, prepared.content_key, result)
                event = ev.StageReused(
                    stage=prepared.address,
                    how=how,
                    reason=f"built by run {result.run}",
                    artifacts=result.artifacts,
                )
                self._journal.append(event)
                self._succeeded(prepared.address)
                return True
        return False

    def _start(self, prepared: Prepared) -> None:
        """Starts an attempt if there is room and nobody else builds the same."""
        address, planned = prepared.address, prepared.planned
        if not self._slots.take(address, planned.stage, prepared.wanted):
            return
        del self._queue[address]
        found = self._outliving.find(prepared)
        going_on = found.job.lease_token if found else None
        attempt_id = self._attempts.reserve(planned.plan_key, going_on)
        if attempt_id is None:
            self._slots.release(address)
            self._wait_for_holder(prepared)
            return
        # Looked up again under the lease: whoever held it before may have built it.
        keys: dict[str, ev.How] = {} if planned.by_content else {planned.plan_key: "plan key"}
        keys[prepared.content_key] = "content key"
        if self._reuse(prepared, keys) or not self._is_as_planned(prepared):
            self._attempts.release(planned.plan_key)
            self._slots.release(address)
            return
        self._polls.forget(address)
        if found is not None:
            self._running[attempt_id] = self._outliving.take_up(prepared, found)
            return
        number = len(self.state.stages[address].attempts) + 1
        running = self._attempts.make(prepared, number, attempt_id)
        # Before the executor knows: a kill in between leaves an attempt that never ended.
        self._journal.append(started_event(running.job, outlives=self._outliving.is_so))
        self._executor.submit(running.job)
        self._running[attempt_id] = running

    def _wait_for_holder(self, prepared: Prepared) -> None:
        address = prepared.address
        if self._polls.is_first(address):
            holder = self._attempts.holder(prepared.planned.plan_key)
            self._journal.append(ev.StageWaiting(stage=address, holder=holder))
        self._sleeping.add(address, prepared, self._polls.next_pause(address))

    # --- from an attempt's end to what follows

    def _take_in_restart(self, end: AttemptEnd) -> None:
        """The platform has started an attempt anew by itself; whether it should is for us to say."""
        running = self._running[end.attempt_id]
        if end.attempt_id in self._given_up or self._stops.heeded:
            return
        step = self._attempts.newest_step(running.job)
        self._journal.append(ended_event(running.job, end, classify(end), step))
        decision = self._decide(running, end)
        if isinstance(decision, GiveUp):
            self._given_up[end.attempt_id] = decision
            self._executor.stop(end.attempt_id, now=True)
        else:
            self._running[end.attempt_id] = self._outliving.restarted(running, end)

    def _take_in(self, end: AttemptEnd) -> None:
        running = self._running.pop(end.attempt_id)
        if (verdict := self._given_up.pop(end.attempt_id, None)) is not None:
            self._attempts.retire(running)
            self._slots.release(running.address)
            self._fail(running.address, verdict, rank=end.rank)
            return
        exit_class = classify(end)
        artifacts: dict[str, str] = {}
        if exit_class is ExitClass.DONE:
            try:
                artifacts = self._attempts.collect(running)
            except LeaseLost as exc:
                end, exit_class = AttemptEnd(end.attempt_id, 0, None, str(exc)), ExitClass.FREE
            except WorkerError as exc:
                end = AttemptEnd(end.attempt_id, exc.worker_exit, None, str(exc))
                exit_class = ExitClass.FATAL
        # Stopped by us for it, or by its own commit: no fault of the stage.
        if exit_class is ExitClass.COUNTED and (
            why := self._attempts.why_lost(running.job.plan_key)
        ):
            end, exit_class = replace(end, cause=why), ExitClass.FREE
        if exit_class in (ExitClass.FREE, ExitClass.COUNTED) and self._stops.heeded:
            exit_class = ExitClass.CANCELLED
        if exit_class is ExitClass.DONE:
            self._succeed(running, artifacts)
        else:
            step = self._attempts.newest_step(running.job)
            self._journal.append(ended_event(running.job, end, exit_class, step))
        self._attempts.retire(running)
        self._slots.release(running.address)
        if exit_class is ExitClass.CANCELLED:
            cause = end.cause or "stopped"
            self._journal.append(ev.StageCancelled(stage=running.address, cause=cause))
        elif exit_class is not ExitClass.DONE:
            self._follow_up(running, end)

    def _succeed(self, running: Running, artifacts: dict[str, str]) -> None:
        attempt = self.state.stages[running.address].attempts[-1]
        self._attempts.record(running, artifacts, seconds=time.time() - attempt.started)
        end = AttemptEnd(attempt.attempt_id, 0, None, "")
        self._journal.append(ended_event(running.job, end, ExitClass.DONE, None))
        self._journal.append(
            ev.StageFinished(
                stage=running.address, content_key=running.job.content_key, artifacts=artifacts
            )
        )
        self._succeeded(running.address)

    def _succeeded(self, address: str) -> None:
        self._ready.succeeded(address)
        self._advance(self.state.stages[address].driver)

    def _follow_up(self, running: Running, end: AttemptEnd) -> None:
        """The next attempt, or the end of the stage."""
        decision = self._decide(running, end)
        if isinstance(decision, GiveUp):
            self._fail(running.address, decision, rank=end.rank)
            return
        self._journal.append(
            ev.RetryScheduled(
                stage=running.address,
                attempt=running.job.attempt + 1,
                delay_seconds=decision.delay_seconds,
                why=decision.why,
            )
        )
        stage, capacity = running.prepared.planned.stage, self._executor.capacity
        prepared = replace(running.prepared, wanted=demand(stage, capacity, nodes=end.nodes))
        self._sleeping.add(running.address, prepared, decision.delay_seconds)

    def _decide(self, running: Running, end: AttemptEnd) -> TryAgain | GiveUp:
        past = past_attempts(self.state.stages[running.address], self.state.session)
        return decide(running.prepared.planned.stage.retry, past, end)

    def _fail(self, address: str, verdict: GiveUp, *, rank: int | None = None) -> None:
        stage = self.state.stages[address]
        self._journal.append(failed_event(stage, verdict, rank))
        for below in self._ready.below(address):
            self._journal.append(ev.StageBlocked(stage=below, by=address))
        if stage.driver:
            self._advance(stage.driver)
        else:
            self._draining = self._draining or not self._options.keep_going

    # --- drivers

    def _plan_cell(self, stage: Stage) -> PlannedStage:
        # By content: what it reads may have been made anew, or be of another driver.
        planned = replace(planned_stage(stage, self._plan_keys, self._digests), by_content=True)
        self._plan_keys[stage.address] = planned.plan_key
        return planned

    def _advance(self, address: str) -> None:
        """Asks a driver for all it can say by now; nothing for "", the driver of no cell."""
        if address not in self._drivers:
            return
        driver, prepared = self._drivers[address]
        try:
            while (step := driver.step(self.state)) is not None:
                if isinstance(step, Done):
                    self._finish_driver(driver, prepared, step)
                    return
                self._take_cells(address, step)
        except DriverFailed as exc:
            del self._drivers[address]
            for cell in [a for a, s in self.state.stages.items() if s.driver == address]:
                if self._queue.pop(cell, None) or self._sleeping.pop(cell):
                    self._journal.append(ev.StageBlocked(stage=cell, by=address))
            self._fail(address, exc.verdict)

    def _take_cells(self, address: str, proposal: Proposal) -> None:
        if not proposal.cells:
            return
        self._journal.append(proposed_event(address, proposal))
        for _, planned in proposal.cells:
            above = planned.stage.upstream
            missing = [one for one in above if not self.state.stages[one].succeeded]
            self._stages[planned.stage.address] = planned
            self._ready.add(planned.stage.address, missing)

    def _finish_driver(self, driver: Driver, prepared: Prepared, done: Done) -> None:
        try:
            self._attempts.check_as_planned(prepared)
        except ConfigError as exc:
            raise DriverFailed(exc.worker_exit, str(exc)) from exc
        outputs = driver.outputs(done, self.state, self._attempts.commit_written)
        self._attempts.record_result(
            prepared.planned,
            prepared.content_key,
            outputs,
            attempt_id=f"{self.state.run}-driver",
            provenance={"cells": driver.num_cells},
        )
        del self._drivers[prepared.address]
        self._journal.append(
            ev.StageFinished(
                stage=prepared.address, content_key=prepared.content_key, artifacts=outputs
            )
        )
        self._succeeded(prepared.address)
