"""The life of one worker process, from the fork to its exit code; the stage's part is in harness."""

import atexit
import ctypes
import errno
import faulthandler
import io
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FrameType

from pipeline.errors import InfrastructureError, UserError, WorkerError, WorkerExit, plain_text
from pipeline.node.harness import run_stage
from pipeline.node.lifeline import die_with
from pipeline.spec.attempt import AttemptFolder, RankFailure
from pipeline.spec.context import World
from pipeline.spec.job import Job

_LIBC = ctypes.CDLL(None)
_TRACEBACK_LINES = 40
_TRACEBACK_CHARACTERS = 20_000
_CRASHED = 1
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_log = logging.getLogger(__name__)


class StopFlag:
    """True once SIGTERM came; the signal itself interrupts nothing."""

    def __init__(self) -> None:
        self._set = False

    def __call__(self) -> bool:
        """Whether the machine asked this process to stop."""
        return self._set

    def install(self) -> None:
        """Takes SIGTERM; Ctrl-C is for the runner, which passes on what it makes of it."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._set = True


def fork(run: Callable[[], int]) -> int:
    """Forks; the child runs `run` and exits with what it returns, never coming back here.

    SIGTERM is blocked in the child until `run` unblocks it, so that none is lost to the parent's
    handler.

    Returns:
        the child's pid.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        pid = os.fork()
    except OSError:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        raise
    if pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        return pid
    code = _CRASHED
    try:
        code = run()
    except BaseException:  # noqa: BLE001 - nothing may unwind into the parent's frames below
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        _LIBC.fflush(None)  # what C libraries printed; os._exit would drop it
        os._exit(code)


def work(
    job: Job,
    world: World,
    environment: Mapping[str, str],
    lifelines: Iterable[int],
) -> int:
    """Runs one process of an attempt; called in a fresh fork. Returns the exit code.

    Raises nothing: an exception of the stage becomes a RankFailure in the attempt's folder.
    """
    folder = AttemptFolder(Path(job.folder))
    os.setpgid(0, 0)
    stop = StopFlag()
    stop.install()
    die_with(lifelines)
    redirect_output(folder.log(world.rank))
    logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT, force=True)
    # Before torch is imported: it reads the thread counts once.
    os.environ.update(environment)
    faulthandler.enable()
    try:
        run_stage(job, folder, world, stop)
        # What the stage's libraries registered to be called at exit; os._exit would leave it out.
        atexit._run_exitfuncs()  # noqa: SLF001
    except BaseException as exc:  # noqa: BLE001 - whatever it is, the agent must learn of it
        failure = describe_failure(exc)
        traceback.print_exception(exc)
        try:
            failure.write(folder.failure(world.rank))
        except OSError as full:
            _log.error("the failure could not be noted: %s", full)
        return failure.exit_code
    return int(WorkerExit.DONE)


def describe_failure(exc: BaseException) -> RankFailure:
    """The record of an exception: its exit code decides whether the stage is tried again."""
    message = str(exc)
    if isinstance(exc, WorkerError):
        code = int(exc.worker_exit)
    elif isinstance(exc, UserError):
        code = int(WorkerExit.CONFIG)
    elif isinstance(exc, SystemExit):
        # exit(0) too is a failure: the outputs were not committed.
        code = exc.code if isinstance(exc.code, int) and exc.code else _CRASHED
        message = f"the stage called exit({exc.code!r})"
    elif isinstance(exc, InfrastructureError) or _is_full(exc):
        code = int(WorkerExit.STORE)
    else:
        code = _CRASHED
    if isinstance(exc, MemoryError):
        message = f"out of memory{': ' if message else ''}{message}"
    elif _is_full(exc):
        message = f"the disk is full: {exc}. Free space; the next attempt goes on from its state."
    lines = "".join(traceback.format_exception(exc)).splitlines()
    return RankFailure(
        type=type(exc).__name__,
        message=plain_text(message),
        # An error that explains itself needs no frames; they are in the log all the same.
        traceback=""
        if isinstance(exc, WorkerError | InfrastructureError)
        else plain_text("\n".join(lines[-_TRACEBACK_LINES:]), _TRACEBACK_CHARACTERS),
        exit_code=code,
        time=time.time(),
    )


def _is_full(exc: BaseException) -> bool:
    return isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT)


def redirect_output(log: Path) -> None:
    """Sends stdout and stderr, those of children too, to the end of a log, line by line."""
    log.parent.mkdir(parents=True, exist_ok=True)
    target = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    source = os.open(os.devnull, os.O_RDONLY)
    os.dup2(source, 0)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    os.close(source)
    sys.stdout = _line_buffered(1)
    sys.stderr = _line_buffered(2)


def _line_buffered(descriptor: int) -> io.TextIOWrapper:
    return open(
        descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
    )
