"""What metrics cost: a step with them on against off, and a scrape of 10,000 series.

Run: `python -m tests.bench.bench_metrics`. The first trains a model that takes no time, so that the
difference is the cost itself and no noise of a step's; it is then set against a step of 20 ms. Both
count the processor's time as well as the wall's: a busy machine changes the one and not the other.
"""

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from pipeline.metrics.exposition import Exposition, place_labels
from pipeline.metrics.recorder import FileRecorder, NullRecorder
from pipeline.metrics.series import SeriesFile
from pipeline.spec.context import Recorder
from pipeline.training.loop import train
from tests.scrapes import OPENMETRICS
from tests.training.contexts import context, train_config
from tests.training.methods import Regression

STEPS = 1500
BLOCKS = 6
STEP_MS = 20.0
ATTEMPTS, SERIES = 10, 1000
SCRAPES = 10


def _trained(recorder: Recorder, folder: Path) -> tuple[float, float]:
    """(wall, CPU) milliseconds a step."""
    config = train_config(steps=STEPS, log_every=10)
    ctx = replace(context(folder), recorder=recorder)
    wall, cpu = time.perf_counter(), time.process_time()
    train(Regression(), config, ctx)
    return (
        1e3 * (time.perf_counter() - wall) / STEPS,
        1e3 * (time.process_time() - cpu) / STEPS,
    )


def _overhead() -> None:
    costs: list[tuple[float, float]] = []
    for block in range(BLOCKS + 1):
        with tempfile.TemporaryDirectory() as name:
            off = _trained(NullRecorder(), Path(name) / "off")
            recorder = FileRecorder(Path(name) / "metrics")
            on = _trained(recorder, Path(name) / "on")
            recorder.close()
        if block:  # the first warms up
            costs.append((on[0] - off[0], on[1] - off[1]))
    for place, clock in enumerate(("wall", "CPU")):
        values = sorted(cost[place] for cost in costs)
        middle = statistics.median(values)
        print(
            f"metrics of a step, {clock:4}   {1e3 * middle:7.1f} us   "
            f"{middle / STEP_MS:6.2%} of a {STEP_MS:.0f} ms step   "
            f"spread {1e3 * (values[-1] - values[0]):.0f} us"
        )


def _scrape(folder: Path) -> tuple[float, float, int]:
    """(wall, CPU) milliseconds and bytes of one scrape."""
    wall, cpu = time.perf_counter(), time.process_time()
    page = Exposition()
    for attempt in range(ATTEMPTS):
        place = place_labels(pipeline="p", run="r", stage=f"stage-{attempt}", attempt=1)
        page.add_attempt(folder / str(attempt), place)
    body = page.page(OPENMETRICS).body
    took = 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)
    assert body.count(b"\n") > ATTEMPTS * SERIES
    return *took, len(body)


def _exposition() -> None:
    with tempfile.TemporaryDirectory() as name:
        for attempt in range(ATTEMPTS):
            file = SeriesFile(Path(name) / str(attempt) / "0")
            for rank in range(SERIES):
                file.set(f"host_memory_bytes{{rank={rank}}}", 1.1 * rank)
            file.flush()
            file.close()
        _scrape(Path(name))
        scrapes = [_scrape(Path(name)) for _ in range(SCRAPES)]
    for place, clock in enumerate(("wall", "CPU")):
        values = sorted(scrape[place] for scrape in scrapes)
        print(
            f"{ATTEMPTS * SERIES} series, {clock:4}      {statistics.median(values):7.1f} ms   "
            f"spread {values[-1] - values[0]:.0f} ms   {scrapes[0][2] / 1e3:.0f} kB"
        )


def main() -> None:
    """Prints both."""
    torch.set_num_threads(1)
    _overhead()
    _exposition()


if __name__ == "__main__":
    main()
