"""What a rank hands over is what is read, whatever happens in between."""

import threading
import time
from pathlib import Path

import pytest

from pipeline.metrics import names
from pipeline.metrics.series import MOST_SERIES, Sample, SeriesFile, read_series


def _values(folder: Path) -> dict[str, float]:
    return {
        f"{s.metric.name}/{s.part}/{sorted(s.labels.items())}": s.value for s in read_series(folder)
    }


def test_series_file_gives_back_gauges_and_counters(tmp_path: Path) -> None:
    file = SeriesFile(tmp_path / "0")
    file.set("train_loss", 2.5)
    file.set("train_loss", 1.25)
    file.add("train_phase_seconds_total{phase=data}", 1.0)
    file.add("train_phase_seconds_total{phase=data}", 0.5)
    assert read_series(tmp_path) == []  # nothing before it is flushed
    file.flush()
    assert read_series(tmp_path) == [
        Sample(names.TRAIN_LOSS, "", {}, 1.25),
        Sample(names.TRAIN_PHASE_SECONDS_TOTAL, "", {"phase": "data"}, 1.5),
    ]


def test_series_file_counts_a_value_on_a_bound_below_it(tmp_path: Path) -> None:
    file = SeriesFile(tmp_path / "0")
    for value in (0.01, 0.011, 1000.0):
        file.observe(names.TRAIN_STEP_DURATION_SECONDS, value)
    file.flush()
    found = {s.labels.get("le", s.part): s.value for s in read_series(tmp_path)}
    assert found == {"0.01": 1, "0.02": 1, "+Inf": 1, "sum": pytest.approx(1000.021)}


def test_prepared_series_begin_at_zero(tmp_path: Path) -> None:
    file = SeriesFile(tmp_path / "0")
    file.prepare(names.TRAIN_NONFINITE_TOTAL)
    file.prepare(names.TRAIN_SKIPPED_STEPS_TOTAL)
    file.flush()
    assert _values(tmp_path) == {
        "train_nonfinite_total//[('what', 'loss')]": 0,
        "train_nonfinite_total//[('what', 'gradient')]": 0,
        "train_skipped_steps_total//[]": 0,
    }


def test_ranks_are_joined_counters_added_and_gauges_of_the_lowest(tmp_path: Path) -> None:
    for rank, (items, loss) in {"0": (3.0, 1.0), "1": (4.0, 2.0), "10": (5.0, 3.0)}.items():
        file = SeriesFile(tmp_path / rank)
        file.add("stage_items_total{unit=documents}", items)
        file.set("train_loss", loss)
        file.set(f"host_memory_bytes{{rank={rank}}}", items)
        file.flush()
    found = _values(tmp_path)
    assert found["stage_items_total//[('unit', 'documents')]"] == 12
    assert found["train_loss//[]"] == 1
    assert found["host_memory_bytes//[('rank', '10')]"] == 5


def test_series_beyond_the_bound_are_left_out(tmp_path: Path) -> None:
    file = SeriesFile(tmp_path / "0")
    for number in range(MOST_SERIES + 5):
        file.add(f"stage_items_total{{unit=u{number}}}", 1)
    file.flush()
    assert len(read_series(tmp_path)) == MOST_SERIES


@pytest.mark.parametrize("damage", [b"", b"x", b"PLS1" + b"\xff" * 40, b"\0" * 20_000])
def test_damaged_file_of_a_rank_is_left_out(tmp_path: Path, damage: bytes) -> None:
    file = SeriesFile(tmp_path / "1")
    file.set("train_loss", 2.0)
    file.flush()
    (tmp_path / "0").write_bytes(damage)
    (tmp_path / "notes.txt").write_bytes(damage)
    assert [sample.value for sample in read_series(tmp_path)] == [2.0]


def test_reader_beside_a_writer_sees_no_torn_values(tmp_path: Path) -> None:
    """Two counters that always move together are never seen apart."""
    file = SeriesFile(tmp_path / "0")
    enough = threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        while not enough.is_set():
            file.add("train_steps_total", 1)
            file.add("train_samples_total", 1)
            file.flush()
            written += 1

    writer = threading.Thread(target=write)
    writer.start()
    seen: set[float] = set()
    give_up = time.monotonic() + 20
    while len(seen) < 20 and time.monotonic() < give_up:
        found = [sample.value for sample in read_series(tmp_path)]
        if found:
            assert found[0] == found[1]
            seen.add(found[0])
    enough.set()
    writer.join()
    assert len(seen) == 20
    assert [sample.value for sample in read_series(tmp_path)] == [written, written]
