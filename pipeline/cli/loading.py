"""From command-line arguments to a checked DAG; the only reader of environment variables here."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.planner.selection import Selection
    from pipeline.runner.record import Request
    from pipeline.spec.dag import Dag


def read_request(
    file: Path,
    *,
    profile: str | None = None,
    values: Sequence[Path] | None = None,
    sets: Sequence[str] | None = None,
    selection: Selection | None = None,
    jobs: int | None = None,
    keep_going: bool = False,
) -> Request:
    """What was asked for, with the content of every file it names: enough to ask again.

    Raises:
        UserError: a file cannot be read.
    """
    # Deferred: `--help` must not pay for pydantic.
    from pipeline.runner.record import Request
    from pipeline.spec.yaml_reader import read_file

    return Request(
        file=str(file.absolute()),
        text=read_file(file),
        profile=profile,
        values=tuple((str(path.absolute()), read_file(path)) for path in values or ()),
        sets=tuple(sets or ()),
        selection=selection.as_record() if selection else {},
        jobs=jobs,
        keep_going=keep_going,
    )


def load_request(request: Request) -> Dag:
    """The DAG as it was asked for, whatever became of the files since.

    Raises:
        UserError: with every problem of the file.
    """
    # Deferred: pydantic and the YAML reader would double the start-up time of `--help`.
    from pipeline.spec.load import load_text

    return load_text(
        request.text,
        Path(request.file),
        profile=request.profile,
        values=request.values,
        sets=request.sets,
        environ=os.environ,
    )


def changed_files(request: Request) -> list[str]:
    """The files of a request that hold something else by now; one that is gone is not told."""
    from pipeline.spec.yaml_reader import read_file

    changed = []
    for name, text in ((request.file, request.text), *request.values):
        with suppress(UserError):
            if read_file(Path(name)) != text:
                changed.append(name)
    return changed


def load(
    file: Path,
    *,
    profile: str | None = None,
    values: Sequence[Path] | None = None,
    sets: Sequence[str] | None = None,
) -> Dag:
    """The DAG under its layers, read now.

    Raises:
        UserError: with every problem of the file.
    """
    # Deferred as above.
    from pipeline.spec.load import load_dag

    return load_dag(file, profile=profile, values=values or (), sets=sets or (), environ=os.environ)
