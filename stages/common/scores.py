"""The SCORES artifact: one file of numbers by name."""

import json
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import InputError
from pipeline.storage.files import replace_file

SCORES_FILE = "scores.json"


def write_scores(folder: Path, scores: Mapping[str, float]) -> None:
    """Writes scores.json: finite numbers by name, sorted."""
    content = json.dumps(dict(scores), indent=1, sort_keys=True, allow_nan=False)
    replace_file(folder / SCORES_FILE, content.encode())


def read_scores(folder: Path) -> dict[str, float]:
    """Reads scores.json.

    Raises:
        InputError: it is missing, or not a mapping of names to numbers.
    """
    path = folder / SCORES_FILE
    try:
        scores = json.loads(path.read_bytes())
    except (OSError, ValueError) as exc:
        msg = f"{path}: not readable: {exc}"
        raise InputError(msg) from exc
    if not isinstance(scores, dict) or not all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in scores.values()
    ):
        msg = f"{path}: is not a mapping of names to numbers"
        raise InputError(msg)
    return {name: float(value) for name, value in scores.items()}
