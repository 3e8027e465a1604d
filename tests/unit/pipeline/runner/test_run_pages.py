"""What a run's page says while the run goes on and after it."""

import time
from pathlib import Path

import pytest

from pipeline.executors.base import Capacity
from pipeline.metrics import names
from pipeline.metrics.series import SERIES_FOLDER, SeriesFile
from pipeline.runner.exposition import RunPages, RunServer
from pipeline.spec.job import Job
from tests.runner.lab import RETRY, Lab, Toy
from tests.scrapes import OPENMETRICS, Scraped, parse, scrape

PAIR = {"raw": Toy("hello"), "next": Toy("you", ("raw",))}


def _pages() -> RunPages:
    return RunPages(grace_seconds=120.0, deliveries={})


def _look(pages: RunPages) -> list[Scraped]:
    return parse(pages.metrics(OPENMETRICS).body.decode())


def _value(found: list[Scraped], name: str, **labels: str) -> float | None:
    """Of the one series with these labels; None where there is none."""
    values = [
        one.value
        for one in found
        if one.name == f"pipeline_{name}" and labels.items() <= one.labels.items()
    ]
    assert len(values) <= 1, f"{name} {labels} is not one series"
    return values[0] if values else None


def test_run_pages_before_the_run_say_what_is_installed() -> None:
    assert {one.name for one in _look(_pages())} == {
        "pipeline_build_info",
        "pipeline_cache_requests_total",
    }


def test_run_pages_follow_the_states_of_a_run(lab: Lab) -> None:
    pages, seen = _pages(), []

    def before(job: Job) -> None:
        seen.append(_look(pages))

    lab.run(lab.plan(PAIR), lab.executor(before=before), listener=pages)
    first, second = seen
    assert _value(first, "stage_state", stage="raw", state="running") == 1
    assert _value(first, "stage_state", stage="next", state="waiting") == 1
    assert _value(first, "stage_state", stage="next", state="failed") == 0
    assert _value(first, "stage_ready_timestamp_seconds", stage="next") is None
    assert _value(second, "stage_state", stage="raw", state="done") == 1
    assert _value(second, "stage_queue_wait_seconds", stage="next") == pytest.approx(0, abs=5)
    after = _look(pages)
    assert _value(after, "run_state", state="succeeded") == 1
    assert _value(after, "run_state", state="running") == 0
    assert _value(after, "stage_attempts_total", stage="next") == 1
    assert _value(after, "cache_requests_total", result="miss") == 2
    finished = _value(after, "stage_last_success_timestamp_seconds", stage="next")
    assert finished == pytest.approx(time.time(), abs=60)


def test_run_pages_count_restarts_by_cause_and_every_cause_from_zero(lab: Lab) -> None:
    pages = _pages()
    toys = {"raw": Toy("hello", retry=RETRY)}
    lab.run(lab.plan(toys), lab.executor({"raw": [75, 137]}), listener=pages)
    found = _look(pages)
    counts = {
        cause: _value(found, "stage_restarts_total", cause=cause)
        for cause in names.STAGE_RESTARTS_TOTAL.known
    }
    assert counts == {"crashed": 0, "killed": 1, "lost": 0, "preempted": 1, "timeout": 0}
    assert _value(found, "stage_attempts_total") == 3


def test_run_pages_of_a_second_run_count_hits(lab: Lab) -> None:
    lab.run(lab.plan(PAIR), lab.executor())
    pages = _pages()
    lab.run(lab.plan(PAIR), lab.executor(), listener=pages)
    assert _value(_look(pages), "cache_requests_total", result="hit") == 2
    assert _value(_look(pages), "stage_state", stage="raw", state="reused") == 1


def test_run_pages_count_the_gpus_that_attempts_hold(lab: Lab) -> None:
    pages, seen = _pages(), []

    def before(job: Job) -> None:
        time.sleep(0.05)
        seen.append(_look(pages))

    toys = {"raw": Toy("hello", resources={"gpus_per_node": 2, "processes_per_node": 2})}
    roomy = Capacity(cpus=None, memory_bytes=None, gpus=None)
    executor = lab.executor({"raw": [1]}, before=before, capacity=roomy)
    lab.run(lab.plan(toys), executor, listener=pages)
    first, second = seen
    held = [_value(one, "stage_gpu_seconds_total") or 0 for one in (first, second, _look(pages))]
    assert 2 * 0.05 <= held[0] < held[1] <= held[2]
    assert _value(first, "stage_gpu_wasted_seconds_total") == 0
    wasted = _value(second, "stage_gpu_wasted_seconds_total") or 0
    assert held[0] <= wasted < held[1]


def test_run_pages_pass_on_what_the_ranks_of_an_attempt_tell(lab: Lab) -> None:
    pages, seen = _pages(), []

    def before(job: Job) -> None:
        file = SeriesFile(Path(job.folder) / SERIES_FOLDER / "0")
        file.set("train_loss", 2.5)
        file.flush()
        file.close()
        seen.append(_look(pages))

    lab.run(lab.plan({"raw": Toy("hello")}), lab.executor(before=before), listener=pages)
    elsewhere = RunPages(grace_seconds=120.0, deliveries={}, attempts_here=False)
    lab.run(lab.plan({"other": Toy("x")}), lab.executor(before=before), listener=elsewhere)
    assert _value(_look(elsewhere), "train_loss") is None
    for found in (seen[0], _look(pages)):  # final values too
        assert _value(found, "train_loss", stage="raw", attempt="1", pipeline="toys") == 2.5
        assert _value(found, "stage_grace_seconds", stage="raw") == 120


def test_run_server_serves_and_lingers_for_one_scrape(lab: Lab) -> None:
    pages = _pages()
    server = RunServer(pages, 0)
    lab.run(lab.plan(PAIR), lab.executor(), listener=pages)
    assert _value(scrape(server.port), "run_state", state="succeeded") == 1
    begin = time.monotonic()
    server.linger(0.3)  # nobody comes
    assert 0.3 <= time.monotonic() - begin < 5
    port = server.port
    server.close()
    with pytest.raises(OSError, match="refused"):
        scrape(port)
