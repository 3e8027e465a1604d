"""Alerts: each is complete, is tested to fire and to stay silent, and has a page that helps."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.debian import debian_program
from tests.integration.monitoring.conftest import ROOT

ALERTS = ROOT / "k8s" / "alerts"


def _read(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def _rules() -> list[dict[str, Any]]:
    return [r for group in _read(ALERTS / "pipeline.rules.yaml")["groups"] for r in group["rules"]]


def _alerts() -> list[dict[str, Any]]:
    return [rule for rule in _rules() if "alert" in rule]


@pytest.mark.parametrize("alert", _alerts(), ids=lambda alert: str(alert["alert"]))
def test_alert_is_complete_and_its_runbook_says_where_to_look_and_what_to_do(
    alert: dict[str, Any],
) -> None:
    assert alert["for"]
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"]["summary"].endswith(".")
    page = ROOT / alert["annotations"]["runbook"]
    assert page == ALERTS / "runbooks" / f"{alert['alert']}.md"
    text = page.read_text()
    assert text.startswith(f"# {alert['alert']}\n")
    assert "\n## Look\n" in text
    assert "\n## Do\n" in text


def test_every_alert_has_cases_that_fire_and_that_stay_silent() -> None:
    tested: dict[str, set[bool]] = {str(alert["alert"]): set() for alert in _alerts()}
    for case in _read(ALERTS / "pipeline.test.yaml")["tests"]:
        for check in case["alert_rule_test"]:
            tested[check["alertname"]].add(bool(check["exp_alerts"]))
    assert {name for name, outcomes in tested.items() if outcomes != {True, False}} == set()


def test_no_runbook_is_left_of_an_alert_that_is_gone() -> None:
    pages = {path.stem for path in (ALERTS / "runbooks").glob("*.md")}
    assert pages == {str(alert["alert"]) for alert in _alerts()}


def test_recording_rules_for_months_have_no_run_label() -> None:
    """A run's id is new each time; what a stall is measured by needs it all the same."""
    for rule in _rules():
        name = rule.get("record", "")
        if name and not name.startswith(("pipeline:step_seconds", "pipeline:dcgm")):
            assert "run," not in rule["expr"], name


@pytest.mark.parametrize("command", [("check", "rules"), ("test", "rules")])
def test_promtool_is_content(command: tuple[str, str]) -> None:
    file = "pipeline.rules.yaml" if command[0] == "check" else "pipeline.test.yaml"
    promtool = debian_program("prometheus", "promtool")
    done = subprocess.run(
        [promtool, *command, file], cwd=ALERTS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_scrape_config_without_the_operator_is_valid(tmp_path: Path) -> None:
    promtool = debian_program("prometheus", "promtool")
    part = (ROOT / "k8s" / "overlays" / "monitoring" / "scrape-config.yaml").read_text()
    # Debian's build knows no Kubernetes; everything else of it is checked.
    discovery = "kubernetes_sd_configs: [{role: pod}]"
    assert discovery in part
    part = part.replace(discovery, 'static_configs: [{targets: ["127.0.0.1:9640"]}]')
    config = tmp_path / "prometheus.yml"
    config.write_text("scrape_configs:\n" + part)
    done = subprocess.run(
        [promtool, "check", "config", str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
