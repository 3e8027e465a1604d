"""A failed stage for a person: what its log and its traceback say, read where they still lie."""

from pathlib import Path

import pipeline
from pipeline.errors import plain_text
from pipeline.runner import events as ev
from pipeline.spec.attempt import AttemptFolder, RankFailure, log_tail

_TAIL_LINES = 10
_SEARCHED_LINES = 100
_MAX_LINE_CHARACTERS = 300


def with_rank(rank: int | None, cause: str) -> str:
    """A cause that says which rank it is of, once."""
    named = rank is None or cause.startswith(f"rank {rank}")
    return cause if named else f"rank {rank}: {cause}"


def failure_text(failure: ev.StageFailed) -> str:
    """Stage, attempt, exit class and cause; then place in the code, log and advice, a line each.

    What is quoted of the log is not kept in the run's record: a stage may have printed a secret.
    """
    attempt = f"attempt {failure.attempt}: " if failure.attempt else ""
    cause = with_rank(failure.rank, failure.cause.rstrip(".") or "no message")
    lines = [f"{failure.stage}: {attempt}{failure.exit_name}: {cause}."]
    log = Path(failure.log)
    if failure.rank is not None and log.is_file():
        frame = _own_frame(AttemptFolder(log.parents[1]), failure.rank)
        if frame:
            lines.append(f"  In {frame}")
        lines += [f"  | {_line(line)}" for line in _tail(log, with_frames=bool(frame))]
    if failure.log:
        lines.append(f"  Log: {failure.log}")
    return "\n".join([*lines, f"  {failure.advice}"])


def _tail(log: Path, *, with_frames: bool) -> list[str]:
    """The last lines; without our own frames, which tell nothing where none is the stage's."""
    lines = log_tail(log, _TAIL_LINES if with_frames else _SEARCHED_LINES)
    starts = [n for n, line in enumerate(lines) if line.startswith("Traceback (most recent")]
    if starts and not with_frames:
        lines = lines[: starts[0]]
    return lines[-_TAIL_LINES:]


def _own_frame(folder: AttemptFolder, rank: int) -> str:
    """`file.py:12, in run`: the innermost frame of the stage's own code; "" without one."""
    failure = RankFailure.read(folder.failure(rank))
    frames = [] if failure is None else failure.traceback.splitlines()
    for line in reversed(frames):
        place = line.strip()
        if place.startswith('File "') and not any(part in place for part in _FOREIGN):
            file, _, rest = place.removeprefix('File "').partition('", line ')
            number, _, function = rest.partition(", ")
            return plain_text(f"{file}:{number}, {function}")
    return ""


_FOREIGN = (
    "/site-packages/",
    "/dist-packages/",
    "/lib/python3",
    'File "<',
    *(f"{folder}/" for folder in pipeline.__path__),
)
"""Where code lies that is not the user's: a library's, Python's, ours."""


def _line(text: str) -> str:
    # What a progress bar drew over itself: only its last state was to be seen.
    return plain_text(text.rstrip("\r").rpartition("\r")[2], _MAX_LINE_CHARACTERS)
