"""What is shown while a run goes on."""

import io
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from typing_extensions import override

from pipeline.cli.display import (
    Display,
    JsonLines,
    LiveTable,
    PlainLines,
    choose_display,
)
from pipeline.cli.options import Output
from pipeline.cli.pace import Pace
from pipeline.cli.table import StageTable, elided
from pipeline.executors.base import AttemptEnd
from pipeline.metrics.progress import Progress, ProgressFile
from pipeline.numbers import duration, rate, size
from pipeline.runner.state import AttemptState, StageState, StageStatus
from tests.runner.lab import Lab, Toy

TOYS = {"good": Toy("x"), "flaky": Toy("y", ("good",)), "bad": Toy("z", ("flaky",))}
ENDS: dict[str, list[int | AttemptEnd | None]] = {
    "flaky": [AttemptEnd("", 1, 1, "it fell over")],
    "bad": [65],
}


@pytest.fixture
def show(tmp_path: Path) -> Callable[[Display], None]:
    """Runs three toys, the last of which fails, before a display."""

    def run(display: Display) -> None:
        lab = Lab(tmp_path)
        with display:
            lab.run(lab.plan(TOYS), lab.executor(ENDS), listener=display)

    return run


def test_plain_lines_tell_each_event_once(
    show: Callable[[Display], None], capsys: pytest.CaptureFixture[str]
) -> None:
    show(PlainLines())
    text = re.sub(r"done in \d\.\ds", "done", capsys.readouterr().out)
    lines = [line.split(" ", 1)[1] for line in text.splitlines()]
    assert lines[1:4] == ["good: started", "good: done", "flaky: started"]
    assert lines[4:] == [
        "flaky: attempt 1 ended with 1: rank 1: it fell over",
        "flaky: tries again in 0.0s: attempt 1 of 3 that count",
        "flaky: started again, attempt 2",
        "flaky: done",
        "bad: started",
        "bad: attempt 1 ended with 65: rank 0: exit 65",
        "bad: failed: 65 bad data",
    ]


def test_json_lines_are_objects_with_the_run(
    show: Callable[[Display], None], capsys: pytest.CaptureFixture[str]
) -> None:
    show(JsonLines())
    entries = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [entry["n"] for entry in entries] == list(range(1, len(entries) + 1))
    assert len({entry["run"] for entry in entries}) == 1


def test_live_table_ends_with_a_line_a_stage(show: Callable[[Display], None]) -> None:
    out = io.StringIO()
    show(LiveTable(Console(file=out, force_terminal=True, color_system=None, width=100)))
    last = out.getvalue().rpartition("progress")[2]
    assert "✔  good   1 " in last
    assert "✔  flaky  2 " in last
    assert "✘  bad    1 " in last


def test_table_of_many_stages_keeps_those_at_work_in_sight() -> None:
    stages = [StageState(f"s{n:03d}", "k", "", "p", StageStatus.DONE) for n in range(60)]
    stages[59].status = StageStatus.FAILED
    console = Console(file=io.StringIO(), width=80)
    with console.capture() as captured:
        console.print(StageTable(stages, Pace()))
    assert "✘  s059" in captured.get()
    assert "and 20 more stages" in captured.get()
    assert len(captured.get().splitlines()) == 42


CELLS = [
    StageState(
        f"finetune_with_a_long_name[seed={n}]", "k", "", "p", StageStatus.FAILED, note="x " * 300
    )
    for n in range(1, 4)
]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_table_with_a_long_message_shortens_the_last_column_alone(width: int) -> None:
    started = time.time() - 3725
    for cell in CELLS:
        cell.attempts = [AttemptState(1, "i", "f", 1, started, 1, ended=started + 3725)]
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as captured:
        console.print(StageTable(CELLS, Pace()))
    lines = captured.get().splitlines()
    assert len(lines) == 4
    assert lines[0].split() == ["stage", "attempt", "time", "progress"]
    for number, line in enumerate(lines[1:], start=1):
        assert len(line) <= width
        assert line.startswith("✘  fi")
        assert re.search(rf"\[seed={number}\]  1 +1h02m +x x .*…$", line)


@pytest.mark.parametrize(
    ("address", "width", "short"),
    [
        ("finetune[seed=1]", 16, "finetune[seed=1]"),
        ("finetune[seed=1]", 13, "fine…[seed=1]"),
        ("finetune[lr=0.001,seed=1]", 12, "fin…,seed=1]"),
        ("a_long_name", 7, "a_…name"),
    ],
)
def test_elided_name_keeps_the_end_of_a_cell(address: str, width: int, short: str) -> None:
    assert elided(address, width) == short
    assert len(short) <= width


@pytest.mark.parametrize("make", [PlainLines, JsonLines])
def test_reader_that_went_away_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: type[Display]
) -> None:
    lab = Lab(tmp_path)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed, make() as display:
        monkeypatch.setattr("sys.stdout", closed)
        outcome = lab.run(lab.plan({"a": Toy("x")}), lab.executor(), listener=display)
    assert outcome.error is None


