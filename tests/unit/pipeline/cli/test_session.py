"""Which run and which store a command means."""

import os
import signal
import time
from pathlib import Path

import pytest

from pipeline.cli.session import find_run, open_store, remember_store, until_interrupted
from pipeline.errors import StoreError, UserError
from pipeline.storage import Store

RUNS = ("20250101-120000-aaaa", "20250101-120000-bbbb", "20250102-090000-aaab")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    store = Store(tmp_path / ".pipeline")
    for run in RUNS:
        store.write(f"runs/{run}/run.json", b"{}")
    return store


@pytest.mark.parametrize("name", [None, "latest"])
def test_find_run_without_a_name_is_the_newest(store: Store, name: str | None) -> None:
    assert find_run(store, name) == RUNS[-1]


def test_interrupted_watching_ends_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with until_interrupted():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    assert capsys.readouterr().out == "\n"
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("name", "run"), [(RUNS[0], RUNS[0]), ("20250102", RUNS[2]), ("bbbb", RUNS[1])]
)
def test_find_run_takes_an_id_its_start_and_its_end(store: Store, name: str, run: str) -> None:
    assert find_run(store, name) == run


@pytest.mark.parametrize(("name", "what"), [("2025", "fits 3 runs"), ("cccc", "is not a run")])
def test_find_run_of_none_or_several_is_refused(store: Store, name: str, what: str) -> None:
    with pytest.raises(UserError, match=what):
        find_run(store, name)


def test_open_store_goes_where_the_last_run_went(store: Store, tmp_path: Path) -> None:
    assert open_store(None).url == store.url
    other = Store(tmp_path / "other")
    remember_store(other)
    assert open_store(None).url == other.url
    assert open_store("third").url == Store(tmp_path / "third").url
    remember_store(store)
    assert open_store(None).url == store.url


def test_remember_store_in_a_folder_that_cannot_be_written_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".pipeline").write_text("")
    with pytest.raises(StoreError, match="a file stands where a folder must be"):
        remember_store(Store(tmp_path / "other"))
