"""What recorders let Prometheus see, on rank 0, on other ranks, and on a disk that is full."""

import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.metrics import names
from pipeline.metrics.recorder import FileRecorder, RankRecorder, read_metrics
from pipeline.metrics.series import SERIES_FOLDER, read_series


def _seen(folder: Path) -> Mapping[str, float]:
    return {
        names.labelled(one.metric, **one.labels): one.value
        for one in read_series(folder / SERIES_FOLDER)
        if not one.part
    }


def test_recorder_exports_what_is_declared_and_keeps_the_rest_to_itself(tmp_path: Path) -> None:
    recorder = FileRecorder(tmp_path)
    recorder.scalar("train_loss", 3.0, 1)
    recorder.scalar("my/own/curve", 1.0, 1)
    recorder.count("train_steps_total", 2)
    recorder.count("my_events_total")
    recorder.gauge("train_step", 7)
    recorder.scalar("train_step_duration_seconds", 0.5, 1)  # a curve of means, no observation
    recorder.gauge("train_steps_total", 99)  # a counter is nobody's gauge
    recorder.close()
    assert _seen(tmp_path) == {"train_loss": 3.0, "train_steps_total": 2.0, "train_step": 7.0}
    points = {point.name for point in read_metrics(tmp_path / "metrics.jsonl")}
    assert "train_step" not in points
    assert {"train_loss", "my/own/curve", "my_events_total"} <= points


def test_recorder_shows_a_step_as_soon_as_its_progress_is_told(tmp_path: Path) -> None:
    recorder = FileRecorder(tmp_path)
    recorder.count("train_steps_total")
    recorder.progress(1, 2, None, 1.0, "samples")
    assert _seen(tmp_path) == {"train_steps_total": 1.0}
    recorder.close()


@pytest.mark.parametrize("is_gang", [True, False])
def test_rank_above_0_tells_its_own_and_of_a_gang_nothing_else(
    tmp_path: Path, is_gang: bool
) -> None:
    recorder = RankRecorder(tmp_path, 3, is_gang=is_gang)
    recorder.prepare(names.TRAIN_STEPS_TOTAL)
    recorder.scalar("train_loss", 3.0, 1)
    recorder.count("stage_items_total{unit=documents}", 5)
    recorder.count("train_compute_seconds_total{rank=3}", 0.5)
    recorder.observe("train_step_duration_seconds", 0.5)
    recorder.close()
    own = {"train_compute_seconds_total{rank=3}": 0.5}
    rest = {"train_loss": 3.0, "stage_items_total{unit=documents}": 5.0, "train_steps_total": 0.0}
    assert _seen(tmp_path) == own | ({} if is_gang else rest)
    assert {path.name for path in tmp_path.iterdir()} == {SERIES_FOLDER}


def test_rank_recorder_on_a_full_disk_warns_once_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / SERIES_FOLDER).mkdir()
    (tmp_path / SERIES_FOLDER / "1").symlink_to("/dev/full")
    recorder = RankRecorder(tmp_path, 1, is_gang=True)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            recorder.count("train_compute_seconds_total{rank=1}", 0.5)
            recorder.progress(1, 2, None, 1.0, "samples")
    recorder.close()
    assert caplog.text.count("metrics are being lost, training goes on") == 1