class _Terminal(io.StringIO):
    @override
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("terminal", "variables", "output", "expected"),
    [
        (True, {}, Output.TEXT, LiveTable),
        (True, {"CI": "true"}, Output.TEXT, PlainLines),
        (False, {}, Output.TEXT, PlainLines),
        (True, {}, Output.JSON, JsonLines),
    ],
)
def test_display_is_chosen_by_terminal_ci_and_output(
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
    variables: dict[str, str],
    output: Output,
    expected: type[Display],
) -> None:
    monkeypatch.delenv("CI", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout", _Terminal() if terminal else io.StringIO())
    assert type(choose_display(output)) is expected


def test_live_table_without_colour_when_asked(
    show: Callable[[Display], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    show(LiveTable(Console(file=out, force_terminal=True, width=100)))
    assert not re.search(r"\x1b\[[0-9;]*m", out.getvalue())


def test_live_table_leaves_all_events_above_itself(show: Callable[[Display], None]) -> None:
    out = io.StringIO()
    show(LiveTable(Console(file=out, force_terminal=True, color_system=None, width=100)))
    # Indented ones are the last three, drawn again and again.
    told = re.findall(r"^\d\d:\d\d:\d\d ([a-z]+: .*)", out.getvalue(), re.MULTILINE)
    assert told[0] == "good: started"
    assert told[-1] == "bad: failed: 65 bad data"
    assert len(told) == 10


def _running(folder: Path, *, began: float, step: int | None = None) -> StageState:
    stage = StageState("a", "k", "gang", "p", StageStatus.RUNNING)
    if step is not None:
        stage.attempts.append(AttemptState(1, "x", "", 1, 0.0, 1, ended=1.0, step=step))
    stage.attempts.append(AttemptState(2, "y", str(folder), 1, began, 1))
    return stage


def _tell(folder: Path, step: int, at: float) -> None:
    file = ProgressFile(folder / "progress.json")
    file.put(Progress(step, 1000, 2.34567, 1234.5, "tokens", at))


def test_pace_tells_steps_rate_loss_and_time_left(tmp_path: Path) -> None:
    now = time.time()
    _tell(tmp_path, 100, now)
    text = Pace().text(_running(tmp_path, began=now - 10))
    assert text == "step 100/1000  10%  1.2k tokens/s  loss 2.346  ETA 1m30s"


def test_pace_of_a_resumed_attempt_counts_from_its_checkpoint(tmp_path: Path) -> None:
    now = time.time()
    _tell(tmp_path, 600, now)
    assert Pace().text(_running(tmp_path, began=now - 10, step=500)).endswith("ETA 40.0s")


def test_pace_goes_by_its_own_first_look_once_it_has_two(tmp_path: Path) -> None:
    pace, now = Pace(), time.time()
    stage = _running(tmp_path, began=now - 1000)
    _tell(tmp_path, 500, now)
    pace.text(stage)
    _tell(tmp_path, 510, now + 10)
    assert pace.text(stage).endswith("ETA 8m10s")
    assert pace.text(StageState("a", "k", "gang", "p", StageStatus.DONE)) == ""


def test_table_says_what_a_stage_waits_for_before_that_it_starts(tmp_path: Path) -> None:
    stage = _running(tmp_path, began=time.time())
    console = Console(file=io.StringIO(), width=80)
    for stage.note, told in (("", "starting"), ("no node has a GPU free", "no node has a GPU")):
        with console.capture() as captured:
            console.print(StageTable([stage], Pace()))
        assert told in captured.get()


def test_table_counts_a_killed_attempt_up_to_its_last_sign_of_life(tmp_path: Path) -> None:
    stage = _running(tmp_path, began=1000.0)
    _tell(tmp_path, 500, 1000.0 + 65)
    stage.status = StageStatus.CANCELLED
    console = Console(file=io.StringIO(), width=80)
    with console.capture() as captured:
        console.print(StageTable([stage], Pace()))
    assert "■  a      1        1m05s" in captured.get()


def test_pace_without_progress_is_starting(tmp_path: Path) -> None:
    assert Pace().text(_running(tmp_path, began=0.0)) == "starting"


@pytest.mark.parametrize(
    ("total", "text"), [(0, "reading, 3 files"), (20, "reading, 3 files  step 20/20")]
)
def test_pace_outside_the_steps_says_what_the_stage_is_at(
    tmp_path: Path, total: int, text: str
) -> None:
    file = ProgressFile(tmp_path / "progress.json")
    file.put(Progress(total, total, None, 9.0, "tokens", 0.0, "reading, 3 files"))
    assert Pace().text(_running(tmp_path, began=0.0)) == text


def test_numbers_are_short() -> None:
    assert [size(n) for n in (0, 1023, 1536, 5 << 30)] == ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]
    assert [duration(n) for n in (0.04, 59.94, 60, 3599.6, 7200, 49 * 3600)] == [
        "0.0s",
        "59.9s",
        "1m00s",
        "1h00m",
        "2h00m",
        "2d01h",
    ]
    assert [rate(n, "samples") for n in (0.5, 1500, 2e6)] == [
        "0.5 samples/s",
        "1.5k samples/s",
        "2.0M samples/s",
    ]
