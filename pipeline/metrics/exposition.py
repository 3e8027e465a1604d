"""From samples to what a scraper reads: OpenMetrics, or Prometheus' older text.

prometheus-client says which of the two is asked for and how numbers are written; the lines are put
together here, since its encoder takes a tenth of a second for 10,000 series.
"""

from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path

from prometheus_client.exposition import choose_encoder
from prometheus_client.utils import floatToGoString

from pipeline.metrics.http import Page
from pipeline.metrics.names import METRICS, PLACE_LABELS, Metric
from pipeline.metrics.series import Sample, read_series

_SUFFIX_UNITS = ("seconds", "bytes", "ratio")


class Exposition:
    """Collects samples, then renders them grouped by metric; made anew for each scrape."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def add(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """One series of a gauge or a counter."""
        self._add(metric, "", value, _block(tuple(labels.items())))

    def add_series(self, samples: Iterable[Sample], place: Mapping[str, str]) -> None:
        """What the ranks of an attempt told, with the labels of where that was."""
        histograms: dict[str, dict[str, float]] = {}
        where = _block(tuple(place.items()))
        for sample in samples:
            if sample.part:
                parts = histograms.setdefault(sample.metric.name, {})
                parts[sample.labels.get("le", sample.part)] = sample.value
            else:
                own = _block(tuple(sample.labels.items())) if sample.labels else ""
                self._add(sample.metric, "", sample.value, _joined(where, own))
        for name, parts in histograms.items():
            self._add_histogram(METRICS[name], parts, where)

    def add_attempt(self, series: Path, place: Mapping[str, str]) -> None:
        """The series in an attempt's folder, with the labels of where it runs."""
        self.add_series(read_series(series), place)

    def page(self, accept: str) -> Page:
        """Rendered as the scraper's Accept header asks."""
        _, content_type = choose_encoder(accept)
        is_open = content_type.startswith("application/openmetrics-text")
        parts = []
        for name, lines in self._lines.items():
            parts += _head(METRICS[name], is_open=is_open)
            parts += lines
        if is_open:
            parts.append("# EOF\n")
        return Page("".join(parts).encode(), content_type)

    def _add(self, metric: Metric, suffix: str, value: float, block: str) -> None:
        line = f"{metric.exported_name}{suffix}{{{block}}} {_number(value)}\n"
        self._lines.setdefault(metric.name, []).append(line)

    def _add_histogram(self, metric: Metric, parts: Mapping[str, float], where: str) -> None:
        count = 0.0
        for bound in (*(f"{b:g}" for b in metric.buckets), "+Inf"):
            count += parts.get(bound, 0.0)
            le = bound if bound == "+Inf" else str(float(bound))
            self._add(metric, "_bucket", count, _joined(where, _block((("le", le),))))
        self._add(metric, "_count", count, where)
        self._add(metric, "_sum", parts.get("sum", 0.0), where)


@lru_cache(maxsize=20_000)
def _block(labels: tuple[tuple[str, str], ...]) -> str:
    """What stands between the braces."""
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)


def _number(value: float) -> str:
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return text


def _joined(one: str, other: str) -> str:
    return f"{one},{other}" if one and other else one or other


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _head(metric: Metric, *, is_open: bool) -> list[str]:
    name = metric.exported_name
    if is_open:
        name = name.removesuffix("_total")
    lines = [f"# HELP {name} {_escaped(metric.meaning)}\n", f"# TYPE {name} {metric.kind}\n"]
    # A unit has to be the end of the name.
    if is_open and metric.unit in _SUFFIX_UNITS and name.endswith(f"_{metric.unit}"):
        lines.append(f"# UNIT {name} {metric.unit}\n")
    return lines


def place_labels(*, pipeline: str, run: str, stage: str = "", attempt: int = 0) -> dict[str, str]:
    """The labels of where a series was told; those that do not apply are left out."""
    values = (pipeline, run, stage, str(attempt) if attempt else "")
    return {name: value for name, value in zip(PLACE_LABELS, values, strict=True) if value}


@cache
def installed_version() -> str:
    """Of this distribution; "unknown" where it runs from a folder alone."""
    try:
        return metadata.version("pretraining-pipeline")
    except metadata.PackageNotFoundError:
        return "unknown"
