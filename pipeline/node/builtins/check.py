"""The built-in kind `check`: fails unless scores are within bounds."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import CheckFailed
from pipeline.spec.builtins import Bound, CheckConfig
from pipeline.spec.context import StageContext
from pipeline.spec.scores import read_scores

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Row:
    """One score of one stage, `source`; `value` is None where it is absent."""

    source: str
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

    def cells(self) -> tuple[str, str, str, str, str]:
        """Stage, score, value, bound, verdict."""
        low = "" if self.bound.min is None else f"{self.bound.min:g} <= "
        high = "" if self.bound.max is None else f" <= {self.bound.max:g}"
        value = "absent" if self.value is None else f"{self.value:.6g}"
        return (
            self.source,
            self.score,
            value,
            f"{low}{self.score}{high}",
            "ok" if self.passes else "FAILS",
        )


def run(ctx: StageContext[CheckConfig]) -> None:
    """Compares every score with its bound and logs all of them as a table.

    Raises:
        CheckFailed: a score is out of bounds, absent or no number; names each.
    """
    folders = ctx.input_list("scores")
    # Told by hand (a test, a pod applied without a runner) they have no names.
    sources = ctx.input_stages.get("scores") or [str(n) for n in range(1, len(folders) + 1)]
    rows = [
        _Row(source, score, scores.get(score), bound)
        for source, folder in zip(sources, folders, strict=True)
        for scores in [read_scores(folder)]
        for score, bound in ctx.config.bounds.items()
    ]
    _log.info("scores:\n%s", _table([row.cells() for row in rows]))
    failing = [row.cells() for row in rows if not row.passes]
    if failing:
        wrong = "; ".join(
            f"{score} of {source} is {value}, wanted {bound}"
            for source, score, value, bound, _ in failing
        )
        raise CheckFailed(wrong)


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
