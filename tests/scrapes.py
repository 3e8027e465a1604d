"""Reads what is served to a scraper with the parsers of prometheus-client."""

import urllib.request
from dataclasses import dataclass

from prometheus_client import parser as older
from prometheus_client.openmetrics import parser as openmetrics

OPENMETRICS = "application/openmetrics-text;version=1.0.0"


@dataclass(frozen=True)
class Scraped:
    """One series."""

    name: str
    labels: dict[str, str]
    value: float


def parse(text: str, *, accept: str = OPENMETRICS) -> list[Scraped]:
    """Every series of a page; raises ValueError where it breaks the rules of its format."""
    parser = openmetrics if accept == OPENMETRICS else older
    families = parser.text_string_to_metric_families(text)
    return [
        Scraped(sample.name, dict(sample.labels), sample.value)
        for family in families
        for sample in family.samples
    ]


def scrape(port: int, *, accept: str = OPENMETRICS) -> list[Scraped]:
    """What /metrics at a port of this machine says now."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics")
    request.add_header("Accept", accept)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return parse(answer.read().decode(), accept=accept)
