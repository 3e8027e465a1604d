"""The built-in kind `command`: runs a program as a stage."""

import logging
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import (
    CheckFailed,
    ConfigError,
    DataError,
    Diverged,
    InputError,
    OutputError,
    Preempted,
    UsageError,
    WorkerError,
)
from pipeline.spec.builtins import CommandConfig, fill
from pipeline.spec.context import StageContext
from pipeline.storage.sources import is_url, source_files

_LOOK_EVERY_SECONDS = 0.1
_NOT_FOUND = 127
_SAME_CLASS: dict[int, type[WorkerError]] = {
    int(error.worker_exit): error
    for error in (
        UsageError,
        DataError,
        InputError,
        Diverged,
        OutputError,
        Preempted,
        CheckFailed,
        ConfigError,
    )
}
_log = logging.getLogger(__name__)


class CommandFailed(Exception):  # noqa: N818 - an event, as its siblings Diverged and Preempted
    """The program ended with a status that says nothing about trying again."""


def run(ctx: StageContext[CommandConfig]) -> None:
    """Runs the program in the scratch folder; it stays in this worker's process group.

    So whatever kills the worker kills the program and what it started.

    Raises:
        ConfigError: the program is not there, or it ended with 78 or 127.
        WorkerError: it ended with a code of the worker table: the same class.
        Preempted: it was asked to stop and ended with a failure.
        CommandFailed: it ended with any other failure.
    """
    values = _values(ctx)
    argv = [part for text in ctx.config.argv for part in fill(text, values)]
    variables = {name: fill(text, values)[0] for name, text in ctx.config.env.items()}
    # Not the whole line: an argument may come from ${env.X}.
    _log.info("running %s with %d arguments", argv[0], len(argv) - 1)
    try:
        process = subprocess.Popen(
            argv, cwd=ctx.scratch, env=os.environ | variables, stdin=subprocess.DEVNULL
        )
    except (FileNotFoundError, PermissionError) as exc:
        msg = f"argv: cannot run {argv[0]!r}: {exc.strerror}"
        raise ConfigError(msg) from exc
    _judge(argv[0], _wait(process, ctx.should_stop), asked=ctx.should_stop())


def _wait(process: subprocess.Popen[bytes], should_stop: Callable[[], bool]) -> int:
    """How the program ended; passes on SIGTERM, once."""
    asked = False
    while True:
        try:
            return process.wait(_LOOK_EVERY_SECONDS)
        except subprocess.TimeoutExpired:
            if should_stop() and not asked:
                asked = True
                process.terminate()


def _judge(program: str, status: int, *, asked: bool) -> None:
    if status == 0:
        return
    how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"
    if asked:
        msg = f"{program} was asked to stop: {how}"
        raise Preempted(msg)
    msg = f"{program} ended: {how}"
    if status == _NOT_FOUND:
        msg += ", which is a shell's for a command it does not find"
        raise ConfigError(msg)
    raise _SAME_CLASS.get(status, CommandFailed)(msg)


def _values(ctx: StageContext[CommandConfig]) -> dict[str, list[str]]:
    """What each placeholder stands for."""
    values = {"scratch": [str(ctx.scratch)], "seed": [str(ctx.seed)]}
    for port, found in ctx.inputs.items():
        folders = found if isinstance(found, list) else [found]
        values[f"inputs.{port}"] = [str(folder) for folder in folders]
    for port in ctx.config.inputs:
        values.setdefault(f"inputs.{port}", [])
    for port, folder in ctx.outputs.items():
        values[f"outputs.{port}"] = [str(folder)]
    for name, source in ctx.config.sources.items():
        values[f"sources.{name}"] = _source(source)
    return values


def _source(source: str) -> list[str]:
    if is_url(source) or Path(source).exists():
        return [source]
    found = [file.path for file in source_files(source)]
    if not found:
        msg = f"source {source}: there is no such file"
        raise InputError(msg)
    return found
