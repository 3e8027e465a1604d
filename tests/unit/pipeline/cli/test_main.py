"""Exit codes, messages and help of the command as a whole."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cli import main as main_module
from pipeline.errors import (
    Cancelled,
    DataError,
    ExitCode,
    InfrastructureError,
    Problem,
    StageFailed,
    StoreError,
    UserError,
)
from tests.terminal import pipeline

COMMANDS = {
    *("run", "plan", "explain", "validate", "schema", "status", "list", "describe", "logs"),
    *("resume", "cancel", "stages", "graph", "cache", "get", "peek", "diff", "retry"),
    *("doctor", "version", "attach", "render", "report"),
}


def _ends_with(error: BaseException) -> Callable[..., None]:
    def app(prog_name: str) -> None:
        raise error

    return app


def test_help_lists_every_command(tmp_path: Path) -> None:
    said = pipeline(tmp_path, "--help")
    assert said.code == ExitCode.OK
    listed = {line.split()[0] for line in said.out.partition("Commands:")[2].splitlines()[1:]}
    assert listed == COMMANDS


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_of_each_command_says_what_it_does(tmp_path: Path, command: str) -> None:
    said = pipeline(tmp_path, command, "-h")
    assert said.code == ExitCode.OK
    assert said.lines[0].startswith(f"Usage: pipeline {command} ")
    assert said.lines[2].strip()[0].isupper()


@pytest.mark.parametrize(
    "arguments", [("run",), ("run", "x", "--nope"), ("nope",), ("plan", "x", "-o", "xml")]
)
def test_wrong_usage_ends_with_2_and_no_traceback(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    said = pipeline(tmp_path, *arguments)
    assert said.code == ExitCode.USER_ERROR
    assert "Usage: pipeline" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StageFailed("a failed"), ExitCode.STAGE_FAILED),
        (UserError("a failed"), ExitCode.USER_ERROR),
        (InfrastructureError("a failed"), ExitCode.INFRASTRUCTURE),
        (StoreError("a failed"), ExitCode.INFRASTRUCTURE),
        (Cancelled("a failed"), ExitCode.CANCELLED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_expected_error_is_one_message_and_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: ExitCode
) -> None:
    monkeypatch.setattr(main_module, "app", _ends_with(error))
    said = pipeline(tmp_path, "version")
    assert said.code == code
    assert said.err.rstrip(".\n") == "a failed"


@pytest.mark.parametrize("error", [KeyError("x"), DataError("x"), RecursionError("x")])
def test_bug_ends_with_5_and_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(main_module, "app", _ends_with(error))
    said = pipeline(tmp_path, "version")
    assert said.code == ExitCode.BUG
    assert "Traceback" in said.err
    assert "This is a bug in pipeline" in said.err


def test_all_problems_are_printed_one_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = [Problem("d.yaml", n, 1, "x", "wrong", "Mend it.") for n in (2, 1)]
    monkeypatch.setattr(main_module, "app", _ends_with(UserError(problems)))
    said = pipeline(tmp_path, "version")
    assert said.err == "d.yaml:1:1: x: wrong. Mend it.\nd.yaml:2:1: x: wrong. Mend it.\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_outside_a_run_ends_with_4(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    before = signal.getsignal(number)

    def app(prog_name: str) -> None:
        try:
            os.kill(os.getpid(), number)
        except Exception:  # noqa: BLE001 - what a client library does with whatever it catches
            pytest.fail("somebody on the way caught it")

    monkeypatch.setattr(main_module, "app", app)
    said = pipeline(tmp_path, "version")
    assert (said.code, said.err) == (ExitCode.CANCELLED, "stopped\n")
    assert signal.getsignal(number) is before


def test_dag_with_problems_ends_with_2_and_says_where(tmp_path: Path) -> None:
    (tmp_path / "dag.yaml").write_text("name: x\nstages:\n  a: {uses: comand}\n  b: {uze: check}\n")
    for command in ("run", "plan", "validate", "graph"):
        said = pipeline(tmp_path, command, "dag.yaml")
        assert said.code == ExitCode.USER_ERROR
        assert "dag.yaml:3:" in said.err
        assert "dag.yaml:4:" in said.err
        assert "Did you mean command?" in said.err
    assert not (tmp_path / ".pipeline").exists()


def test_run_on_an_unknown_executor_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "dag.yaml").write_text(
        "name: x\nstages: {a: {uses: command, with: {argv: [sh], outputs: {o: folder}}}}\n"
    )
    said = pipeline(tmp_path, "run", "dag.yaml", "--on", "moon")
    assert said.code == ExitCode.USER_ERROR
    assert "on: moon" in said.err
    assert not (tmp_path / ".pipeline/runs").exists()


def test_run_of_a_missing_file_says_what_to_name(tmp_path: Path) -> None:
    said = pipeline(tmp_path, "run", "no.yaml")
    assert said.code == ExitCode.USER_ERROR
    assert "no.yaml" in said.err


def test_commands_about_runs_without_any_say_how_to_start_one(tmp_path: Path) -> None:
    said = pipeline(tmp_path, "status")
    assert said.code == ExitCode.USER_ERROR
    assert "Start one with `pipeline run DAG.YAML`" in said.err
    assert pipeline(tmp_path, "list").out == ""
