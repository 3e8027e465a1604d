"""Whole runs through the command line: reuse, two runners at once, stores that refuse."""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.runner.journal import list_runs, load_run
from pipeline.runner.state import RunState, RunStatus, StageStatus
from tests.integration.kills import Subject
from tests.mounts import read_only, small_disk

FOLDER = Path(__file__).parent
DAG = FOLDER / "dag.yaml"
WAIT_SECONDS = 60.0


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Subject]:
    subject = Subject(DAG, tmp_path)
    yield subject
    subject.close()


def _finish(command: subprocess.Popen[bytes], subject: Subject, code: int = 0) -> RunState:
    assert command.wait(WAIT_SECONDS) == code, subject.log()
    return subject.state()


def _wait_for(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def _runs_now(subject: Subject, stage: str) -> bool:
    runs = list_runs(subject.store)
    state = load_run(subject.store, runs[-1]) if runs else None
    return (
        state is not None
        and stage in state.stages
        and state.stages[stage].status is StageStatus.RUNNING
        and any(Path(state.stages[stage].attempts[-1].folder).glob("logs/rank-*"))
    )


def test_second_run_runs_nothing_and_a_changed_field_only_what_is_below(subject: Subject) -> None:
    first = _finish(subject.run(), subject)
    assert first.counts() == {"done": 5}
    assert _finish(subject.run(), subject).counts() == {"reused": 5}
    changed = _finish(
        subject.start("run", str(DAG), "--set", "stages.side.with.salt=other"), subject
    )
    ran = [name for name, stage in changed.stages.items() if stage.status is StageStatus.DONE]
    assert ran == ["side", "gang", "end"]
    assert changed.stages["side"].reasons == ('miss: with.salt "side" -> "other"',)


def test_code_of_a_stage_reruns_it_and_a_comment_does_not(subject: Subject) -> None:
    project = subject.folder / "project"
    project.mkdir()
    for name in ("dag.yaml", "toys.py"):
        shutil.copy(FOLDER / name, project)
    mine = Subject(project / "dag.yaml", subject.folder)
    _finish(mine.run(), mine)
    code = project / "toys.py"
    code.write_text(code.read_text().replace('"""A checksum', '# why\n    """A check sum'))
    assert _finish(mine.run(), mine).counts() == {"reused": 5}
    code.write_text(code.read_text().replace("value = 17", "value = 18"))
    assert _finish(mine.run(), mine).counts() == {"done": 5}


def test_two_runners_at_once_build_each_stage_once(subject: Subject) -> None:
    commands = [subject.run(), subject.run()]
    assert [command.wait(WAIT_SECONDS) for command in commands] == [0, 0], subject.log()
    states = [load_run(subject.store, run) for run in list_runs(subject.store)]
    for stage in states[0].stages:
        attempts = [attempt for state in states for attempt in state.stages[stage].attempts]
        assert len(attempts) == 1, stage
        assert len({state.stages[stage].artifacts["out"] for state in states}) == 1
    assert all(state.status is RunStatus.SUCCEEDED for state in states)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_saves_and_resume_goes_on_from_there(
    subject: Subject, number: signal.Signals
) -> None:
    command = subject.start("run", str(DAG), "--set", "stages.train.with.units=200")
    _wait_for(lambda: _runs_now(subject, "train"))
    command.send_signal(number)
    state = _finish(command, subject, code=4)
    assert state.status is RunStatus.CANCELLED
    train = state.stages["train"]
    assert train.status is StageStatus.CANCELLED
    assert train.attempts[-1].exit_code == 75
    assert train.attempts[-1].step
    resumed = _finish(subject.go_on(), subject)
    assert resumed.run == state.run
    assert [attempt.exit_class for attempt in resumed.stages["train"].attempts] == [
        "cancelled",
        "done",
    ]


def test_cancel_from_another_process_stops_the_run(subject: Subject) -> None:
    command = subject.start("run", str(DAG), "--set", "stages.raw.with.units=100000")
    _wait_for(lambda: _runs_now(subject, "raw"))
    assert subject.start("cancel").wait(WAIT_SECONDS) == 0
    assert _finish(command, subject, code=4).status is RunStatus.CANCELLED


def test_read_only_store_ends_with_3_and_loses_nothing(subject: Subject) -> None:
    _finish(subject.run(), subject)
    with read_only(subject.folder / ".pipeline"):
        command = subject.start("run", str(DAG), "--set", "stages.side.with.salt=other")
        assert command.wait(WAIT_SECONDS) == 3, subject.log()
        assert "read-only file system" in subject.log()
    assert _finish(subject.run(), subject).counts() == {"reused": 5}


def test_full_disk_ends_with_3_and_goes_on_once_there_is_room(subject: Subject) -> None:
    folder = subject.folder / ".pipeline"
    with small_disk(folder):
        filler = folder / "filler"
        command = subject.run()
        _wait_for(lambda: _runs_now(subject, "train"))
        _fill(filler)
        assert command.wait(WAIT_SECONDS) == 3, subject.log()
        assert "no space left" in subject.log().lower()
        artifacts = list((folder / "artifacts").glob("*/manifest.json"))
        assert len(artifacts) == len(list((folder / "artifacts").iterdir()))
        filler.unlink()
        subprocess.run(["mount", "-o", "remount,size=64M", str(folder)], check=True)
        assert _finish(subject.go_on(), subject).status is RunStatus.SUCCEEDED
        raw = subject.state().stages["raw"]
        assert raw.status is StageStatus.DONE
        assert len(raw.attempts) == 1  # before the disk was full, and not again


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
