"""Metric declarations follow the rules of Prometheus and of this project."""

import re

import pytest

from pipeline.metrics import names


@pytest.mark.parametrize("metric", names.METRICS.values(), ids=lambda metric: metric.name)
def test_metric_is_named_by_the_rules(metric: names.Metric) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
    assert metric.exported_name == f"pipeline_{metric.name}"
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    for unit in ("seconds", "bytes", "ratio"):
        if metric.unit == unit:
            assert unit in metric.name
    assert metric.meaning
    assert not {"step", "epoch", "path"} & set(metric.labels)


def test_labelled_series_parses_back() -> None:
    written = names.labelled(names.GPU_MEMORY_BYTES, rank="3", kind="allocated_peak")
    assert written == "gpu_memory_bytes{kind=allocated_peak,rank=3}"
    assert names.parse(written) == ("gpu_memory_bytes", {"kind": "allocated_peak", "rank": "3"})
    assert names.parse(names.labelled(names.TRAIN_LOSS)) == ("train_loss", {})


def test_labelled_with_an_undeclared_label_is_refused() -> None:
    with pytest.raises(ValueError, match="train_loss has the labels"):
        names.labelled(names.TRAIN_LOSS, step="3")


def test_parse_of_a_free_name_keeps_it() -> None:
    assert names.parse("XLNet/Perplexity") == ("XLNet/Perplexity", {})
