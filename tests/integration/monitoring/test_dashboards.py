"""Every panel of every dashboard and every rule, asked of a Prometheus that watched a real run."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.metrics import names
from tests.integration.monitoring.conftest import ROOT, Watched, watching

DASHBOARDS = ("runs", "training", "cluster")
VARIABLES = {
    "$pipeline": ".*",
    "$run": ".*",
    "$stage": ".*",
    "$__rate_interval": "5s",
    "$__range": "60s",
}
NO_DATA_HERE = {
    "GPU memory, peak": "there is no GPU",
}
"""Panels of Runs and Training that a run on this machine leaves empty, with the reason."""
SOMETIMES = {"Waiting now"}
"""Has data only if a scrape falls between a stage's last input and its start."""


@dataclass(frozen=True)
class Asked:
    """One query of one panel."""

    board: str
    title: str
    expr: str


def _panels(board: str) -> list[dict[str, Any]]:
    content = json.loads((ROOT / "k8s" / "dashboards" / f"{board}.json").read_text())
    panels = [panel for panel in content["panels"] if panel["type"] != "row"]
    assert panels
    return panels


def _asked(*boards: str) -> list[Asked]:
    found = []
    for board in boards:
        for panel in _panels(board):
            for target in panel["targets"]:
                expr = target["expr"]
                for name, value in VARIABLES.items():
                    expr = expr.replace(name, value)
                assert "$" not in expr.replace('"$1"', ""), f"{panel['title']}: {expr}"
                found.append(Asked(board, panel["title"], expr))
    return found


def _has_numbers(series: list[dict[str, Any]]) -> bool:
    return any(value != "NaN" for one in series for _, value in one["values"])


def _empty_panels(watched: Watched) -> set[str]:
    """Panels with a query that found nothing."""
    empty = set()
    for asked in _asked("runs", "training"):
        series = watched.prometheus.range(asked.expr, watched.begin, watched.end)
        if not _has_numbers(series):
            empty.add(asked.title)
    return empty - SOMETIMES


def test_dashboards_every_query_runs_and_shows_the_run(watched: Watched) -> None:
    assert _empty_panels(watched) == set(NO_DATA_HERE)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_dashboards_show_the_quickstart(tmp_path: Path) -> None:
    """The example itself, with fewer steps."""
    few = ("stages.pretrain.with.train.steps=110", "params.finetune.steps=40")
    settings = [argument for setting in few for argument in ("--set", setting)]
    dag = str(ROOT / "examples" / "quickstart" / "dag.yaml")
    with watching(tmp_path, dag, *settings, timeout_seconds=1700) as watched:
        assert _empty_panels(watched) == set(NO_DATA_HERE)


def test_dashboards_of_the_cluster_are_understood(watched: Watched) -> None:
    for asked in _asked("cluster"):
        watched.prometheus.range(asked.expr, watched.begin, watched.end)


def test_annotations_mark_restarts_and_checkpoints(watched: Watched) -> None:
    content = json.loads((ROOT / "k8s" / "dashboards" / "training.json").read_text())
    for annotation in content["annotations"]["list"]:
        expr = annotation["expr"]
        for name, value in VARIABLES.items():
            expr = expr.replace(name, value)
        assert watched.prometheus.range(expr, watched.begin, watched.end), annotation["name"]


def test_rules_are_loaded_and_evaluate_without_error(watched: Watched) -> None:
    rules = watched.prometheus.rules()
    assert len(rules) == _num_rules()
    for rule in rules:
        assert (rule["health"], rule.get("lastError", "")) == ("ok", ""), rule["name"]
    for rule in rules:  # as they stand, once more by hand
        watched.prometheus.query(rule["query"])


def _num_rules() -> int:
    text = (ROOT / "k8s" / "alerts" / "pipeline.rules.yaml").read_text()
    return text.count("- record:") + text.count("- alert:")


def test_recording_rules_have_recorded_the_run(watched: Watched) -> None:
    for name in (
        "pipeline:step_seconds:p50_1h",
        "pipeline:samples:rate5m",
        "pipeline:tokens:rate5m",
        "pipeline:mfu:avg",
        "pipeline:goodput:ratio_rate1h",
        "pipeline:restarts:increase1h",
        "pipeline:gpu_hours:increase1h",
        "pipeline:gpu_hours_wasted:increase1h",
    ):
        series = watched.prometheus.range(name, watched.begin, watched.end)
        assert _has_numbers(series), name
        assert all("run" not in one["metric"] for one in series) or name.endswith("p50_1h")


def _last(watched: Watched, expr: str) -> float:
    """The newest value of the one series of an expression."""
    (series,) = watched.prometheus.range(expr, watched.begin, watched.end)
    return float(series["values"][-1][1])


@pytest.mark.parametrize(
    ("expr", "value"),
    [
        ('pipeline_run_state{state="succeeded"}', 1),
        ('pipeline_stage_state{stage="pair", state="done"}', 1),
        ('pipeline_stage_attempts_total{stage="pair"}', 2),
        ('pipeline_stage_restarts_total{stage="pair", cause="killed"}', 1),
        ('pipeline_stage_restarts_total{stage="pair", cause="crashed"}', 0),
        ('pipeline_stage_items_total{stage="things"}', 5),
        ('pipeline_train_step{attempt="2"}', 240),
        ('pipeline_checkpoint_last_step{attempt="2"}', 240),
        ('pipeline_train_steps_total{attempt="2"}', 240 - 60),
        ('pipeline_train_samples_total{attempt="2"}', 8 * (240 - 60)),
        ("count(count by (rank) (pipeline_train_compute_seconds_total))", 2),
        ('pipeline_train_nonfinite_total{attempt="2", what="loss"}', 0),
    ],
)
def test_prometheus_saw_the_final_values_of_the_run(
    watched: Watched, expr: str, value: float
) -> None:
    assert _last(watched, expr) == value


def test_prometheus_saw_no_series_that_is_not_declared(watched: Watched) -> None:
    series = watched.prometheus.range('{__name__=~"pipeline_.+"}', watched.begin, watched.end)
    place = {"job", "instance", *names.PLACE_LABELS}
    for one in series:
        name = one["metric"].pop("__name__").removeprefix("pipeline_")
        for part in ("_bucket", "_sum", "_count"):
            if name.removesuffix(part) in names.METRICS:
                name = name.removesuffix(part)
        metric = names.METRICS[name]
        labels = set(one["metric"]) - place - ({"le"} if metric.kind == "histogram" else set())
        assert labels == set(metric.labels), one["metric"]


def test_no_alert_fires_in_a_healthy_run(watched: Watched) -> None:
    alerts = watched.prometheus.range('ALERTS{alertstate="firing"}', watched.begin, watched.end)
    assert alerts == []
