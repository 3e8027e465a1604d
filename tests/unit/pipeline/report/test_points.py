import json
import math
from pathlib import Path

import pytest

from pipeline.metrics.recorder import FileRecorder, read_metrics
from pipeline.report import points
from pipeline.report.points import PointsFile


def _values(file: PointsFile) -> dict[str, list[tuple[int, float]]]:
    return {n: list(zip(c.steps, c.values, strict=True)) for n, c in file.columns.items()}


def test_points_are_what_the_recorder_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(points, "_BLOCK_BYTES", 100)  # many blocks: lines are cut by their ends
    recorder = FileRecorder(tmp_path)
    for step in range(50):
        recorder.scalar("loss\u2028\n", step / 7, step)
        recorder.scalar("rate", math.inf if step == 3 else -step, step)
    recorder.close()
    file = PointsFile(tmp_path / "metrics.jsonl")
    assert file.read_new()
    expected: dict[str, list[tuple[int, float]]] = {}
    for point in read_metrics(tmp_path / "metrics.jsonl"):
        expected.setdefault(point.name, []).append((point.step, point.value))
    assert _values(file) == expected
    assert file.num_damaged == 0


def test_points_of_a_growing_file_are_read_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    file = PointsFile(path)
    assert not file.read_new()
    path.write_text('{"name": "a", "value": 1, "step": 1, "time": 0}\n{"name": "a", "va')
    file.read_new()
    assert _values(file) == {"a": [(1, 1.0)]}
    with path.open("a") as more:
        more.write('lue": "nan", "step": 2, "time": 0}\n')
    file.read_new()
    file.read_new()
    (_, second) = _values(file)["a"]
    assert second[0] == 2
    assert math.isnan(second[1])


def test_damaged_lines_are_counted_and_left_out(tmp_path: Path) -> None:
    good = {"name": "a", "value": 1.0, "step": 1, "time": 0}
    bad = [
        "{", "[]", "7", "null", json.dumps({**good, "value": "word"}), json.dumps({**good, "step": 1.5}),
        json.dumps({**good, "step": 1 << 70}), json.dumps({"value": 1, "step": 2}),
        json.dumps({**good, "name": [1]}), "[" * 100_000,
    ]  # fmt: skip
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join([json.dumps(good), *bad, json.dumps({**good, "step": 2})]) + "\n")
    file = PointsFile(path)
    file.read_new()
    assert _values(file) == {"a": [(1, 1.0), (2, 1.0)]}
    assert file.num_damaged == len(bad)
