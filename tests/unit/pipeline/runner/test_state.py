"""The fold of events: attempts over sessions, and what a new plan keeps."""

import pytest

from pipeline.runner import events as ev
from pipeline.runner.events import Entry, Event
from pipeline.runner.state import RunState, RunStatus, StageStatus, replay


def _replay(*events: Event) -> RunState:
    return replay("r", (Entry(n, float(n), event) for n, event in enumerate(events, 1)))


def _plan(*names: str, action: str = "run") -> ev.StagesPlanned:
    return ev.StagesPlanned(
        stages=tuple(
            ev.PlannedEntry(stage=n, kind="k", launch="process", plan_key=n, action=action)
            for n in names
        )
    )


STARTED = ev.RunStarted(dag="d", host="h", pid=1)


def _attempt(number: int, stage: str = "a") -> ev.AttemptStarted:
    return ev.AttemptStarted(
        stage=stage,
        attempt=number,
        attempt_id=f"i{number}",
        content_key="c",
        folder="/f",
        nodes=2,
        processes_per_node=2,
    )


def test_replay_crash_then_retry_keeps_both_attempts() -> None:
    state = _replay(
        STARTED,
        _plan("a"),
        _attempt(1),
        ev.AttemptEnded(
            stage="a", attempt=1, exit_code=137, exit_class="counted", rank=3, cause="killed"
        ),
        ev.RetryScheduled(stage="a", attempt=2, delay_seconds=5, why="killed"),
    )
    stage = state.stages["a"]
    assert (stage.status, stage.retry_at, stage.note) == (StageStatus.RETRYING, 10.0, "killed")
    assert [(a.exit_code, a.rank, a.num_processes) for a in stage.attempts] == [(137, 3, 4)]
    assert stage.busy_seconds == 1.0


def test_replay_killed_runner_leaves_an_attempt_without_end() -> None:
    state = _replay(STARTED, _plan("a"), _attempt(1), STARTED, _plan("a"), _attempt(2))
    assert [(a.session, a.ended) for a in state.stages["a"].attempts] == [(1, None), (2, None)]
    assert state.session == 2


def test_replay_resumed_run_forgets_how_the_last_session_ended() -> None:
    state = _replay(
        STARTED,
        _plan("a"),
        _attempt(1),
        ev.StageFailed(
            stage="a",
            attempt=1,
            rank=0,
            exit_code=65,
            exit_name="65 bad data",
            cause="c",
            log="",
            advice="",
        ),
        ev.RunEnded(status="failed", counts={}),
        STARTED,
        _plan("a"),
    )
    assert state.status is RunStatus.RUNNING
    assert state.failures() == []
    assert state.stages["a"].status is StageStatus.WAITING
    assert len(state.stages["a"].attempts) == 1


def test_replay_failure_blocks_what_is_below() -> None:
    state = _replay(STARTED, _plan("a", "b"), ev.StageBlocked(stage="b", by="a"))
    assert state.stages["b"].note == "a failed"
    assert state.counts() == {"waiting": 1, "blocked": 1}


def test_replay_cells_join_the_stages_under_their_driver() -> None:
    cell = ev.ProposedCell(name="x", address="a/x", kind="k", plan_key="f")
    events = (STARTED, _plan("a"), ev.CellsProposed(stage="a", history=0, cells=(cell,)))
    state = _replay(*events, _attempt(1, "a/x"))
    assert state.stages["a"].status is StageStatus.RUNNING
    assert state.stages["a/x"].driver == "a"
    again = _replay(*events, _attempt(1, "a/x"), *events)
    assert again.stages["a/x"].status is StageStatus.WAITING
    assert len(again.stages["a/x"].attempts) == 1


def test_replay_reused_stage_has_its_artifacts() -> None:
    reused = ev.StageReused(stage="a", how="content key", reason="r", artifacts={"o": "d"})
    stage = _replay(STARTED, _plan("a"), reused).stages["a"]
    assert stage.succeeded
    assert stage.artifacts == {"o": "d"}


FINISHED = ev.StageFinished(stage="a", content_key="c", artifacts={"o": "d"})
FAILED = ev.StageFailed(
    stage="b", attempt=1, rank=0, exit_code=1, exit_name="1", cause="c", log="", advice=""
)


def _planned(**actions: str) -> ev.StagesPlanned:
    artifacts = {"reuse": {"o": "d"}}
    return ev.StagesPlanned(
        stages=tuple(
            ev.PlannedEntry(
                stage=n,
                kind="k",
                launch="process",
                plan_key=n,
                action=action,
                artifacts=artifacts.get(action, {}),
            )
            for n, action in actions.items()
        )
    )


@pytest.mark.parametrize("action", ["reuse", "skip"])
def test_replay_stage_that_this_run_built_stays_done_in_later_sessions(action: str) -> None:
    state = _replay(STARTED, _plan("a"), _attempt(1), FINISHED, STARTED, _planned(a=action))
    assert state.stages["a"].status is StageStatus.DONE
    assert state.stages["a"].artifacts == {"o": "d"}


def test_replay_stage_built_anew_elsewhere_is_reused() -> None:
    other = ev.StageFinished(stage="a", content_key="c", artifacts={"o": "older"})
    state = _replay(STARTED, _plan("a"), _attempt(1), other, STARTED, _planned(a="reuse"))
    assert state.stages["a"].status is StageStatus.REUSED
    assert state.stages["a"].artifacts == {"o": "d"}


def test_replay_failure_that_was_not_tried_again_is_still_one() -> None:
    events = (STARTED, _plan("a", "b"), FAILED, STARTED, _planned(a="run", b="skip"))
    assert _replay(*events).failures() == [FAILED]


def test_replay_cell_that_is_found_again_stays_done() -> None:
    cell = ev.ProposedCell(name="x", address="a", kind="k", plan_key="f")
    asked = (STARTED, _plan("s"), ev.CellsProposed(stage="s", history=0, cells=(cell,)))
    reused = ev.StageReused(stage="a", how="content key", reason="r", artifacts={"o": "d"})
    state = _replay(*asked, _attempt(1), FINISHED, *asked, reused)
    assert state.stages["a"].status is StageStatus.DONE
    skipped = _replay(*asked, _attempt(1), FINISHED, STARTED, _planned(s="skip"))
    assert skipped.stages["a"].status is StageStatus.DONE


def test_replay_time_between_sessions_is_not_the_runs() -> None:
    ended = ev.RunEnded(status="cancelled", counts={})
    events: list[tuple[float, Event]] = [
        (10.0, STARTED),
        (15.0, ended),
        (1000.0, STARTED),
        (1002.0, _plan("a")),
        (1003.0, ended),
    ]
    state = RunState("r")
    for number, (moment, event) in enumerate(events, 1):
        state.apply(Entry(number, moment, event))
    assert state.busy_seconds == 8.0
