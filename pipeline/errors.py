"""The exception tree and the two exit-code tables; nothing here knows what went wrong elsewhere."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What the `pipeline` command ends with."""

    OK = 0
    STAGE_FAILED = 1
    USER_ERROR = 2
    INFRASTRUCTURE = 3
    CANCELLED = 4
    BUG = 5


class WorkerExit(IntEnum):
    """What a worker process ends with; the numbers follow sysexits.h where it has one.

    STORE (disk or store refused) is retried and counted as a crash is; when it is the last word, the
    run ends as an infrastructure failure.
    """

    DONE = 0
    USAGE = 64
    DATA = 65
    INPUT = 66
    DIVERGED = 70
    OUTPUT = 73
    STORE = 74
    PREEMPTED = 75
    CHECK = 76
    CONFIG = 78


NEVER_RETRIED: frozenset[int] = frozenset(
    {
        WorkerExit.USAGE,
        WorkerExit.DATA,
        WorkerExit.INPUT,
        WorkerExit.DIVERGED,
        WorkerExit.OUTPUT,
        WorkerExit.CHECK,
        WorkerExit.CONFIG,
    }
)
"""Worker exits that a second attempt would only repeat."""


MAX_CAUSE_CHARACTERS = 2000
_COMMANDS = re.compile(
    r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|.)|[^\t\n -\x7e\xa0-\U0010ffff]"
)
"""Escape sequences (ECMA-48) and control characters, both halves of them."""


def plain_text(text: str, limit: int = MAX_CAUSE_CHARACTERS) -> str:
    """Text that every terminal and every JSON reader takes, cut in the middle where it is long.

    File names and exceptions of others may hold half characters (lone surrogates): no encoder
    takes them, and one in a journal would make it unreadable. Colours and other commands to a
    terminal are left out.
    """
    text = _COMMANDS.sub("", text)
    if len(text) > limit:
        half = limit // 2
        text = f"{text[:half]} [... {len(text) - 2 * half} characters ...] {text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class PipelineError(Exception):
    """Root of the tree. One that reaches the command line unwrapped is our own bug."""

    exit_code: ClassVar[ExitCode] = ExitCode.BUG


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong with what the user wrote, and how to mend it.

    `line` and `column` count from 1; 0 where there is no source position.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    fix: str = ""

    # No @override: typing_extensions would be a tenth of the start-up time of the command.
    def __str__(self) -> str:  # type: ignore[explicit-override]  # see above
        """`file:line:col: path: what is wrong. What to do.`."""
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: "
        where = f"{self.path}: " if self.path else ""
        text = self.message if self.message.endswith((".", "?")) else f"{self.message}."
        return f"{place if self.file else ''}{where}{text}{' ' + self.fix if self.fix else ''}"


class UserError(PipelineError):
    """The DAG, a flag or an input named by the user is wrong; every problem found is in it."""

    exit_code = ExitCode.USER_ERROR

    def __init__(self, problems: Iterable[Problem] | str) -> None:
        """Takes all problems at once, or one sentence that has no place in a file."""
        if isinstance(problems, str):
            problems = [Problem("", 0, 0, "", problems)]
        self.problems: Sequence[Problem] = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class StageFailed(PipelineError):
    """At least one stage ended without its outputs."""

    exit_code = ExitCode.STAGE_FAILED


class InfrastructureError(PipelineError):
    """A machine, service or store did not do its part; the same command may work later."""

    exit_code = ExitCode.INFRASTRUCTURE


class StoreError(InfrastructureError):
    """The store could not be read or written; the message names the URL and the cause."""


class Cancelled(PipelineError):
    """The user or the machine asked us to stop; the run can be resumed."""

    exit_code = ExitCode.CANCELLED


class WorkerError(PipelineError):
    """Raised inside a worker; decides the worker's exit code and with it whether to try again."""

    worker_exit: ClassVar[WorkerExit]


class DataError(WorkerError):
    """The data itself is bad; the message names file and offset. Never retried."""

    worker_exit = WorkerExit.DATA


class InputError(WorkerError):
    """An input artifact is missing or does not verify. Never retried."""

    worker_exit = WorkerExit.INPUT


class OutputError(WorkerError):
    """A stage's code left other outputs than its kind promises. Never retried."""

    worker_exit = WorkerExit.OUTPUT


class CheckFailed(WorkerError):
    """A score is out of the bounds that the DAG sets. Never retried."""

    worker_exit = WorkerExit.CHECK


class ConfigError(WorkerError):
    """The configuration cannot work with this data or this code. Never retried."""

    worker_exit = WorkerExit.CONFIG


class UsageError(WorkerError):
    """The worker was started wrongly. Never retried."""

    worker_exit = WorkerExit.USAGE


class Diverged(WorkerError):
    """Training lost its numbers, or attempts bring no progress. Never retried."""

    worker_exit = WorkerExit.DIVERGED


class Preempted(WorkerError):
    """Asked to stop and state is saved; retried without being counted."""

    worker_exit = WorkerExit.PREEMPTED
