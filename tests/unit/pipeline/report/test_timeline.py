import pytest

from pipeline.report.timeline import timeline_of
from pipeline.runner.state import RunStatus
from tests.report import START, attempt, stage, state


def test_bars_stand_where_their_time_is() -> None:
    run = state(
        stage("b", attempts=[attempt(50, 100)]),
        stage("a", attempts=[attempt(0, 20, exit_class="counted"), attempt(25, 75, number=2)]),
        stage("reused"),
    )
    timeline = timeline_of(run, START)
    assert [row.stage for row in timeline.rows] == ["a", "b"]
    first, second = timeline.rows[0].bars
    assert (first.left, first.width, first.look) == (0.0, 20.0, "counted")
    assert (second.left, second.width, second.look) == (25.0, 50.0, "done")
    assert timeline.cuts == []
    assert timeline.ticks[0] == (0.0, "0")


def test_a_night_without_work_is_cut_out() -> None:
    run = state(stage("a", attempts=[attempt(0, 100), attempt(40_000, 40_100, number=2)]))
    timeline = timeline_of(run, START)
    first, second = timeline.rows[0].bars
    assert first.width == pytest.approx(second.width)
    assert first.width > 45
    ((place, width, text),) = timeline.cuts
    assert place == pytest.approx(first.width)
    assert width < 5
    assert text == "11h05m"
    assert not any(place < tick < place + width for tick, _ in timeline.ticks)


def test_an_attempt_without_end_runs_or_was_killed() -> None:
    stages = [stage("a", attempts=[attempt(0, 60)]), stage("b", attempts=[attempt(30, None)])]
    now = START + 120
    running = timeline_of(state(*stages, status=RunStatus.RUNNING), now).rows[1].bars[0]
    killed = timeline_of(state(*stages, status=RunStatus.KILLED), now).rows[1].bars[0]
    assert (running.look, running.left, running.width) == ("running", 25.0, 75.0)
    # The newest event was the end of `a`.
    assert (killed.look, killed.left, killed.width) == ("killed", 50.0, 50.0)


def test_no_time_at_all_is_no_error() -> None:
    assert timeline_of(state(stage("a")), START).rows == []
    assert (
        timeline_of(state(stage("a", attempts=[attempt(5, 5)])), START).rows[0].bars[0].left == 0.0
    )
