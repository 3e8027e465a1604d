"""The SCORES artifact: one file of numbers by name."""

import json
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import DataError
from pipeline.storage.files import replace_file

SCORES_FILE = "scores.json"


def write_scores(folder: Path, scores: Mapping[str, float]) -> None:
    """Writes scores.json: finite numbers by name, sorted."""
    content = json.dumps(dict(scores), indent=1, sort_keys=True, allow_nan=False)
    replace_file(folder / SCORES_FILE, content.encode())


def read_scores(folder: Path) -> dict[str, float]:
    """Reads scores.json; a stage that does not use `write_scores` may have left NaN in it.

    Raises:
        DataError: it is missing, or not a mapping of names to numbers.
    """
    path = folder / SCORES_FILE
    try:
        # As float: a number with hundreds of digits is infinity, not an integer beyond any float.
        scores = json.loads(path.read_bytes(), parse_int=float)
    except (OSError, ValueError, RecursionError) as exc:
        msg = f"{path}: not readable: {exc}"
        raise DataError(msg) from exc
    if not isinstance(scores, dict) or not all(
        isinstance(value, float) for value in scores.values()
    ):
        msg = f"{path}: is not a mapping of names to numbers"
        raise DataError(msg)
    return scores
