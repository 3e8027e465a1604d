"""The run loop against an executor that ends attempts as told, with real artifacts and leases."""

import dataclasses
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cache.artifacts import Artifacts
from pipeline.cache.leases import Leases
from pipeline.errors import (
    Cancelled,
    InfrastructureError,
    StageFailed,
    StoreError,
    UserError,
)
from pipeline.executors.base import AttemptEnd, Capacity
from pipeline.executors.fake import FakeExecutor
from pipeline.planner.plan import Action
from pipeline.planner.selection import Selection
from pipeline.runner import events as ev
from pipeline.runner.cancel import Cancellation, request_cancel
from pipeline.runner.events import Entry
from pipeline.runner.journal import Journal, list_runs, load_run
from pipeline.runner.leases import run_lease
from pipeline.runner.run import is_running
from pipeline.runner.state import RunState, RunStatus, StageStatus
from pipeline.spec.job import Job
from pipeline.spec.ports import FOLDER
from pipeline.spec.resources import Retry
from pipeline.spec.stage import Launch
from tests.planner.desk import Desk, chain, reasons
from tests.runner.lab import Lab, Toy

CHAIN = {"a": Toy("x"), "b": Toy("y", ("a",)), "c": Toy("z", ("b",))}
FORK = {"a": Toy("x"), "b": Toy("y", ("a",)), "c": Toy("z")}


def _started(executor_jobs: list[Job]) -> list[str]:
    return [job.stage for job in executor_jobs]


def test_run_chain_builds_each_stage_from_the_one_before(lab: Lab) -> None:
    executor = lab.executor()
    outcome = lab.run(lab.plan(CHAIN), executor)
    assert outcome.error is None
    assert _started(executor.submitted) == ["a", "b", "c"]
    stages = outcome.state.stages
    digest = stages["b"].artifacts["out"]
    assert lab.text(digest) == f"y [('in', ['{stages['a'].artifacts['out']}'])]"
    assert executor.closed
    assert load_run(lab.store, outcome.state.run) == outcome.state


def test_run_second_time_runs_nothing(lab: Lab) -> None:
    lab.run(lab.plan(CHAIN), lab.executor())
    executor = lab.executor()
    outcome = lab.run(lab.plan(CHAIN), executor)
    assert executor.submitted == []
    assert outcome.state.counts() == {"reused": 3}
    assert len(list_runs(lab.store)) == 2


def test_run_one_changed_field_reruns_exactly_what_is_below(lab: Lab) -> None:
    toys = {**CHAIN, "other": Toy("o", ("a",))}
    lab.run(lab.plan(toys), lab.executor())
    executor = lab.executor()
    lab.run(lab.plan({**toys, "b": Toy("changed", ("a",))}), executor)
    assert _started(executor.submitted) == ["b", "c"]


def test_run_same_output_after_all_cuts_off_what_is_below(lab: Lab) -> None:
    lab.run(lab.plan(CHAIN), lab.executor())
    salted = {**CHAIN, "a": Toy("x", salt="refactored")}
    executor = lab.executor()
    outcome = lab.run(lab.plan(salted), executor)
    assert _started(executor.submitted) == ["a"]
    assert [outcome.state.stages[s].status for s in "bc"] == [StageStatus.REUSED] * 2
    assert outcome.state.stages["b"].note.startswith("built by run ")
    # Recorded under the plan key as well: next time the plan itself knows.
    assert all(p.action is Action.REUSE for p in lab.plan(salted).stages.values())
    assert lab.results.latest("toys", "c") == lab.plan(salted).stages["c"].plan_key


def test_run_that_reuses_an_older_result_makes_it_the_latest(lab: Lab) -> None:
    plans = {}
    for text in ("x", "other", "x"):
        toys = {"a": Toy(text), "b": Toy("y", ("a",))}
        lab.run(lab.plan(toys), lab.executor())
        plans[text] = lab.plan(toys)
    for address in "ab":
        assert lab.results.latest("toys", address) == plans["x"].stages[address].plan_key


