"""From command-line arguments to a checked DAG; the only reader of environment variables here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pipeline.spec.dag import Dag


def load(
    file: Path,
    *,
    profile: str | None = None,
    values: Sequence[Path] | None = None,
    sets: Sequence[str] | None = None,
) -> Dag:
    """The DAG under its layers.

    Raises:
        UserError: with every problem of the file.
    """
    # Deferred: pydantic and the YAML reader would double the start-up time of `--help`.
    from pipeline.spec.load import load_dag

    return load_dag(file, profile=profile, values=values or (), sets=sets or (), environ=os.environ)
