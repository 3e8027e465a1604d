"""GPU time: held by attempts, and lost behind their last checkpoint."""

import pytest

from pipeline.runner import events as ev
from pipeline.runner.causes import restarts
from pipeline.runner.events import Entry
from pipeline.runner.exposition import RunPages
from pipeline.runner.gpu_time import GpuTime, gpu_time
from pipeline.runner.state import AttemptState, RunState, StageState, StageStatus
from tests.scrapes import OPENMETRICS, parse


def _stage(status: StageStatus, *attempts: AttemptState) -> StageState:
    return StageState("a", "k", "gang", "p", status, attempts=list(attempts))


def _attempt(
    exit_class: str | None, *, step: int | None = None, reached: int | None = None, code: int = 1
) -> AttemptState:
    """100 seconds on 4 GPUs."""
    ended = None if exit_class is None else 1100.0
    return AttemptState(
        number=1,
        attempt_id="i",
        folder="",
        session=1,
        started=1000.0,
        num_processes=4,
        gpus=4,
        ended=ended,
        exit_code=None if exit_class is None else code,
        exit_class=exit_class,
        step=step,
        reached=reached,
    )


def test_gpu_time_of_a_success_is_not_wasted() -> None:
    assert gpu_time(_stage(StageStatus.DONE, _attempt("done")), 0) == GpuTime(400, 0)


@pytest.mark.parametrize(
    ("step", "reached", "wasted"),
    [
        (None, None, 400),  # nothing was saved
        (None, 50, 400),
        (80, 100, 80),  # a fifth of the steps is behind the checkpoint
        (80, None, 0),  # nobody knows of more steps
        (80, 79, 0),  # progress is a little behind the checkpoint
    ],
)
def test_gpu_time_behind_the_last_checkpoint_is_wasted(
    step: int | None, reached: int | None, wasted: float
) -> None:
    stage = _stage(StageStatus.FAILED, _attempt("counted", step=step, reached=reached))
    assert gpu_time(stage, 0).held == 400
    assert gpu_time(stage, 0).wasted == pytest.approx(wasted)


def test_gpu_time_counts_from_the_checkpoint_before() -> None:
    """The second attempt goes on at 80 and saves nothing: it did 40 steps for nothing."""
    first, second = _attempt("free", step=80, reached=100), _attempt("free", step=80, reached=120)
    assert gpu_time(_stage(StageStatus.RETRYING, first, second), 0) == GpuTime(800, 80 + 400)


def test_gpu_time_of_what_runs_grows_and_of_a_killed_runner_is_unknown() -> None:
    runs = _stage(StageStatus.RUNNING, _attempt(None), _attempt(None))
    assert gpu_time(runs, 1010.0) == GpuTime(40, 0)
    assert gpu_time(_stage(StageStatus.CANCELLED, _attempt(None)), 1010.0) == GpuTime(0, 0)


def test_gpu_time_begins_when_the_pods_run() -> None:
    """Ten seconds in the cluster's queue, then 20 that it ran; by the events of a run."""
    plan = ev.PlannedEntry(stage="a", kind="k", launch="gang", plan_key="p", action="run")
    events: list[tuple[float, ev.Event]] = [
        (1.0, ev.RunStarted(dag="d", host="h", pid=1)),
        (2.0, ev.StagesPlanned(stages=(plan,))),
        (10.0, _started()),
        (10.5, ev.AttemptPending(stage="a", why="queued: no quota")),
        (20.0, ev.AttemptPending(stage="a", why="")),
    ]
    pages, state = RunPages(120.0, {}), RunState("r")
    for number, (when, event) in enumerate(events, 1):
        entry = Entry(number, when, event)
        state.apply(entry)
        pages.event(entry, state)
    assert gpu_time(state.stages["a"], 40.0) == GpuTime(4 * 20, 0)
    waits = [one for one in parse(pages.metrics(OPENMETRICS).body.decode()) if "wait" in one.name]
    assert [one.value for one in waits if one.name == "pipeline_stage_queue_wait_seconds"] == [18]


def _started() -> ev.AttemptStarted:
    return ev.AttemptStarted(
        stage="a",
        attempt=1,
        attempt_id="i",
        content_key="c",
        folder="",
        nodes=1,
        processes_per_node=4,
        gpus=4,
    )


@pytest.mark.parametrize(
    ("exit_class", "code", "cause"),
    [
        ("free", 75, "preempted"),
        ("free", 137, "lost"),
        ("counted", 1, "crashed"),
        ("counted", 137, "killed"),
        ("counted", 124, "timeout"),
    ],
)
def test_restarts_are_counted_by_a_cause_of_the_table(
    exit_class: str, code: int, cause: str
) -> None:
    ended = _attempt(exit_class, code=code)
    assert restarts(_stage(StageStatus.RUNNING, ended, _attempt(None))) == {cause: 1}
    assert restarts(_stage(StageStatus.RETRYING, ended)) == {cause: 1}
    assert restarts(_stage(StageStatus.FAILED, ended)) == {}
    assert restarts(_stage(StageStatus.FAILED, ended, _attempt("fatal"))) == {cause: 1}
