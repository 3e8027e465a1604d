"""The metric curves of one or several runs, small enough for one page."""

import base64
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics import names
from pipeline.metrics.names import METRICS, PREFIX
from pipeline.report.downsample import min_max
from pipeline.report.gather import RunView
from pipeline.report.points import PointsFile

MAX_POINTS = 260_000
"""Of all curves of a page: about 2 MB once packed."""
_MAX_BUCKETS = 4_000
"""Of one curve: four times the pixels of a wide chart, so that zooming in shows more."""
_MIN_BUCKETS = 24
MAX_CURVES = MAX_POINTS // (2 * _MIN_BUCKETS)
"""More cannot be drawn within the budget; a stage that invents names must not blow up the page."""
_FIRST = ("train_loss", "eval_score", "train_grad_norm", "train_learning_rate")
_NO_CURVE = {names.TRAIN_STEP.name}
"""A line from corner to corner."""

_Steps = NDArray[np.int64]
_Values = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """One series of a stage, its attempts joined.

    Attributes:
        run: number of the run, 0 for the one the report is about.
        chart: what it is drawn in, e.g. "eval_score{score=loss}".
        label: tells it from others of the same stage and chart, e.g. "rank=1".
    """

    run: int
    stage: str
    chart: str
    label: str
    steps: _Steps
    values: _Values


def curves_of(views: Sequence[RunView]) -> list[Curve]:
    """Every curve of the runs, in the order of runs and stages."""
    return [
        curve
        for number, view in enumerate(views)
        for stage, files in view.points.items()
        for curve in _curves_of_stage(number, stage, files)
    ]


def pack(curves: Sequence[Curve], run_names: Sequence[str]) -> str:
    """The curves as base64 of compressed JSON: no character of it means anything to HTML.

    Steps are differences, values have six digits; what is no number is null.
    """
    buckets = min(_MAX_BUCKETS, max(_MIN_BUCKETS, MAX_POINTS // max(1, len(curves)) // 2))
    # What short curves leave over goes to the long ones.
    short = sum(len(c.steps) for c in curves if len(c.steps) <= 2 * buckets)
    num_long = sum(len(c.steps) > 2 * buckets for c in curves)
    if num_long:
        buckets = min(_MAX_BUCKETS, max(buckets, (MAX_POINTS - short) // num_long // 2))
    charts = sorted({curve.chart for curve in curves}, key=_rank)
    head = {
        "runs": list(run_names),
        "charts": {chart: _described(chart) for chart in charts},
    }
    series = ",".join(_packed(curve, buckets) for curve in curves)
    text = f'{json.dumps(head)[:-1]}, "series": [{series}]}}'
    return base64.b64encode(zlib.compress(text.encode(), 6)).decode("ascii")


def non_finite(curve: Curve) -> tuple[int, int]:
    """(how many values are no finite number, the step of the first one or 0)."""
    bad = np.flatnonzero(~np.isfinite(curve.values))
    return len(bad), int(curve.steps[bad[0]]) if len(bad) else 0


def _curves_of_stage(run: int, stage: str, files: Sequence[PointsFile]) -> Iterator[Curve]:
    series = dict.fromkeys(name for file in files for name in file.columns)
    for name in series:
        chart, label = _chart_of(name)
        if chart is None:
            continue
        parts = [
            (np.array(file.columns[name].steps), np.array(file.columns[name].values))
            for file in files
            if name in file.columns
        ]
        steps, values = _joined(parts)
        yield Curve(run, stage, chart, label, steps, values)


def _chart_of(name: str) -> tuple[str | None, str]:
    """(chart, label) of a series; scores are apart, for each has a scale of its own."""
    base, labels = names.parse(name)
    if base in _NO_CURVE or base.endswith("_timestamp_seconds"):
        return None, ""
    if not labels or base == names.EVAL_SCORE.name or base not in METRICS:
        return name, ""
    return base, ", ".join(f"{key}={value}" for key, value in labels.items())


def _joined(parts: Iterable[tuple[_Steps, _Values]]) -> tuple[_Steps, _Values]:
    """The attempts as one curve, steps rising: what a later attempt did again counts."""
    steps, values = np.empty(0, np.int64), np.empty(0)
    for new_steps, new_values in parts:
        kept = steps < new_steps.min() if len(new_steps) else np.full(len(steps), fill_value=True)
        steps = np.concatenate([steps[kept], new_steps])
        values = np.concatenate([values[kept], new_values])
    order = np.argsort(steps, kind="stable")
    steps, values = steps[order], values[order]
    # Of several values at a step the last one: totals of counters are written as they grow.
    is_last = np.append(np.diff(steps) != 0, [True] * min(1, len(steps)))
    return steps[is_last], values[is_last]


def _rank(chart: str) -> tuple[int, str]:
    base = names.parse(chart)[0]
    metric = METRICS.get(base)
    if base in _FIRST:
        return _FIRST.index(base), chart
    return (len(_FIRST) + (metric is not None and metric.kind == "counter"), chart)


def _described(chart: str) -> dict[str, str | bool]:
    base, labels = names.parse(chart)
    metric = METRICS.get(base)
    score = labels.get("score", "")
    if metric is None:
        return {"title": chart, "unit": "", "meaning": "", "counts": False}
    return {
        "title": score or base,
        "unit": metric.unit,
        "meaning": f"{metric.meaning}; in Prometheus {PREFIX}{chart}",
        "counts": metric.kind == "counter",
    }


def _packed(curve: Curve, num_buckets: int) -> str:
    kept = min_max(curve.steps, curve.values, num_buckets)
    steps, values = curve.steps[kept], curve.values[kept]
    head = json.dumps(
        {"run": curve.run, "stage": curve.stage, "chart": curve.chart, "label": curve.label}
    )
    x = ",".join(map(str, np.diff(steps, prepend=0).tolist()))
    y = ",".join([f"{v:.6g}" if math.isfinite(v) else "null" for v in values.tolist()])
    return f'{head[:-1]}, "total": {len(curve.steps)}, "x": [{x}], "y": [{y}]}}'
