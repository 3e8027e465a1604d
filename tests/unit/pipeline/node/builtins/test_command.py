"""The `command` kind runs real programs."""

import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError, DataError, InputError, Preempted, WorkerExit
from pipeline.node.builtins.command import CommandFailed, run
from pipeline.spec.builtins import CommandConfig
from pipeline.spec.context import StageContext
from tests.contexts import stage_context


def _context(
    tmp_path: Path, *argv: str, folders: dict[str, Path] | None = None, **config: Any
) -> StageContext[CommandConfig]:
    values = {"argv": argv, "outputs": {"out": "folder"}, **config}
    return stage_context(
        CommandConfig.model_validate(values), tmp_path, output="out", inputs=folders
    )


def test_command_fills_placeholders_with_paths_and_seed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "b.txt").write_text("y")
    code = (
        "import os, pathlib, sys\n"
        "out, *rest = sys.argv[1:]\n"
        "pathlib.Path(out, 'seen').write_text('|'.join([*rest, os.environ['SEED'], os.getcwd()]))"
    )
    ctx = _context(
        tmp_path,
        *(sys.executable, "-c", code, "{outputs.out}", "{inputs.text}", "{sources.txt}", "{none}"),
        folders={"text": tmp_path / "in"},
        inputs={"text": "folder"},
        env={"SEED": "s={seed}"},
        sources={"txt": f"{tmp_path}/*.txt"},
    )
    run(ctx)
    seen = (tmp_path / "out" / "seen").read_text().split("|")
    assert seen == [
        str(tmp_path / "in"),
        str(tmp_path / "a.txt"),
        str(tmp_path / "b.txt"),
        "{none}",
        "s=17",
        str(tmp_path / "scratch"),
    ]


@pytest.mark.parametrize("code", [int(c) for c in WorkerExit if c not in (0, 74, 75)])
def test_command_that_ends_with_a_worker_code_ends_the_worker_alike(
    tmp_path: Path, code: int
) -> None:
    with pytest.raises(Exception, match=f"sh ended: exit code {code}") as caught:
        run(_context(tmp_path, "sh", "-c", f"exit {code}"))
    assert getattr(caught.value, "worker_exit", None) == code


@pytest.mark.parametrize(
    ("script", "message"),
    [("exit 3", "sh ended: exit code 3"), ("kill -9 $$", "sh ended: killed by SIGKILL")],
)
def test_command_that_crashes_may_be_tried_again(tmp_path: Path, script: str, message: str) -> None:
    with pytest.raises(CommandFailed, match=message):
        run(_context(tmp_path, "sh", "-c", script))


def test_command_that_is_not_installed_is_a_bad_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot run 'no-such-program'"):
        run(_context(tmp_path, "no-such-program"))


def test_command_whose_source_is_gone_says_so(tmp_path: Path) -> None:
    ctx = _context(tmp_path, "cat", "{sources.txt}", sources={"txt": str(tmp_path / "*.txt")})
    with pytest.raises(InputError, match="there is no such file"):
        run(ctx)


def test_command_passes_sigterm_on(tmp_path: Path) -> None:
    config = CommandConfig.model_validate(
        {
            "argv": [
                "sh",
                "-c",
                "trap 'echo saved > saved; exit 3' TERM; touch up; sleep 30 & wait",
            ],
            "outputs": {"out": "folder"},
        }
    )

    def should_stop() -> bool:
        return (tmp_path / "scratch" / "up").exists()

    ctx = stage_context(config, tmp_path, output="out", should_stop=should_stop)
    with pytest.raises(Preempted, match="sh was asked to stop: exit code 3"):
        run(ctx)
    assert (tmp_path / "scratch" / "saved").read_text() == "saved\n"


def test_command_that_a_shell_does_not_find_is_a_wrong_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exit code 127, which is a shell's for a command it"):
        run(_context(tmp_path, "sh", "-c", "no-such-program"))


def test_command_logs_no_argument(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(DataError) as caught:
        run(_context(tmp_path, "sh", "-c", "exit 65", "hunter2", env={"TOKEN": "hunter3"}))
    assert "running sh with 3 arguments" in caplog.text
    assert "hunter" not in caplog.text + str(caught.value)
