"""The command line from inside a test: arguments in, exit code and what was printed out."""

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.cli.main import main


@dataclass(frozen=True)
class Said:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What went to stdout."""
        return self.out.splitlines()


def pipeline(folder: Path, *arguments: str, **environment: str) -> Said:
    """Runs `pipeline ARGUMENTS` in a folder, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["pipeline", *arguments])
        for name in ("PIPELINE_STORE", "CI"):
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
    return Said(code, out.getvalue(), err.getvalue())
