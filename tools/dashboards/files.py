"""The text of every file that is built: dashboards, the operator's rules, the metrics' table."""

import json
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from pipeline.metrics.names import METRICS, PLACE_LABELS, Metric
from tools.dashboards.cluster import cluster
from tools.dashboards.runs import runs
from tools.dashboards.training import training

_RULES = Path(__file__).parents[2] / "k8s" / "alerts" / "pipeline.rules.yaml"
_RULE_HEAD = """\
# pipeline.rules.yaml for the Prometheus operator; written by `python -m tools.dashboards`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: pipeline
  labels:
    app.kubernetes.io/name: pipeline
spec:
"""
_TABLE_HEAD = """\
# Metrics

Written from `pipeline/metrics/names.py` by `python -m tools.dashboards`. Every name has the prefix
`pipeline_`, and every series the labels {place} of where it was told, as far
as they apply, besides its own. Counters begin at 0 with each attempt; those of the runner go on
when a run is resumed. A method's own scores are the `score` labels of `eval_score` (declared by its
ScoreSpecs: `pipeline stages KIND`) and of `train_score`.

| Name | Kind | Unit | Labels | Meaning |
|---|---|---|---|---|
"""


def built_files() -> dict[str, str]:
    """Path from the repository's root -> content."""
    boards = {"runs": runs(), "training": training(), "cluster": cluster()}
    files = {f"k8s/dashboards/{name}.json": _board_text(board) for name, board in boards.items()}
    files["k8s/alerts/prometheusrule.yaml"] = prometheus_rule(_RULES.read_text(encoding="utf-8"))
    files["docs/metrics.md"] = metrics_table()
    return files


def _board_text(board: Dashboard) -> str:
    content = json.loads(JSONEncoder().encode(board.build()))
    for number, panel in enumerate(content["panels"], 1):
        panel["id"] = number  # else Grafana gives one, another after each import
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def prometheus_rule(rules: str) -> str:
    """The same rules as an object of the operator's."""
    lines = [line for line in rules.splitlines() if not line.startswith("#")]
    return _RULE_HEAD + "".join(f"  {line}".rstrip() + "\n" for line in lines)


def metrics_table() -> str:
    """docs/metrics.md."""
    place = ", ".join(f"`{name}`" for name in PLACE_LABELS)
    return _TABLE_HEAD.format(place=place) + "".join(_row(one) for one in METRICS.values())


def _row(metric: Metric) -> str:
    labels = []
    for number, label in enumerate(metric.labels):
        values = f" ({', '.join(metric.known)})" if metric.known and number == 0 else ""
        labels.append(f"`{label}`{values}")
    cells = (f"`{metric.name}`", metric.kind, metric.unit, ", ".join(labels), metric.meaning)
    return f"| {' | '.join(cells)} |\n"
