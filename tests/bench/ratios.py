"""Interleaved timing of a baseline and a candidate, and the table that a result file holds."""

import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Ratio:
    """Rates of a baseline and ours on one case, run by run."""

    case: str
    baseline: Sequence[float]
    ours: Sequence[float]

    @property
    def ratio(self) -> float:
        """Our median rate over the baseline's."""
        return statistics.median(self.ours) / statistics.median(self.baseline)


def interleave(
    case: str, runs: int, baseline: Callable[[], float], ours: Callable[[], float]
) -> Ratio:
    """Takes rates in turn after one warm-up of each, so that a noisy minute hits both."""
    baseline(), ours()
    pairs = [(baseline(), ours()) for _ in range(runs)]
    return Ratio(case, [a for a, _ in pairs], [b for _, b in pairs])


def table(ratios: Sequence[Ratio], baseline: str, unit: str) -> str:
    """Markdown: medians, the ratio, and (max - min) / median of both."""
    lines = [
        f"| case | {baseline}, {unit} | ours, {unit} | ratio | spread of either |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in ratios:
        lines.append(
            f"| {row.case} | {statistics.median(row.baseline):,.4g} "
            f"| {statistics.median(row.ours):,.4g} | **{row.ratio:.2f}** "
            f"| {_spread(row.baseline):.2f}, {_spread(row.ours):.2f} |"
        )
    return "\n".join(lines)


def machine(*packages: str) -> str:
    """One line that says where this was measured, and with which versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores {platform.machine()}, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, {versions}; load average at the end {load:.1f}"
    )


def _spread(values: Sequence[float]) -> float:
    return (max(values) - min(values)) / statistics.median(values)
