from pathlib import Path

import pytest
from typing_extensions import override

from pipeline.report import page
from pipeline.report.gather import RunReader, RunView
from pipeline.report.page import Report
from pipeline.runner.record import write_record
from pipeline.storage import Store
from tests.report import points, record, stage, state, view


class _Reader(RunReader):
    """One that has read already."""

    def __init__(self, found: RunView) -> None:
        self._found = found

    @override
    def read(self) -> RunView:
        return self._found


def _page(found: RunView) -> str:
    return Report([_Reader(found)]).page().html


def test_policy_allows_no_script_but_the_two_of_the_page_and_no_address() -> None:
    html = _page(view(state(stage("a"))))
    policy = html.partition('Content-Security-Policy" content="')[2].partition('"')[0]
    assert policy.startswith("default-src &#39;none&#39;; script-src &#39;sha256-")
    assert policy.count("sha256-") == 2
    assert "connect-src &#39;none&#39;" in policy
    assert "unsafe-inline" not in policy.partition("style-src")[0]
    live = Report([_Reader(view(state(stage("a"))))]).page(is_live=True).html
    assert "connect-src &#39;self&#39;" in live


def test_licence_of_the_chart_library_is_in_the_page() -> None:
    assert "Permission is hereby granted, free of charge" in _page(view(state()))


def test_curves_beyond_the_budget_are_left_out_with_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MAX_CURVES", 3)
    series = {f"name {n}": [(1, 1.0)] for n in range(5)}
    html = _page(view(state(stage("a")), points={"a": [points(series)]}))
    assert "2 of 5 curves are left out" in html


def test_a_thousand_warnings_are_not_listed_one_by_one() -> None:
    series = {f"name {n}": [(1, float("nan"))] for n in range(1000)}
    html = _page(view(state(stage("a")), points={"a": [points(series)]}))
    assert "800 more lines are left out" in html
    assert html.count('<li data-level="warning">') == 201


def test_page_of_a_run_without_any_event_is_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    about = record()
    write_record(store, about)
    html = Report([RunReader(store, about.run, tmp_path / "cache")]).page().html
    assert about.run in html
    assert "its runner was killed" in html
