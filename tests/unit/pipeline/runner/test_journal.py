"""The journal: append, replay, and the second runner that loses."""

from pathlib import Path

import pytest

from pipeline.errors import InfrastructureError, UserError
from pipeline.runner import events as ev
from pipeline.runner.journal import (
    Journal,
    event_key,
    list_runs,
    load_run,
    read_entries,
    record_key,
)
from pipeline.runner.state import RunState, RunStatus, StageStatus
from pipeline.storage import Store

PLAN = ev.StagesPlanned(
    stages=(
        ev.PlannedEntry(stage="a", kind="k", launch="process", plan_key="f", action="run"),
        ev.PlannedEntry(
            stage="b", kind="k", launch="process", plan_key="g", action="run", upstream=("a",)
        ),
    )
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def _started(store: Store, run: str = "r1") -> Journal:
    journal = Journal(store, RunState(run), clock=lambda: 100.0)
    journal.append(ev.RunStarted(dag="d", host="h", pid=1))
    journal.append(PLAN)
    return journal


def _attempt(number: int) -> ev.AttemptStarted:
    return ev.AttemptStarted(
        stage="a",
        attempt=number,
        attempt_id=f"i{number}",
        content_key="c",
        folder="/f",
        nodes=1,
        processes_per_node=2,
    )


def test_load_run_replays_what_was_appended(store: Store) -> None:
    journal = _started(store)
    journal.append(_attempt(1))
    journal.append(ev.AttemptEnded(stage="a", attempt=1, exit_code=0, exit_class="done"))
    journal.append(ev.StageFinished(stage="a", content_key="c", artifacts={"out": "d1"}))
    state = load_run(store, "r1")
    assert state == journal.state
    assert state.stages["a"].status is StageStatus.DONE
    assert state.stages["a"].artifacts == {"out": "d1"}
    assert state.stages["b"].status is StageStatus.WAITING
    assert state.status is RunStatus.RUNNING


def test_append_second_runner_on_one_run_loses(store: Store) -> None:
    _started(store)
    first = Journal(store, load_run(store, "r1"))
    second = Journal(store, load_run(store, "r1"))
    first.append(ev.CancelRequested(now=False))
    with pytest.raises(InfrastructureError, match="another runner continued it"):
        second.append(_attempt(1))
    assert not second.state.stages["a"].attempts


def test_append_finds_its_own_bytes_after_a_lost_answer(store: Store) -> None:
    journal = _started(store)
    event = ev.CancelRequested(now=False)
    store.create(event_key("r1", 3), ev.encode(ev.Entry(3, 100.0, event)))
    journal.append(event)
    assert journal.state.entries == 3


def test_append_tells_the_listener_after_the_state_knows(store: Store) -> None:
    heard = []
    journal = Journal(
        store,
        RunState("r1"),
        listener=lambda entry, state: heard.append((entry.number, state.dag)),
    )
    journal.append(ev.RunStarted(dag="d", host="h", pid=1))
    assert heard == [(1, "d")]


@pytest.mark.parametrize("loss", ["missing", "empty", "zeros"])
def test_load_run_after_a_lost_event_takes_up_at_the_next_session(store: Store, loss: str) -> None:
    journal = _started(store)
    journal.append(_attempt(1))
    journal.append(ev.StageFinished(stage="a", content_key="c", artifacts={}))
    if loss == "missing":
        store.remove(event_key("r1", 3))
    else:
        store.write(event_key("r1", 3), b"" if loss == "empty" else b"\0" * 40)
    state = load_run(store, "r1")
    assert state.stages["a"].status is StageStatus.WAITING
    again = Journal(store, state)
    again.append(ev.RunStarted(dag="d", host="h", pid=2))
    again.append(PLAN)
    again.append(_attempt(1))
    assert load_run(store, "r1").stages["a"].status is StageStatus.RUNNING
    assert load_run(store, "r1").session == 2


def test_read_entries_can_start_later(store: Store) -> None:
    _started(store)
    assert [entry.number for entry in read_entries(store, "r1", 2)] == [2]


def test_load_run_unknown_run_says_where_to_look(store: Store) -> None:
    with pytest.raises(UserError, match="`pipeline list`"):
        load_run(store, "nope")


def test_load_run_killed_before_its_first_event_is_a_run(store: Store) -> None:
    store.create(record_key("r0"), b"{}")
    assert load_run(store, "r0").stages == {}


def test_list_runs_is_sorted_and_leaves_out_what_is_no_run_yet(store: Store) -> None:
    for run in ("20260102-000000-aaaa", "20260101-000000-zzzz"):
        store.create(record_key(run), b"{}")
    store.create("runs/20260103-000000-bbbb/stages/a/1/job.json", b"{}")
    assert list_runs(store) == ["20260101-000000-zzzz", "20260102-000000-aaaa"]
    assert list_runs(Store(Path("/nonexistent"))) == []
