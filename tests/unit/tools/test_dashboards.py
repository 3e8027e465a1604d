"""What is built from code is what is committed, and dashboards keep the house rules."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.metrics import names
from pipeline.spec.pod import AGENT_PORT
from tools.dashboards.files import built_files

ROOT = Path(__file__).parents[3]
BUILT = built_files()
RULES = ROOT / "k8s" / "alerts" / "pipeline.rules.yaml"


@pytest.mark.parametrize("name", BUILT)
def test_built_file_is_the_committed_one(name: str) -> None:
    there = (ROOT / name).read_text()
    assert there == BUILT[name], "run: python -m tools.dashboards"


def test_prometheus_rule_holds_the_rules() -> None:
    rule = YAML(typ="safe").load(BUILT["k8s/alerts/prometheusrule.yaml"])
    assert rule["spec"] == YAML(typ="safe").load(RULES)


def _panels() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{name}: {panel['title']}", panel)
        for name, text in BUILT.items()
        if name.endswith(".json")
        for panel in json.loads(text)["panels"]
        if panel["type"] != "row"
    ]


@pytest.mark.parametrize("panel", [p for _, p in _panels()], ids=[name for name, _ in _panels()])
def test_panel_is_described_and_has_a_unit_and_names_its_series(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    for target in panel["targets"]:
        assert panel["type"] == "table" or target["legendFormat"]


@pytest.mark.parametrize("name", [name for name in BUILT if name.endswith(".json")])
def test_dashboard_has_ids_of_its_own_and_fills_its_rows(name: str) -> None:
    board = json.loads(BUILT[name])
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    assert board["uid"].startswith("pipeline-")
    widths: dict[int, int] = {}
    for panel in board["panels"]:
        place = panel["gridPos"]
        widths[place["y"]] = widths.get(place["y"], 0) + place["w"]
    assert set(widths.values()) == {24}


def _exported() -> set[str]:
    found = set()
    for metric in names.METRICS.values():
        parts = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        found |= {metric.exported_name + part for part in parts}
    return found


@pytest.mark.parametrize("name", [*(n for n in BUILT if n.endswith(".json")), str(RULES)])
def test_metric_that_a_dashboard_or_rule_names_is_declared(name: str) -> None:
    text = BUILT[name] if name in BUILT else RULES.read_text()
    assert set(re.findall(r"pipeline_[a-z_]+", text)) <= _exported()


@pytest.mark.parametrize("name", [n for n in BUILT if n.endswith(".json")])
def test_recorded_series_that_a_dashboard_names_is_recorded(name: str) -> None:
    groups = YAML(typ="safe").load(RULES)["groups"]
    recorded = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    assert set(re.findall(r"pipeline:[a-z0-9_:]+", BUILT[name])) <= recorded


def test_pod_monitor_scrapes_where_agents_serve() -> None:
    overlay = ROOT / "k8s" / "overlays" / "monitoring"
    monitor = YAML(typ="safe").load(overlay / "podmonitor.yaml")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert monitor["spec"]["podTargetLabels"] == list(names.PLACE_LABELS)
    assert (endpoint["port"], endpoint["path"]) == ("agent", "/metrics")
    assert f'prometheus.io/port: "{AGENT_PORT}"' in (overlay / "scrape-config.yaml").read_text()


def test_monitoring_overlay_names_files_that_are_there() -> None:
    for folder in ("overlays/monitoring", "alerts", "dashboards"):
        place = ROOT / "k8s" / folder
        kustomization = YAML(typ="safe").load(place / "kustomization.yaml")
        for resource in kustomization.get("resources", ()):
            assert (place / resource).exists()
        for generator in kustomization.get("configMapGenerator", ()):
            assert all((place / file).is_file() for file in generator["files"])
            label = kustomization["generatorOptions"]["labels"]["grafana_dashboard"]
            assert label == "1"
