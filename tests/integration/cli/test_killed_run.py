"""What the commands say of a run whose runner was killed: it is over, and nothing of it runs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import ExitCode
from tests.terminal import pipeline

COMMAND = (sys.executable, "-c", "from pipeline.cli.main import main; main()")
DAG = """\
name: long
stages:
  long:
    uses: command
    with: {argv: [sh, -c, 'echo at work; exec sleep 60', '{outputs.o}'], outputs: {o: folder}}
  later:
    uses: command
    inputs: {i: long.o}
    with: {argv: [sh, -c, ':', '{outputs.o}'], inputs: {i: folder}, outputs: {o: folder}}
"""
WAIT_SECONDS = 30.0


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def _command(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*COMMAND, *arguments], cwd=folder, stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project and its one run, whose runner was killed while a stage printed and slept."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "dag.yaml").write_text(DAG)
    with _command(folder, "run", "dag.yaml") as runner:
        _wait(lambda: any(p.read_text() for p in folder.rglob("rank-0.log")))
        (said,) = pipeline(folder, "list").lines
        assert said.split()[2] == "running"
        os.kill(runner.pid, signal.SIGKILL)
    return folder, said.split()[0]


def test_status_list_and_describe_say_killed_in_both_forms(killed: tuple[Path, str]) -> None:
    folder, run = killed
    assert pipeline(folder, "list").lines[0].split()[2] == "killed"
    said = pipeline(folder, "status", run)
    assert said.lines[0] == f"run {run}  long  killed  (pipeline resume {run} goes on)"
    assert any(line.startswith("■ ") and "runner was killed" in line for line in said.lines)
    for arguments in (("status", run), ("describe", run)):
        document = json.loads(pipeline(folder, *arguments, "-o", "json").out)
        assert document["status"] == "killed"
        assert document["stages"]["long"]["status"] == "cancelled"
        assert document["stages"]["later"]["status"] == "waiting"
    (listed,) = json.loads(pipeline(folder, "list", "-o", "json").out)
    assert listed["status"] == "killed"


def test_watch_of_a_killed_run_ends(killed: tuple[Path, str]) -> None:
    folder, run = killed
    assert "killed" in pipeline(folder, "status", run, "--watch").lines[0]


@pytest.mark.timeout(20)
def test_logs_follow_of_a_killed_run_ends(killed: tuple[Path, str]) -> None:
    folder, run = killed
    assert pipeline(folder, "logs", run, "long", "-f").lines[-1] == "at work"


def test_follow_and_watch_of_a_running_run_end_with_it(tmp_path: Path) -> None:
    go = tmp_path / "go"
    script = f'while ! test -e {go}; do sleep 0.1; done; touch "$0/x"; echo done with it'
    (tmp_path / "dag.yaml").write_text(DAG.replace("exec sleep 60", script))
    with _command(tmp_path, "run", "dag.yaml", "long"):
        _wait(lambda: any("at work" in p.read_text() for p in tmp_path.rglob("rank-0.log")))
        run = pipeline(tmp_path, "list").lines[0].split()[0]
        with (
            _command(tmp_path, "status", "--watch") as watch,
            _command(tmp_path, "logs", run, "long", "-f") as follow,
        ):
            assert watch.stdout is not None
            assert follow.stdout is not None
            assert watch.stdout.readline() == f"run {run}  long  running\n"
            assert any("at work" in line for line in iter(follow.stdout.readline, ""))
            go.touch()
            assert "done with it\n" in follow.communicate(timeout=WAIT_SECONDS)[0]
            assert "✔" in watch.communicate(timeout=WAIT_SECONDS)[0]


def test_cancel_now_ends_a_run_without_waiting_for_its_stage(tmp_path: Path) -> None:
    script = 'trap "" TERM; echo at work; while :; do sleep 0.2; done'
    (tmp_path / "dag.yaml").write_text(DAG.replace("echo at work; exec sleep 60", script))
    with _command(tmp_path, "run", "dag.yaml") as run:
        _wait(lambda: any("at work" in p.read_text() for p in tmp_path.rglob("rank-0.log")))
        assert "asked to stop at once" in pipeline(tmp_path, "cancel", "--now").out
        run.communicate(timeout=WAIT_SECONDS)
        assert run.returncode == ExitCode.CANCELLED
    assert pipeline(tmp_path, "list").lines[0].split()[2] == "cancelled"
