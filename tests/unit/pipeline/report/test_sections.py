from pathlib import Path

import pytest

from pipeline.cache.manifest import FileEntry, Manifest
from pipeline.report.gather import Artifact, Reuse
from pipeline.report.notes import Note, notes_of
from pipeline.report.sections import parts_of
from pipeline.runner.events import StageFailed
from pipeline.runner.state import RunStatus, StageStatus
from pipeline.spec.ports import PortKind
from tests.report import attempt, record, stage, state, view

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u2028'\"&"


def _html(*args: object, **kwargs: object) -> dict[str, str]:
    return {part.name: str(part.html) for part in parts_of(*args, **kwargs)}  # type: ignore[arg-type]


def test_every_text_of_a_run_is_escaped_everywhere() -> None:
    hostile = stage(HOSTILE, [HOSTILE], attempts=[attempt(0, 1, exit_class="fatal")])
    hostile.reasons, hostile.note, hostile.kind = (HOSTILE,), HOSTILE, HOSTILE
    about = record({HOSTILE: {f"with.{HOSTILE}": (HOSTILE, HOSTILE)}})
    files = {"x": FileEntry(size=1, sha256="0" * 64)}
    run = view(state(hostile, stage("ok", attempts=[attempt(0, 2)])), about=about)
    run.state.cause = HOSTILE
    manifest = Manifest(kind=PortKind.FOLDER, files=files)
    run = type(run)(
        **{
            **vars(run),
            "artifacts": [Artifact(HOSTILE, HOSTILE, HOSTILE, manifest)],
            "scores": {HOSTILE: {HOSTILE: 1.0}},
        }
    )
    parts = _html([run], [], [Note("failure", HOSTILE, HOSTILE, HOSTILE)])
    for name, html in parts.items():
        assert "<script" not in html, name
        assert "<img" not in html, name
        assert "alert(1)>" not in html, name
    for name in ("summary", "notes", "timeline", "results", "stages", "settings", "artifacts"):
        assert "&lt;/script&gt;" in parts[name], name


def test_settings_show_what_was_set_first_and_where() -> None:
    cells = {
        f"cell[k={k}]": {
            "with.steps": ("10", "file /a/b/dag.yaml:7"),
            "with.rate": (str(k), "file /a/b/dag.yaml:8"),
            "with.other": ("null", "default"),
        }
        for k in (1, 2)
    }
    html = _html([view(state(stage("cell[k=1]")), about=record(cells))], [], [])["settings"]
    assert "2 cells, 3 set, 1 by default" in html
    assert "with.rate [k=1]<td><code>1</code><td>file dag.yaml:8" in html
    assert html.index("with.rate") < html.index("with.other")


def test_reuse_says_which_run_made_it_and_what_that_saved() -> None:
    kept = stage("kept", status=StageStatus.REUSED)
    kept.reasons = ("hit: plan key",)
    run = view(state(kept))
    run = type(run)(**{**vars(run), "reused": {"kept": Reuse("run-1", "then", 0.0, 90.0)}})
    parts = _html([run], [], [])
    assert "hit: plan key" in parts["stages"]
    assert "made by then of run run-1, which took 1m30s" in parts["stages"]
    assert "1m30s" in parts["summary"]


def test_key_scores_are_those_of_the_last_stages() -> None:
    run = view(
        state(stage("pretrain"), stage("tune", ["pretrain"]), stage("check", ["tune"])),
        scores={"pretrain": {"loss": 2.5}, "tune": {"accuracy": 0.875}},
    )
    summary = _html([run], [], [])["summary"]
    assert "0.875" in summary
    assert "2.5" not in summary
    assert "2.5" in _html([run], [], [])["results"]


def test_key_scores_of_cells_are_a_range() -> None:
    cells = [f"cell[k={k}]" for k in (1, 2, 3)]
    run = view(
        state(*map(stage, cells)),
        scores={cell: {"f": 0.5 + n / 10} for n, cell in enumerate(cells)},
    )
    summary = _html([run], [], [])["summary"]
    assert '0.5<span class="to"> to </span>0.7' in summary
    assert "cell, 3 cells" in summary


def test_compared_runs_stand_side_by_side() -> None:
    ours = view(
        state(stage("a")),
        about=record({"a": {"with.x": ("1", "default")}}),
        scores={"a": {"f": 0.5}},
    )
    other = view(
        state(stage("a")),
        about=record({"a": {"with.x": ("2", "--set")}}),
        scores={"a": {"f": 0.75}},
    )
    html = _html([ours, other], [], [])["results"]
    assert html.index("0.5") < html.index("0.75")
    assert "a.with.x" in html
    assert "torch" not in html  # the same in both


def test_notes_tell_failures_first_one_line_each(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "rank-0.log"
    log.parent.mkdir()
    warned = "2026-01-02 03:04:05,678 WARNING pipeline.x: odd thing\n"
    log.write_text(f"{warned}{warned}WARNING printed by a command\n2026 INFO no\n")
    flaky = stage(
        "flaky",
        attempts=[
            attempt(0, 1, exit_class="counted"),
            attempt(2, 3, number=2, folder=str(tmp_path)),
        ],
    )
    flaky.attempts[0].cause, flaky.attempts[0].rank, flaky.attempts[0].step = "SIGKILL", 1, 40
    bad = stage("bad", status=StageStatus.FAILED, attempts=[attempt(0, 1, exit_class="fatal")])
    bad.failure = StageFailed(
        stage="bad", attempt=1, rank=0, exit_code=65, exit_name="65 bad data", cause="no rows", log="/l",
        advice="Mend it.",
    )  # fmt: skip
    notes = notes_of(state(flaky, bad, status=RunStatus.KILLED), record())
    assert [(note.level, note.where, note.text) for note in notes] == [
        ("failure", "run", "its runner was killed"),
        ("failure", "bad", "rank 0: no rows (exit 65 bad data)"),
        ("warning", "flaky", "attempt 1 ended: rank 1: SIGKILL; step 40 was saved"),
        ("warning", "flaky", "pipeline.x: odd thing (2 times)"),
    ]


@pytest.mark.parametrize("status", list(RunStatus))
def test_page_of_a_run_that_did_nothing_is_whole(status: RunStatus) -> None:
    parts = _html([view(state(status=status))], [], [])
    assert "No attempt was made" in parts["timeline"]
    assert str(status) in parts["summary"]
