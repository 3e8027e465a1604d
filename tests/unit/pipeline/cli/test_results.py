"""What a finished run prints of its results."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.cache import Artifacts
from pipeline.cli.results import print_results
from pipeline.runner.state import RunState, RunStatus, StageState, StageStatus
from pipeline.spec.ports import SCORES, TABLE, Port
from pipeline.storage import Store


@pytest.fixture
def printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> "Printed":
    monkeypatch.chdir(tmp_path)
    return Printed(Store(tmp_path / "store"), capsys)


class Printed:
    """Commits files as outputs of one stage each, and says what is printed of them."""

    def __init__(self, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
        self._store = store
        self._capsys = capsys
        self.state = RunState(
            "run", "dag", RunStatus.SUCCEEDED, started=1.0, session_started=1.0, ended=3.0
        )

    def add(self, name: str, port: Port, files: Mapping[str, str], *upstream: str) -> None:
        artifacts = Artifacts(self._store)
        folder = artifacts.staging(name, "attempt", "out")
        for file, text in files.items():
            (folder / file).write_text(text)
        artifacts.write_part(name, "attempt", {"out": port})
        digests = artifacts.commit(name, "attempt", {"out": port}, lease_token="")
        stage = StageState(name, "k", "process", name, StageStatus.DONE, upstream=upstream)
        stage.artifacts = digests
        self.state.stages[name] = stage

    def text(self) -> str:
        print_results(self.state, self._store)
        return self._capsys.readouterr().out


def _table(columns: list[str], rows: list[list[object]]) -> dict[str, str]:
    return {"table.json": json.dumps({"columns": columns, "rows": rows})}


def test_table_has_aligned_columns_and_short_numbers(printed: Printed) -> None:
    rows: list[list[object]] = [["pretrained", 0.123456, 7], ["none", 1.0, 12345]]
    printed.add("compare", TABLE, _table(["from", "accuracy", "n"], rows))
    assert printed.text().startswith(
        "\ncompare.out\n"
        "  from        accuracy      n\n"
        "  pretrained    0.1235      7\n"
        "  none               1  12345\n"
    )


def test_long_table_says_how_much_is_left_out(printed: Printed) -> None:
    printed.add("compare", TABLE, _table(["n"], [[n] for n in range(65)]))
    assert "  ... 5 more rows in " in printed.text()


def test_scores_are_printed_unless_a_later_stage_went_on_from_them(printed: Printed) -> None:
    printed.add("evaluate", SCORES, {"scores.json": '{"accuracy": 0.5}'})
    assert "evaluate.out: accuracy 0.5" in printed.text()
    printed.add("compare", TABLE, _table(["a"], []), "evaluate")
    assert "evaluate.out" not in printed.text()


@pytest.mark.parametrize(
    "files", [{"other": ""}, {"table.json": "{"}, {"table.json": "[1]"}, _table(["a"], [[1, 2]])]
)
def test_table_in_another_form_is_named_and_the_rest_printed(
    printed: Printed, files: Mapping[str, str]
) -> None:
    printed.add("strange", TABLE, files)
    text = printed.text()
    assert "strange.out: cannot be shown: " in text
    assert "run run: succeeded: 1 done in 2.0s" in text
