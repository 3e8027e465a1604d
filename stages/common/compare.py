"""The stage kind `compare`: a score of several runs as one table."""

import json
import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import ConfigError
from pipeline.metrics.pictures import Table
from pipeline.spec.context import StageContext
from pipeline.spec.scores import read_scores
from pipeline.storage.files import replace_file
from stages.common.config import CompareConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One line of the table: the values of a group of runs."""

    name: str
    values: Sequence[float]

    @property
    def cells(self) -> tuple[str, int, float, float, float]:
        """(name, runs, mean, least, greatest)."""
        mean = statistics.fmean(self.values)
        return self.name, len(self.values), mean, min(self.values), max(self.values)


def run(ctx: StageContext[CompareConfig]) -> None:
    """Writes table.json and table.md.

    Raises:
        ConfigError: the names do not divide the scores, or the runs lack a score.
        InputError: a scores file is damaged.
    """
    config = ctx.config
    runs = [read_scores(folder) for folder in ctx.input_list("scores")]
    rows = comparison(config, runs)
    columns = ("run", "runs", f"{config.score} (mean)", "least", "greatest")
    cells = [row.cells for row in rows]
    folder = ctx.outputs["table"]
    table = json.dumps({"columns": columns, "rows": cells}, indent=1, ensure_ascii=False)
    markdown = as_markdown(columns, cells)
    replace_file(folder / "table.json", table.encode())
    replace_file(folder / "table.md", markdown.encode())
    ctx.recorder.show(Table(f"{config.score} compared", columns, cells), 0)
    logger.info("%s compared:\n%s", config.score, markdown)


def comparison(config: CompareConfig, runs: Sequence[Mapping[str, float]]) -> list[Row]:
    """The rows of the table.

    Args:
        config: names, score and baselines.
        runs: the scores of each run, in the order of the DAG.

    Raises:
        ConfigError: the names do not divide the runs, or a run lacks a score.
    """
    per_name, rest = divmod(len(runs), len(config.names))
    if rest or not per_name:
        msg = (
            f"{len(config.names)} names for {len(runs)} scores; "
            "give one name a run, or fewer that divide their number"
        )
        raise ConfigError(msg)
    groups = [runs[i * per_name : (i + 1) * per_name] for i in range(len(config.names))]
    rows = [
        Row(name, [_score(run, config.score) for run in group])
        for name, group in zip(config.names, groups, strict=True)
    ]
    return rows + [
        Row(name, [_score(run, score) for run in runs]) for name, score in config.baselines.items()
    ]


def as_markdown(columns: Sequence[str], rows: Sequence[Sequence[str | float]]) -> str:
    """A table in Markdown, numbers with four digits, columns aligned."""
    cells = [[f"{c:.4f}" if isinstance(c, float) else str(c) for c in row] for row in rows]
    cells = [list(columns), *([c.replace("|", "\\|") for c in row] for row in cells)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(columns))]
    padded = [
        [
            c.ljust(w) if i == 0 else c.rjust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        for row in cells
    ]
    rule = [("-" * w if i == 0 else "-" * (w - 1) + ":") for i, w in enumerate(widths)]
    return "".join(f"| {' | '.join(row)} |\n" for row in [padded[0], rule, *padded[1:]])


def _score(scores: Mapping[str, float], name: str) -> float:
    if name not in scores:
        msg = f"no score {name!r}; there are: {', '.join(sorted(scores)) or 'none'}"
        raise ConfigError(msg)
    return scores[name]
