"""The built-in kind `check`: fails unless scores are within bounds."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DataError
from pipeline.spec.builtins import Bound, CheckConfig
from pipeline.spec.context import StageContext
from pipeline.spec.scores import read_scores

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Row:
    """One score of one artifact; `value` is None where it is absent."""

    artifact: Path
    score: str
    value: float | None
    bound: Bound

    @property
    def passes(self) -> bool:
        value = self.value
        return (
            value is not None
            and not math.isnan(value)
            and (self.bound.min is None or value >= self.bound.min)
            and (self.bound.max is None or value <= self.bound.max)
        )

    def cells(self) -> tuple[str, str, str, str]:
        """Score, value, bound, verdict."""
        low = "" if self.bound.min is None else f"{self.bound.min:g} <= "
        high = "" if self.bound.max is None else f" <= {self.bound.max:g}"
        value = "absent" if self.value is None else f"{self.value:.6g}"
        return self.score, value, f"{low}{self.score}{high}", "ok" if self.passes else "FAILS"


def run(ctx: StageContext[CheckConfig]) -> None:
    """Compares every score with its bound and logs all of them as a table.

    Raises:
        DataError: a score is out of bounds, absent or no number; names each.
    """
    rows = [
        _Row(folder, score, scores.get(score), bound)
        for folder in ctx.input_list("scores")
        for scores in [read_scores(folder)]
        for score, bound in ctx.config.bounds.items()
    ]
    _log.info("scores:\n%s", _table([row.cells() for row in rows]))
    failing = [row.cells() for row in rows if not row.passes]
    if failing:
        wrong = "; ".join(f"{score} is {value}, not {bound}" for score, value, bound, _ in failing)
        msg = f"check failed: {wrong}"
        raise DataError(msg)


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
