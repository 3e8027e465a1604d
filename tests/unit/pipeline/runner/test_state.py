"""The fold of events: attempts over sessions, and what a new plan keeps."""

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
