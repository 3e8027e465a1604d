"""Runs as the report sees them, without running anything: small and valid by default."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.report.gather import RunView
from pipeline.report.points import Column, PointsFile
from pipeline.runner.machine import Machine
from pipeline.runner.record import Request, RunRecord
from pipeline.runner.state import AttemptState, RunState, RunStatus, StageState, StageStatus

START = 1_700_000_000.0


def attempt(
    start: float,
    end: float | None,
    *,
    number: int = 1,
    exit_class: str = "done",
    folder: str = "/no",
) -> AttemptState:
    """Times count from the run's start; an `exit_class` but "done" failed with 1."""
    return AttemptState(
        number=number,
        attempt_id=f"{folder}-{number}-{start}",
        folder=folder,
        session=1,
        started=START + start,
        num_processes=1,
        ended=None if end is None else START + end,
        exit_code=None if end is None else int(exit_class != "done"),
        exit_class=None if end is None else exit_class,
    )


def stage(
    address: str,
    upstream: Sequence[str] = (),
    *,
    status: StageStatus = StageStatus.DONE,
    attempts: Sequence[AttemptState] = (),
    driver: str = "",
) -> StageState:
    """A stage of a run."""
    return StageState(
        address=address,
        kind="toy",
        launch="process",
        plan_key=f"key of {address}",
        status=status,
        upstream=tuple(upstream),
        attempts=list(attempts),
        driver=driver,
    )


def state(*stages: StageState, status: RunStatus = RunStatus.SUCCEEDED) -> RunState:
    """A run of these stages."""
    ends = [a.ended or a.started for one in stages for a in one.attempts] or [START]
    return RunState(
        run="20231114-221320-abcd",
        dag="toys",
        status=status,
        session=1,
        started=START,
        updated=max(ends),
        ended=None if status is RunStatus.RUNNING else max(ends),
        stages={one.address: one for one in stages},
    )


def record(settings: Mapping[str, dict[str, tuple[str, str]]] | None = None) -> RunRecord:
    """What run.json says."""
    machine = Machine(
        host="here", system="Linux", python="3.11", cpu="x", cpus=2, memory_bytes=1 << 30, gpus=()
    )
    return RunRecord(
        run="20231114-221320-abcd",
        dag="toys",
        started=START,
        store="file:///store",
        request=Request(file="/a/dag.yaml", text="name: toys\n"),
        resolved={},
        seeds={},
        settings=dict(settings or {}),
        code=(),
        packages={"torch": "2.0"},
        machine=machine,
    )


def view(
    of: RunState,
    *,
    about: RunRecord | None = None,
    points: Mapping[str, Sequence[PointsFile]] | None = None,
    scores: Mapping[str, Mapping[str, float]] | None = None,
) -> RunView:
    """A run with nothing else to it."""
    return RunView(
        state=of,
        record=about or record(),
        artifacts=[],
        reused={},
        scores=scores or {},
        tables=[],
        points=points or {},
        progress={},
        notes=[],
        read_at=START + 1000,
    )


def points(series: Mapping[str, Sequence[tuple[int, float]]]) -> PointsFile:
    """What an attempt recorded: name -> (step, value)."""
    file = PointsFile(Path("/no/metrics.jsonl"))
    for name, pairs in series.items():
        column = file.columns[name] = Column()
        for step, value in pairs:
            column.steps.append(step)
            column.values.append(value)
    return file
