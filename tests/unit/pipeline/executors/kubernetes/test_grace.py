"""The grace period follows what was measured."""

from pathlib import Path

from pipeline.executors.kubernetes.grace import measured_save_seconds
from pipeline.metrics import names
from pipeline.metrics.recorder import FileRecorder


def test_longest_save_of_earlier_attempts_counts(tmp_path: Path) -> None:
    for attempt, seconds in (("1", [3.0, 40.0]), ("1.1", [5.0])):
        recorder = FileRecorder(tmp_path / attempt)
        for step, value in enumerate(seconds):
            recorder.scalar(names.CHECKPOINT_SAVE_DURATION_SECONDS.name, value, step)
            recorder.scalar("train_loss", 99.0, step)
        recorder.close()
    assert measured_save_seconds(tmp_path / "2") == 40.0


def test_nothing_measured_is_none(tmp_path: Path) -> None:
    assert measured_save_seconds(tmp_path / "stage" / "1") is None
