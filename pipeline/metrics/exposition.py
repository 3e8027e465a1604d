"""From samples to what a scraper reads: OpenMetrics, or Prometheus' older text."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import cast

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.samples import Sample as Line

from pipeline.metrics.http import Page
from pipeline.metrics.names import METRICS, PLACE_LABELS, Metric
from pipeline.metrics.series import Sample, read_series

_SUFFIX_UNITS = ("seconds", "bytes", "ratio")


class Exposition:
    """Collects samples, then renders them grouped by metric; made anew for each scrape."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}

    def add(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """One series of a gauge or a counter."""
        family = self._family(metric)
        suffix = "_total" if metric.kind == "counter" else ""
        family.samples.append(Line(family.name + suffix, dict(labels), value))

    def add_series(self, samples: Iterable[Sample], place: Mapping[str, str]) -> None:
        """What the ranks of an attempt told, with the labels of where that was."""
        histograms: dict[str, dict[str, float]] = {}
        for sample in samples:
            if sample.part:
                parts = histograms.setdefault(sample.metric.name, {})
                parts[sample.labels.get("le", sample.part)] = sample.value
            else:
                self.add(sample.metric, sample.value, {**place, **sample.labels})
        for name, parts in histograms.items():
            self._add_histogram(METRICS[name], parts, place)

    def add_attempt(self, series: Path, place: Mapping[str, str]) -> None:
        """The series in an attempt's folder, with the labels of where it runs."""
        self.add_series(read_series(series), place)

    def collect(self) -> Iterator[Family]:
        """What the encoders of prometheus-client ask a registry for."""
        yield from self._families.values()

    def page(self, accept: str) -> Page:
        """Rendered as the scraper's Accept header asks."""
        encoder, content_type = choose_encoder(accept)
        return Page(encoder(cast("CollectorRegistry", self)), content_type)

    def _family(self, metric: Metric) -> Family:
        family = self._families.get(metric.name)
        if family is None:
            name = metric.exported_name.removesuffix("_total")
            # OpenMetrics wants a unit to be the end of the name.
            unit = (
                metric.unit if metric.unit in _SUFFIX_UNITS and name.endswith(metric.unit) else ""
            )
            family = Family(name, metric.meaning, metric.kind, unit)
            self._families[metric.name] = family
        return family

    def _add_histogram(
        self, metric: Metric, parts: Mapping[str, float], place: Mapping[str, str]
    ) -> None:
        family = self._family(metric)
        count = 0.0
        for bound in (*(f"{b:g}" for b in metric.buckets), "+Inf"):
            count += parts.get(bound, 0.0)
            le = bound if bound == "+Inf" else str(float(bound))
            family.samples.append(Line(f"{family.name}_bucket", {**place, "le": le}, count))
        family.samples.append(Line(f"{family.name}_count", dict(place), count))
        family.samples.append(Line(f"{family.name}_sum", dict(place), parts.get("sum", 0.0)))


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
