import base64
import json
import math
import zlib
from typing import Any

import numpy as np

from pipeline.report import curves
from pipeline.report.curves import curves_of, non_finite, pack
from tests.report import points, stage, state, view


def _unpacked(packed: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def _read(*attempts: dict[str, list[tuple[int, float]]]) -> dict[str, dict[int, float]]:
    run = view(state(stage("s")), points={"s": [points(series) for series in attempts]})
    found: dict[str, dict[int, float]] = {}
    for series in _unpacked(pack(curves_of([run]), ["run"]))["series"]:
        name = f"{series['chart']} {series['label']}".strip()
        found[name] = dict(zip(np.cumsum(series["x"]).tolist(), series["y"], strict=True))
    return found


def test_a_later_attempt_replaces_the_steps_it_did_again() -> None:
    first = {"loss": [(1, 9.0), (2, 8.0), (3, 7.0), (4, 6.0)]}
    assert _read(first, {"loss": [(3, 5.0), (5, 4.0)]}) == {
        "loss": {1: 9.0, 2: 8.0, 3: 5.0, 5: 4.0}
    }


def test_of_two_values_at_a_step_the_last_one_counts() -> None:
    assert _read({"n_total": [(5, 1.0), (5, 2.0), (6, 3.0)]}) == {"n_total": {5: 2.0, 6: 3.0}}


def test_labels_share_a_chart_and_scores_have_their_own() -> None:
    found = _read(
        {
            "gpu_memory_bytes{kind=used,rank=0}": [(1, 1.0)],
            "gpu_memory_bytes{kind=used,rank=1}": [(1, 2.0)],
            "eval_score{score=loss}": [(1, 3.0)],
            "train_step": [(1, 1.0)],
            "train_last_step_timestamp_seconds": [(1, 1e9)],
        }
    )
    assert set(found) == {
        "gpu_memory_bytes kind=used, rank=0",
        "gpu_memory_bytes kind=used, rank=1",
        "eval_score{score=loss}",
    }


def test_what_is_no_number_is_null_and_counted() -> None:
    series = {"loss": [(1, 1.0), (2, math.nan), (3, math.inf)]}
    assert _read(series) == {"loss": {1: 1.0, 2: None, 3: None}}
    (curve,) = curves_of([view(state(stage("s")), points={"s": [points(series)]})])
    assert non_finite(curve) == (2, 2)


def test_hostile_names_leave_no_trace_in_the_packed_text() -> None:
    packed = pack(
        curves_of(
            [view(state(stage("s")), points={"s": [points({"</script>\u2028": [(1, 1.0)]})]})]
        ),
        ["<b>"],
    )
    assert set(packed) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
    assert "</script>\u2028" in _unpacked(packed)["charts"]


def test_many_curves_stay_within_the_budget_and_keep_their_ends() -> None:
    steps = range(10_000)
    files = {
        f"s{n}": [points({"loss": [(step, math.sin(step * n)) for step in steps]})]
        for n in range(1, 41)
    }
    run = view(state(*map(stage, files)), points=files)
    series = _unpacked(pack(curves_of([run]), ["run"]))["series"]
    assert sum(len(one["x"]) for one in series) <= curves.MAX_POINTS * 1.05
    assert all(one["total"] == 10_000 and sum(one["x"]) == 9_999 for one in series)


def test_runs_are_numbered_in_the_order_given() -> None:
    runs = [view(state(stage("s")), points={"s": [points({"loss": [(1, v)]})]}) for v in (1.0, 2.0)]
    data = _unpacked(pack(curves_of(runs), ["one", "two"]))
    assert data["runs"] == ["one", "two"]
    assert [(one["run"], one["y"]) for one in data["series"]] == [(0, [1]), (1, [2])]
