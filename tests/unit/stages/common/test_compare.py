"""The comparison table: groups, baselines, what is refused."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.errors import ConfigError
from pipeline.spec.scores import write_scores
from stages.common.compare import as_markdown, comparison, run
from stages.common.config import CompareConfig
from tests.contexts import stage_context


def _runs(*values: float) -> list[dict[str, float]]:
    return [{"accuracy": value, "majority": 0.5} for value in values]


def test_names_that_divide_the_runs_stand_for_neighbours() -> None:
    config = CompareConfig(names=("pretrained", "scratch"))
    rows = comparison(config, _runs(1.0, 0.75, 0.5, 0.0, 0.5, 0.25))
    assert rows[0].cells == ("pretrained", 3, 0.75, 0.5, 1.0)
    assert rows[1].cells == ("scratch", 3, 0.25, 0.0, 0.5)


def test_baseline_shows_another_score_of_the_runs() -> None:
    config = CompareConfig(names=("one",), baselines={"largest class": "majority"})
    assert comparison(config, _runs(0.9))[-1].cells == ("largest class", 1, 0.5, 0.5, 0.5)


def test_names_that_do_not_divide_the_runs_are_refused() -> None:
    with pytest.raises(ConfigError, match="2 names for 3 scores"):
        comparison(CompareConfig(names=("a", "b")), _runs(0.1, 0.2, 0.3))


def test_missing_score_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="no score 'f1'; there are: accuracy, majority"):
        comparison(CompareConfig(names=("a",), score="f1"), _runs(0.1))


def test_two_rows_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="'a' names two rows"):
        CompareConfig(names=("a", "b"), baselines={"a": "majority"})


def test_markdown_is_aligned_and_escapes_the_bar() -> None:
    text = as_markdown(("run", "n"), [("a|b", 1), ("c", 0.25)])
    assert text == "| run  |      n |\n| ---- | -----: |\n| a\\|b |      1 |\n| c    | 0.2500 |\n"


def test_run_writes_the_table_in_both_forms(tmp_path: Path) -> None:
    folders: list[Path] = []
    for value in (0.75, 0.5):
        folders.append(tmp_path / str(value))
        write_scores(folders[-1], {"accuracy": value})
    config = CompareConfig(names=("pretrained", "scratch"))
    run(stage_context(config, tmp_path, inputs={"scores": folders}, output="table"))
    table = json.loads((tmp_path / "table/table.json").read_text())
    assert table["rows"][0] == ["pretrained", 1, 0.75, 0.75, 0.75]
    assert table["columns"][2] == "accuracy (mean)"
    assert "| scratch    |" in (tmp_path / "table/table.md").read_text()
