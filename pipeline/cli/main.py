"""The `pipeline` command: registers the subcommands and turns exceptions into exit codes."""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, NoReturn

import typer

from pipeline.cli.attach import attach
from pipeline.cli.cache import cache
from pipeline.cli.cancel import cancel
from pipeline.cli.diff import diff
from pipeline.cli.doctor import doctor
from pipeline.cli.get import get
from pipeline.cli.graph import graph
from pipeline.cli.kinds import schema, stages
from pipeline.cli.logs import logs
from pipeline.cli.peek import peek
from pipeline.cli.plan import explain, plan
from pipeline.cli.render import render
from pipeline.cli.report import report
from pipeline.cli.run import resume, retry, run
from pipeline.cli.status import describe, list_, status
from pipeline.cli.validate import validate
from pipeline.cli.version import version
from pipeline.errors import ExitCode, InputError, PipelineError, UserError

app = typer.Typer(
    name="pipeline",
    help="Runs a declarative pretraining pipeline: one dag.yaml, on this machine or a cluster.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Plain help: loading rich to draw boxes around it would double the time it takes.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        version()
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=_print_version, is_eager=True, help="Print the version and end."
    ),
]


@app.callback()
def _options(*, version: Version = False) -> None:
    """Takes what stands before the command."""


_COMMANDS: dict[str, Callable[..., None]] = {
    "run": run,
    "plan": plan,
    "explain": explain,
    "resume": resume,
    "retry": retry,
    "cancel": cancel,
    "attach": attach,
    "status": status,
    "list": list_,
    "describe": describe,
    "logs": logs,
    "get": get,
    "peek": peek,
    "diff": diff,
    "report": report,
    "validate": validate,
    "render": render,
    "graph": graph,
    "stages": stages,
    "schema": schema,
    "doctor": doctor,
    "version": version,
}
for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)
app.add_typer(cache, name="cache")


_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EPIPE, errno.EFBIG)


def main() -> None:
    """Runs the command line and exits with one of `pipeline.errors.ExitCode`."""
    try:
        with _stopped_by_signals():
            try:
                app(prog_name="pipeline")
            finally:
                sys.stdout.flush()
    except _Stopped:
        _end("stopped", ExitCode.CANCELLED)
    except UserError as error:
        _end("\n".join(str(problem) for problem in error.problems), error.exit_code)
    except InputError as error:
        # Outside a worker: the store lost or damaged what the user asked to see.
        _end(str(error), ExitCode.INFRASTRUCTURE)
    except Exception as error:  # noqa: BLE001 - the last line of defence: what is left is our own bug
        code = error.exit_code if isinstance(error, PipelineError) else ExitCode.BUG
        if code is not ExitCode.BUG:
            _end(str(error), code)
        if isinstance(error, OSError) and error.filename is None and error.errno in _UNWRITABLE:
            # Those of files are named and wrapped: this is of printing. No second try at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            _end(f"the output cannot be written: {error.strerror}", ExitCode.INFRASTRUCTURE)
        traceback.print_exc()
        _end("This is a bug in pipeline; please report it with the lines above.", code)


class _Stopped(BaseException):
    """Ctrl-C or SIGTERM while no run goes on; nobody on the way takes it for an error."""


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    # A run has its own, gentler ways (`cancel_on_signals`); these are for before and after it.
    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise _Stopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(message: str, code: ExitCode) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(code)
