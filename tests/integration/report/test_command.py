import re
from pathlib import Path

from pipeline.errors import ExitCode
from tests.integration.report.conftest import Shown


def test_report_of_the_newest_run_is_named_after_it(shown: Shown) -> None:
    said = shown.pipeline("report")
    assert said.code == ExitCode.OK
    path = shown.folder / f"report-{shown.runs[-1]}.html"
    assert said.lines == [f"{path.name}  ({path.stat().st_size / 1024:.1f} KiB)"]
    path.unlink()


def test_report_of_no_run_and_into_no_folder_are_the_users_errors(shown: Shown) -> None:
    assert shown.pipeline("report", "nosuch").code == ExitCode.USER_ERROR
    assert shown.pipeline("report", "--serve", "-o", "x.html").code == ExitCode.USER_ERROR
    said = shown.pipeline("report", "-o", "/proc/x/report.html")
    assert said.code == ExitCode.USER_ERROR
    assert "--output" in said.err


def test_report_of_a_moved_folder_says_what_is_missing(shown: Shown, tmp_path: Path) -> None:
    stages = shown.folder / ".pipeline" / "runs" / shown.runs[0] / "stages"
    stages.rename(tmp_path / "stages")
    try:
        text = shown.report(shown.runs[0]).read_text()
    finally:
        (tmp_path / "stages").rename(stages)
    assert re.search(r"are not on this machine: /\S+ and 3 more", text)
