"""What a stage records is on disk, survives a kill, and never ends the stage."""

import json
import math
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from pipeline.metrics import names
from pipeline.metrics.gallery import load_pictures
from pipeline.metrics.pictures import Heatmap, Table
from pipeline.metrics.progress import read_progress
from pipeline.metrics.recorder import FileRecorder, read_metrics

LOSS = names.TRAIN_LOSS.name


def _points(folder: Path) -> list[tuple[str, float, int]]:
    return [(p.name, p.value, p.step) for p in read_metrics(folder / "metrics.jsonl")]


def test_scalar_is_on_disk_before_the_call_returns(tmp_path: Path) -> None:
    recorder = FileRecorder(tmp_path)
    recorder.scalar(LOSS, 0.1 + 0.2, 7)
    assert _points(tmp_path) == [(LOSS, 0.1 + 0.2, 7)]
    recorder.close()


def test_scalar_that_is_not_finite_stays_readable(tmp_path: Path) -> None:
    recorder = FileRecorder(tmp_path)
    for value in (math.nan, math.inf, -math.inf):
        recorder.scalar(LOSS, value, 1)
    recorder.close()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["value"] for line in lines] == ["nan", "inf", "-inf"]
    values = [value for _, value, _ in _points(tmp_path)]
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf]


def test_count_writes_its_total_at_the_end(tmp_path: Path) -> None:
    recorder = FileRecorder(tmp_path)
    for _ in range(1000):
        recorder.count(names.TRAIN_SAMPLES_TOTAL.name, 8)
    recorder.close()
    assert _points(tmp_path) == [("train_samples_total", 8000, 0)]


def test_progress_is_written_at_once_then_at_most_twice_a_second(tmp_path: Path) -> None:
    recorder = FileRecorder(tmp_path)
    for step in range(1, 4):
        recorder.progress(step, 50, 2.5, 100.0, "tokens")
    first = read_progress(tmp_path / "progress.json")
    recorder.close()
    last = read_progress(tmp_path / "progress.json")
    assert first is not None
    assert last is not None
    assert (first.step, last.step) == (1, 3)
    assert (last.total_steps, last.loss, last.rate, last.unit) == (50, 2.5, 100.0, "tokens")


def test_progress_with_a_loss_that_is_no_number_says_none(tmp_path: Path) -> None:
    recorder = FileRecorder(tmp_path)
    recorder.progress(1, 2, math.nan, math.inf, "samples")
    recorder.close()
    progress = read_progress(tmp_path / "progress.json")
    assert progress is not None
    assert (progress.loss, progress.rate) == (None, 0.0)


def test_phase_stands_beside_the_last_step_until_the_next(tmp_path: Path) -> None:
    recorder = FileRecorder(tmp_path)
    told = []
    recorder.progress(3, 5, None, 1.0, "samples")
    for phase in ("evaluating", "evaluating, batch 1", "saving"):
        recorder.phase(phase)
        progress = read_progress(tmp_path / "progress.json")
        assert progress is not None
        told.append((progress.step, progress.phase))
    recorder.progress(4, 5, None, 1.0, "samples")
    recorder.close()
    last = read_progress(tmp_path / "progress.json")
    assert told == [(3, "evaluating"), (3, "evaluating"), (3, "saving")]
    assert last is not None
    assert (last.step, last.phase) == (4, "")


def test_read_progress_of_a_torn_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "progress.json").write_text('{"step": 3')
    assert read_progress(tmp_path / "progress.json") is None
    assert read_progress(tmp_path / "absent.json") is None


def test_read_metrics_leaves_out_a_torn_last_line(tmp_path: Path) -> None:
    recorder = FileRecorder(tmp_path)
    recorder.scalar(LOSS, 1.0, 1)
    recorder.close()
    with (tmp_path / "metrics.jsonl").open("a") as lines:
        lines.write('{"name": "train_lo')
    assert _points(tmp_path) == [(LOSS, 1.0, 1)]


def test_tensorboard_file_holds_the_scalars(tmp_path: Path) -> None:
    recorder = FileRecorder(tmp_path)
    recorder.scalar(LOSS, 0.5, 3)
    recorder.scalar(names.labelled(names.EVAL_SCORE, score="accuracy"), 0.25, 4)
    recorder.close()
    (path,) = (tmp_path / "tensorboard").iterdir()
    found = {
        value.tag: (event.step, value.tensor.float_val[0])
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
    }
    assert found == {"train_loss": (3, 0.5), "eval_score/accuracy": (4, 0.25)}


def test_show_round_trips_pictures_in_step_order(tmp_path: Path) -> None:
    recorder = FileRecorder(tmp_path)
    table = Table("scores", ["name", "value"], [["accuracy", 0.5], ["loss", 2]])
    heat = Heatmap(
        "attention", np.arange(6, dtype=np.float32).reshape(2, 3), ["a", "b"], list("xyz")
    )
    recorder.show(heat, 20)
    recorder.show(table, 3)
    recorder.close()
    first, second = load_pictures(tmp_path / "pictures")
    assert (first.step, first.picture) == (3, table)
    assert second.step == 20
    assert isinstance(second.picture, Heatmap)
    assert np.array_equal(second.picture.values, heat.values)
    assert second.picture.row_names == ["a", "b"]


def test_recorder_on_a_full_disk_warns_once_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = FileRecorder(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that a write fails with EFBIG
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
        for step in range(5):
            recorder.scalar(LOSS, 1.0, step)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)
    recorder.close()
    assert [r.getMessage() for r in caplog.records if "metrics are being lost" in r.getMessage()]
    assert len(caplog.records) == 1


def test_recorder_imports_no_torch_and_no_tensorboard_before_a_scalar() -> None:
    code = (
        "import sys, pipeline.metrics.recorder\n"
        "print([m for m in ('torch', 'tensorboard', 'tensorflow') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert run.stdout.strip() == "[]"
