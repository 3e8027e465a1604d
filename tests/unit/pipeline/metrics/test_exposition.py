"""What is served parses as what it says it is, and says what was told."""

import math
import subprocess
from pathlib import Path

import pytest

from pipeline.metrics import names
from pipeline.metrics.exposition import Exposition, place_labels
from pipeline.metrics.series import SERIES_FOLDER, SeriesFile
from tests.debian import debian_program
from tests.scrapes import OPENMETRICS, parse

PLACE = place_labels(pipeline="p", run="r", stage='fine[seed="1"]', attempt=2)


def _exposition(folder: Path) -> Exposition:
    """One of everything."""
    file = SeriesFile(folder / SERIES_FOLDER / "0")
    for metric in names.METRICS.values():
        if metric.kind == "histogram":
            file.observe(metric, 0.3)
        elif metric.kind == "counter":
            file.add(names.labelled(metric, **dict.fromkeys(metric.labels, "v")), 1.5)
        else:
            file.set(names.labelled(metric, **dict.fromkeys(metric.labels, "v")), 1.5)
    file.flush()
    page = Exposition()
    page.add_attempt(folder / SERIES_FOLDER, PLACE)
    return page


@pytest.mark.parametrize("accept", [OPENMETRICS, "text/plain"])
def test_exposition_of_every_metric_parses(tmp_path: Path, accept: str) -> None:
    page = _exposition(tmp_path).page(accept)
    assert accept.partition(";")[0] in page.content_type
    samples = parse(page.body.decode(), accept=accept)
    told = {sample.name for sample in samples}
    for metric in names.METRICS.values():
        ends = ("_bucket", "_count", "_sum") if metric.kind == "histogram" else ("",)
        assert {metric.exported_name + end for end in ends} <= told
    assert all(PLACE.items() <= sample.labels.items() for sample in samples)


def test_exposition_adds_up_the_buckets_of_a_histogram(tmp_path: Path) -> None:
    file = SeriesFile(tmp_path / "0")
    for value in (0.001, 0.3, 0.4, 500.0):
        file.observe(names.TRAIN_STEP_DURATION_SECONDS, value)
    file.flush()
    page = Exposition()
    page.add_attempt(tmp_path, {})
    body = page.page(OPENMETRICS).body.decode()
    buckets = {s.labels["le"]: s.value for s in parse(body) if s.name.endswith("_bucket")}
    assert buckets["0.005"] == 1
    assert buckets["0.2"] == 1
    assert buckets["0.5"] == 3
    assert buckets["120.0"] == 3
    assert buckets["+Inf"] == 4
    assert "# UNIT pipeline_train_step_duration_seconds seconds\n" in body


def test_exposition_passes_promtool_check_metrics(tmp_path: Path) -> None:
    promtool = debian_program("prometheus", "promtool")
    text = _exposition(tmp_path).page("text/plain").body
    found = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")


def test_place_labels_leave_out_what_does_not_apply() -> None:
    assert place_labels(pipeline="p", run="r") == {"pipeline": "p", "run": "r"}
    assert PLACE == {"pipeline": "p", "run": "r", "stage": 'fine[seed="1"]', "attempt": "2"}


@pytest.mark.parametrize("accept", [OPENMETRICS, "text/plain"])
def test_exposition_says_what_the_library_reads_back(accept: str) -> None:
    """Names, labels and values that have to be escaped or written with care."""
    odd = 'a\\b"c"\nd,e={f}'
    values = [0.0, -1.5, 1e-300, 1e22, 12345678901234567890.0, float("inf"), float("-inf")]
    page = Exposition()
    for number, value in enumerate(values):
        page.add(names.TRAIN_SCORE, value, {"score": odd, "stage": str(number)})
    page.add(names.TRAIN_LOSS, float("nan"), {})
    found = parse(page.page(accept).body.decode(), accept=accept)
    assert [one.value for one in found[:-1]] == values
    assert {one.labels["score"] for one in found[:-1]} == {odd}
    assert math.isnan(found[-1].value)
    assert found[-1].labels == {}