def test_run_records_what_the_plan_found_by_content_under_the_plan_key(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.build(desk.plan(chain("x", "y")), {"a": "same"})
    salted = chain("salt", "y")
    desk.build(desk.plan(salted, Selection(until=("a",))), {"a": "same"})
    plan = desk.plan(salted)
    assert plan.stages["b"].same_content
    lab = Lab(tmp_path / "store")
    assert lab.run(plan, lab.executor()).state.counts() == {"reused": 2}
    assert reasons(desk.plan(salted), "b") == ["same configuration, code and inputs"]
    assert desk.results.latest("chain", "b") == plan.stages["b"].plan_key


def test_run_forced_stage_looks_nothing_up(lab: Lab) -> None:
    lab.run(lab.plan(CHAIN), lab.executor())
    executor = lab.executor()
    lab.run(lab.plan(CHAIN, force=["b"]), executor)
    assert _started(executor.submitted) == ["b"]


def test_run_forced_stage_begins_without_the_state_of_what_is_there(lab: Lab) -> None:
    def leave_state(job: Job) -> None:
        lab.store.write(f"state/{job.state_key}/step-{job.attempt:08d}/manifest.json", b"{}")

    lab.run(lab.plan(CHAIN), lab.executor(before=leave_state))
    found: list[list[str]] = []

    def look_and_leave(job: Job) -> None:
        found.append(lab.store.list(f"state/{job.state_key}"))
        leave_state(job)

    # Two attempts: the second goes on with what the first left.
    executor = lab.executor({"b": [75, 0]}, before=look_and_leave)
    lab.run(lab.plan(CHAIN, force=["b"]), executor)
    assert found == [[], ["step-00000001"]]


def test_run_state_belongs_to_one_content_of_the_inputs(lab: Lab) -> None:
    executor = lab.executor()
    lab.run(lab.plan(CHAIN), executor)
    job = executor.submitted[0]
    other = job.model_copy(update={"content_key": "f" * 64})
    assert job.state_key != other.state_key
    assert job.state_key.startswith(job.plan_key)


def test_run_independent_stages_run_side_by_side_within_the_machine(lab: Lab) -> None:
    most = {"running": 0}
    executor = lab.executor(
        capacity=Capacity(cpus=3, memory_bytes=None, gpus=0),
        before=lambda job: most.update(running=max(most["running"], len(executor.running))),
    )
    lab.run(lab.plan({str(n): Toy(str(n)) for n in range(7)}), executor)
    assert most["running"] == 3
    assert len(executor.submitted) == 7


def test_run_max_parallel_holds_back_a_matrix(lab: Lab) -> None:
    most = {"running": 0}
    executor = lab.executor(
        before=lambda job: most.update(running=max(most["running"], len(executor.running)))
    )
    cells = {f"m[x={n}]": Toy(str(n), name="m", max_parallel=2) for n in range(5)}
    lab.run(lab.plan(cells), executor)
    assert most["running"] == 2


def test_run_jobs_limits_attempts(lab: Lab) -> None:
    most = {"running": 0}
    executor = lab.executor(
        before=lambda job: most.update(running=max(most["running"], len(executor.running)))
    )
    lab.run(lab.plan({str(n): Toy(str(n)) for n in range(4)}), executor, jobs=1)
    assert most["running"] == 1


def test_run_what_can_never_fit_is_refused_before_anything_is_written(lab: Lab) -> None:
    executor = lab.executor(capacity=Capacity(cpus=2, memory_bytes=None, gpus=0))
    toys = {"a": Toy("x", launch=Launch.GANG, resources={"nodes": 3})}
    with pytest.raises(UserError, match=r"stages\.a\.resources: 3 processes: needs 3 CPUs"):
        lab.run(lab.plan(toys), executor)
    assert list_runs(lab.store) == []
    assert executor.closed


def test_run_workers_parts_are_joined_by_the_runner(lab: Lab) -> None:
    toys = {"w": Toy("x", launch=Launch.WORKERS, resources={"workers": 3})}
    outcome = lab.run(lab.plan(toys), lab.executor())
    digest = outcome.state.stages["w"].artifacts["out"]
    files = sorted(path.name for path in (lab.folder / "artifacts" / digest / "files").iterdir())
    assert files == ["0.txt", "1.txt", "2.txt"]


def test_run_job_carries_the_whole_order(lab: Lab) -> None:
    toys = {"m[p=a/b]": Toy("x", launch=Launch.GANG, resources={"nodes": 2, "gpus_per_node": 0})}
    executor = lab.executor()
    outcome = lab.run(lab.plan(toys), executor)
    (job,) = executor.submitted
    assert Job.model_validate_json((Path(job.folder) / "job.json").read_bytes()) == job
    assert Path(job.folder).parent.name == "m[p=a%2Fb]"
    assert (job.nodes, job.processes_per_node, job.attempt) == (2, 1, 1)
    assert job.lease_token == job.attempt_id
    assert outcome.state.stages["m[p=a/b]"].attempts[0].folder == job.folder


# --- failures


def test_run_crash_is_retried_until_it_works(lab: Lab) -> None:
    executor = lab.executor({"a": [1, 137]})
    outcome = lab.run(lab.plan(CHAIN), executor)
    assert outcome.error is None
    assert _started(executor.submitted) == ["a", "a", "a", "b", "c"]
    assert [a.exit_code for a in outcome.state.stages["a"].attempts] == [1, 137, 0]
    assert len({job.attempt_id for job in executor.submitted}) == 5


def test_run_last_counted_attempt_fails_the_stage_and_blocks_what_is_below(lab: Lab) -> None:
    executor = lab.executor({"a": [1, 137, 1]})
    outcome = lab.run(lab.plan(CHAIN), executor)
    assert isinstance(outcome.error, StageFailed)
    assert outcome.state.counts() == {"failed": 1, "blocked": 2}
    assert outcome.state.status is RunStatus.FAILED


def test_run_crash_that_repeats_itself_is_not_tried_a_third_time(lab: Lab) -> None:
    executor = lab.executor({"a": [1, 1, 0]})
    outcome = lab.run(lab.plan(CHAIN), executor)
    assert _started(executor.submitted) == ["a", "a"]
    assert "exit 1 (twice the same: not tried again)" in str(outcome.error)


def test_run_bad_data_is_never_retried_and_says_what_to_do(lab: Lab) -> None:
    end = AttemptEnd("", 65, 1, "rank 1: DataError: train-00003.tar: byte 512: truncated")
    executor = lab.executor({"a": [end]})
    outcome = lab.run(lab.plan(CHAIN), executor)
    assert _started(executor.submitted) == ["a"]
    folder = executor.submitted[0].folder
    assert str(outcome.error) == (
        "a: attempt 1: 65 bad data: rank 1: DataError: train-00003.tar: byte 512: truncated.\n"
        f"  Log: {folder}/logs/rank-1.log\n"
        "  Mend or leave out the data named above, then `pipeline run` the DAG again."
    )


def test_run_store_that_workers_cannot_write_is_no_fault_of_the_stage(lab: Lab) -> None:
    outcome = lab.run(lab.plan(CHAIN), lab.executor({"a": [74, 74, 74]}))
    assert isinstance(outcome.error, InfrastructureError)
    assert "74 store or disk failed" in str(outcome.error)


def test_run_preemptions_are_free_while_there_is_progress(lab: Lab) -> None:
    plan = lab.plan({"a": Toy("x", retry=Retry(max_attempts=1, backoff_seconds=0))})
    steps = iter(range(10, 1000, 10))

    def checkpoint(job: Job) -> None:
        lab.store.write(f"state/{job.state_key}/step-{next(steps):08d}/manifest.json", b"{}")

    executor = lab.executor({"a": [75] * 6}, before=checkpoint)
    outcome = lab.run(plan, executor)
    assert outcome.error is None
    assert [a.step for a in outcome.state.stages["a"].attempts] == [10, 20, 30, 40, 50, 60, None]


def test_run_preemptions_without_progress_stop_with_their_own_class(lab: Lab) -> None:
    executor = lab.executor({"a": [75] * 9})
    outcome = lab.run(lab.plan({"a": Toy("x")}), executor)
    assert len(executor.submitted) == 3
    (failure,) = outcome.state.failures()
    assert failure.exit_code == 70
    assert failure.cause.startswith("no progress: 3 attempts in a row ended before a first check")


def test_run_lost_node_is_free(lab: Lab) -> None:
    lost = AttemptEnd("", 137, None, "node n1 went away", lost_node=True)
    plan = lab.plan({"a": Toy("x", retry=Retry(max_attempts=1, backoff_seconds=0))})
    assert lab.run(plan, lab.executor({"a": [lost]})).error is None


def test_run_without_keep_going_starts_nothing_after_a_failure(lab: Lab) -> None:
    executor = lab.executor({"a": [65]})
    outcome = lab.run(lab.plan(FORK), executor, jobs=1)
    assert _started(executor.submitted) == ["a"]
    assert outcome.state.counts() == {"failed": 1, "blocked": 1, "waiting": 1}


def test_run_keep_going_builds_all_that_does_not_depend_on_it(lab: Lab) -> None:
    executor = lab.executor({"a": [65]})
    outcome = lab.run(lab.plan(FORK), executor, jobs=1, keep_going=True)
    assert _started(executor.submitted) == ["a", "c"]
    assert isinstance(outcome.error, StageFailed)
    assert outcome.state.stages["c"].succeeded


def test_run_success_without_an_output_is_the_codes_fault(lab: Lab) -> None:
    def write_nothing(job: Job) -> int:
        for rank in range(job.world_size):
            Artifacts(lab.store).write_part(
                job.plan_key, job.attempt_id, {"out": FOLDER}, rank=rank
            )
        return 0

    outcome = lab.run(lab.plan({"a": Toy("x")}), FakeExecutor(write_nothing))
    (failure,) = outcome.state.failures()
    assert failure.exit_code == 73
    assert "output port out: the stage wrote no file into it" in failure.cause


def test_run_blocked_stage_is_a_usage_error(lab: Lab) -> None:
    plan = lab.plan(CHAIN)
    blocked = dataclasses.replace(
        plan.stages["b"], action=Action.BLOCKED, reasons=("a is left out and has no result",)
    )
    plan = dataclasses.replace(plan, stages={**plan.stages, "b": blocked})
    with pytest.raises(UserError, match="b: a is left out and has no result"):
        lab.run(plan, lab.executor())


def test_run_accepted_code_is_recorded_and_journaled(lab: Lab) -> None:
    first = lab.run(lab.plan(CHAIN), lab.executor()).state
    salted = lab.plan({**CHAIN, "a": Toy("x", salt="new code")})
    accepted = dataclasses.replace(
        salted.stages["a"],
        action=Action.REUSE,
        artifacts=first.stages["a"].artifacts,
        accepted=True,
    )
    plan = dataclasses.replace(salted, stages={**salted.stages, "a": accepted})
    executor = lab.executor()
    outcome = lab.run(plan, executor)
    assert executor.submitted == []
    assert outcome.state.stages["a"].note == "code c0de accepted"
    again = lab.plan({**CHAIN, "a": Toy("x", salt="new code")})
    assert all(p.action is Action.REUSE for p in again.stages.values())


# --- stopping


class _At:
    """Asks for a stop when the stage `stage` has started."""

    def __init__(self, stage: str, act: Callable[[], None]) -> None:
        self.stage, self.act = stage, act

    def event(self, entry: Entry, state: RunState) -> None:
        if isinstance(entry.event, ev.AttemptStarted) and entry.event.stage == self.stage:
            self.act()

    def tick(self, state: RunState) -> None:
        pass


def test_run_first_request_saves_and_the_run_can_be_resumed(lab: Lab) -> None:
    executor = lab.executor({"b": [None]})
    listener = _At("b", lab.cancellation.request)
    outcome = lab.run(lab.plan(CHAIN), executor, listener=listener)
    assert isinstance(outcome.error, Cancelled)
    assert executor.stopped == [(executor.submitted[1].attempt_id, False)]
    assert outcome.state.counts() == {"done": 1, "cancelled": 1, "waiting": 1}
    lab.cancellation = Cancellation()
    executor = lab.executor()
    again = lab.run(lab.plan(CHAIN), executor, resume_run=outcome.state.run)
    assert again.error is None
    assert [(job.stage, job.attempt) for job in executor.submitted] == [("b", 2), ("c", 1)]
    assert list_runs(lab.store) == [again.state.run]


def test_run_second_request_ends_at_once(lab: Lab) -> None:
    executor = lab.executor({"a": [None]})
    listener = _At("a", lambda: lab.cancellation.request(now=True))
    outcome = lab.run(lab.plan(CHAIN), executor, listener=listener)
    assert executor.stopped[-1][1] is True
    assert outcome.state.stages["a"].attempts[0].exit_code == 137
    assert outcome.state.status is RunStatus.CANCELLED


def test_run_stage_that_fails_for_good_while_the_run_stops_has_failed(lab: Lab) -> None:
    bad = AttemptEnd("", 65, 0, "DataError: truncated")
    executor = lab.executor({"a": [bad]}, before=lambda job: lab.cancellation.request())
    outcome = lab.run(lab.plan(CHAIN), executor)
    assert outcome.state.stages["a"].status is StageStatus.FAILED
    assert isinstance(outcome.error, StageFailed)


def test_run_request_through_the_store_is_heard(lab: Lab) -> None:
    executor = lab.executor({"a": [None]})
    plan = lab.plan(CHAIN)
    listener = _At("a", lambda: request_cancel(lab.store, list_runs(lab.store)[0], now=False))
    outcome = lab.run(plan, executor, listener=listener)
    assert outcome.state.status is RunStatus.CANCELLED
    lab.run(plan, lab.executor(), resume_run=outcome.state.run)
    assert load_run(lab.store, outcome.state.run).status is RunStatus.SUCCEEDED


def test_run_cancelled_while_it_pauses_before_a_retry(lab: Lab) -> None:
    toys = {"a": Toy("x", retry=Retry(max_attempts=2, backoff_seconds=600))}
    executor = lab.executor({"a": [1]}, before=lambda job: lab.cancellation.request())
    outcome = lab.run(lab.plan(toys), executor)
    assert outcome.state.stages["a"].status is StageStatus.CANCELLED
    assert outcome.state.status is RunStatus.CANCELLED


# --- two runners, failing stores


def test_run_waits_for_another_runner_and_takes_its_result(lab: Lab, tmp_path: Path) -> None:
    plan = lab.plan({"a": Toy("x")})
    key = plan.stages["a"].plan_key
    other = Leases(lab.store)
    assert other.acquire(key, "other")

    class Finish:
        def event(self, entry: Entry, state: RunState) -> None:
            if isinstance(entry.event, ev.StageWaiting):
                lab.run(lab.plan({"a": Toy("x", salt="same bytes")}), lab.executor())
                twin = lab.plan({"a": Toy("x", salt="same bytes")}).stages["a"].plan_key
                result = lab.results.lookup(twin)
                assert result
                lab.results.record([key], result)
                other.release(key, "other")

        def tick(self, state: RunState) -> None:
            pass

    executor = lab.executor()
    outcome = lab.run(plan, executor, listener=Finish())
    assert executor.submitted == []
    assert outcome.state.stages["a"].status is StageStatus.REUSED


def test_run_twin_stages_of_one_key_are_built_once(lab: Lab) -> None:
    executor = lab.executor()
    outcome = lab.run(lab.plan({"a": Toy("x"), "twin": Toy("x")}), executor)
    assert _started(executor.submitted) == ["a"]
    assert outcome.state.counts() == {"done": 1, "reused": 1}


def test_run_builds_it_when_the_other_runner_gives_up(lab: Lab) -> None:
    plan = lab.plan({"a": Toy("x")})
    key = plan.stages["a"].plan_key
    other = Leases(lab.store)
    other.acquire(key, "other")

    class GiveUp:
        def event(self, entry: Entry, state: RunState) -> None:
            if isinstance(entry.event, ev.StageWaiting):
                other.release(key, "other")

        def tick(self, state: RunState) -> None:
            pass

    executor = lab.executor()
    assert lab.run(plan, executor, listener=GiveUp()).error is None
    assert _started(executor.submitted) == ["a"]


def test_resume_run_that_another_runner_has_is_refused(lab: Lab) -> None:
    plan = lab.plan(CHAIN)
    outcome = lab.run(plan, lab.executor({"a": [65]}))
    run_id = outcome.state.run
    Leases(lab.store).acquire(run_lease(run_id), "other")
    assert is_running(lab.store, run_id)
    with pytest.raises(InfrastructureError, match="is running it"):
        lab.run(plan, lab.executor(), resume_run=run_id)


def test_run_overtaken_by_another_runner_stops_what_it_started(lab: Lab) -> None:
    executor = lab.executor({"a": [None]})

    def overtake() -> None:
        run_id = list_runs(lab.store)[0]
        other = Journal(lab.store, load_run(lab.store, run_id))
        other.append(ev.RunStarted(dag="toys", host="elsewhere", pid=1))
        lab.cancellation.request()

    with pytest.raises(InfrastructureError, match="another runner continued it"):
        lab.run(lab.plan(CHAIN), executor, listener=_At("a", overtake))
    assert executor.stopped == [(executor.submitted[0].attempt_id, False)]


def test_run_attempt_whose_lease_was_taken_cannot_commit(lab: Lab) -> None:
    plan = lab.plan({"a": Toy("x", launch=Launch.WORKERS)})
    key = plan.stages["a"].plan_key
    stolen: list[str] = []

    def steal(job: Job) -> None:
        if not stolen:
            stolen.append(job.attempt_id)
            Leases(lab.store).release(key, job.attempt_id)
            Leases(lab.store).acquire(key, "thief")
            Leases(lab.store).release(key, "thief")

    outcome = lab.run(plan, lab.executor(before=steal))
    attempts = outcome.state.stages["a"].attempts
    assert [a.exit_class for a in attempts] == ["free", "done"]
    assert "no longer holds the lease" in attempts[0].cause


@pytest.mark.parametrize("code", [137, 74])
def test_run_attempt_that_ends_for_a_lost_lease_is_not_charged(lab: Lab, code: int) -> None:
    """137 when the runner ends it, 74 when its own commit finds the lease gone."""
    plan = lab.plan({"a": Toy("x", retry=Retry(max_attempts=1, backoff_seconds=0))})
    key = plan.stages["a"].plan_key

    def steal(job: Job) -> None:
        if job.attempt == 1:
            Leases(lab.store).release(key, job.attempt_id)
            Leases(lab.store).acquire(key, "thief")
            Leases(lab.store).release(key, "thief")

    outcome = lab.run(plan, lab.executor({"a": [code]}, before=steal))
    assert outcome.error is None
    first, second = outcome.state.stages["a"].attempts
    assert (first.exit_class, second.exit_class) == ("free", "done")
    assert first.cause.startswith("another runner took its lease over")


def test_run_store_that_turns_read_only_stops_resumably(lab: Lab) -> None:
    plan = lab.plan(CHAIN)
    broken = {"a": False}

    def break_store(job: Job) -> None:
        if job.stage == "b" and not broken["a"]:
            broken["a"] = True
            # A file where the journal's folder was: every user meets it, root too.
            events = lab.folder / "runs" / job.run / "events"
            events.rename(events.with_name("kept"))
            events.write_text("")

    with pytest.raises(StoreError, match=r"Remove that file"):
        lab.run(plan, lab.executor(before=break_store))
    (run_id,) = list_runs(lab.store)
    events = lab.folder / "runs" / run_id / "events"
    events.unlink()
    events.with_name("kept").rename(events)
    executor = lab.executor()
    outcome = lab.run(lab.plan(CHAIN), executor, resume_run=run_id)
    assert outcome.error is None
    assert _started(executor.submitted) == ["c"]


def test_resume_takes_up_attempts_that_a_killed_runner_left(lab: Lab) -> None:
    plan = lab.plan(CHAIN)
    with pytest.raises(KeyboardInterrupt):
        lab.run(plan, lab.executor(before=_kill))
    (run_id,) = list_runs(lab.store)
    assert load_run(lab.store, run_id).stages["a"].attempts[0].ended is None
    executor = lab.executor()
    assert lab.run(lab.plan(CHAIN), executor, resume_run=run_id).error is None
    assert (executor.submitted[0].stage, executor.submitted[0].attempt) == ("a", 2)


def _kill(job: Job) -> None:
    raise KeyboardInterrupt


def test_run_leaves_no_lease_and_nothing_staged(lab: Lab) -> None:
    outcome = lab.run(lab.plan(CHAIN), lab.executor({"b": [1]}))
    assert Leases(lab.store).held() == {}
    assert [p for p in (lab.folder / "staging").rglob("*") if p.is_file()] == []
    assert not is_running(lab.store, outcome.state.run)


def test_run_clears_what_a_killed_attempt_staged(lab: Lab) -> None:
    plan = lab.plan({"a": Toy("x")})
    left = f"staging/{plan.stages['a'].plan_key}/{secrets.token_hex(4)}/0/out/half"
    lab.store.write(left, b"half")
    lab.run(plan, lab.executor())
    assert not lab.store.exists(left)
