"""Machines that are taken away politely, and machines that come back different."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.runner.state import StageState
from tests.integration.kills import Subject, generation, logged

DAG = Path(__file__).parent / "dag.yaml"
AGENTS = 2  # generations below the command
TWO_NODES = (
    "--set",
    "stages.pretrain.resources={nodes: 2, processes_per_node: 1}",
)
ONE_RANK = (
    "--set",
    "stages.pretrain.resources.processes_per_node=1",
    "--set",
    "stages.pretrain.deepspeed={zero_stage: 0}",
)
STEPS = 16  # of the DAG file
WAIT_SECONDS = 300.0


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Subject]:
    subject = Subject(DAG, tmp_path)
    yield subject
    subject.close()


def _pretrain(subject: Subject) -> StageState:
    return subject.state().stages["pretrain"]


def _steps(attempt_folder: str | Path) -> list[int]:
    return [step for step, _ in logged(Path(attempt_folder) / "metrics.jsonl", "train_loss")]


def _wait_for_step(subject: Subject, step: int) -> None:
    give_up = time.monotonic() + WAIT_SECONDS
    runs = subject.folder / ".pipeline" / "runs"
    while not any(step in _steps(f) for f in runs.glob("*/stages/pretrain/*")):
        assert time.monotonic() < give_up, subject.log()
        time.sleep(0.02)


def test_sigterm_to_one_of_two_agents_saves_one_step_and_is_free(subject: Subject) -> None:
    command = subject.start(
        "run", str(DAG), *TWO_NODES, "--set", "stages.pretrain.retry={max_attempts: 1}"
    )
    _wait_for_step(subject, 3)
    os.kill(generation(command.pid, AGENTS)[0], signal.SIGTERM)
    assert command.wait(WAIT_SECONDS) == 0, subject.log()
    first, second = _pretrain(subject).attempts
    assert (first.exit_code, first.exit_class) == (75, "free")
    assert first.step is not None
    assert second.exit_class == "done"
    assert _steps(second.folder)[0] == first.step + 1


def test_stopped_training_goes_on_with_half_the_ranks(subject: Subject) -> None:
    command = subject.run()
    _wait_for_step(subject, 3)
    command.send_signal(signal.SIGTERM)
    assert command.wait(WAIT_SECONDS) == 4, subject.log()
    stopped = _pretrain(subject).attempts[-1]
    assert stopped.exit_code == 75
    assert stopped.step is not None
    again = subject.start("run", str(DAG), *ONE_RANK)
    assert again.wait(WAIT_SECONDS) == 0, subject.log()
    finished = _pretrain(subject).attempts[-1]
    # No step is lost and none is taken twice.
    assert _steps(finished.folder) == list(range(stopped.step + 1, STEPS + 1))
