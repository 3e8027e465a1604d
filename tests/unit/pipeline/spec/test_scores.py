import json
import math
from pathlib import Path

import pytest

from pipeline.errors import DataError
from pipeline.spec.scores import read_scores, write_scores


def test_scores_are_read_as_written(tmp_path: Path) -> None:
    write_scores(tmp_path, {"b": 0.1, "a": 12})
    assert read_scores(tmp_path) == {"a": 12.0, "b": 0.1}
    assert list(json.loads((tmp_path / "scores.json").read_text())) == ["a", "b"]


def test_scores_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_scores(tmp_path, {"a": math.nan})
    assert list(tmp_path.iterdir()) == []


def test_scores_of_other_writers_may_hold_any_number(tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text('{"a": NaN, "b": 1' + "0" * 400 + "}")
    scores = read_scores(tmp_path)
    assert math.isnan(scores["a"])
    assert scores["b"] == math.inf


@pytest.mark.parametrize(
    "content", ["[]", '{"a": "b"}', '{"a": true}', '{"a": null}', "{", "[" * 100_000]
)
def test_damaged_scores_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "scores.json").write_text(content)
    with pytest.raises(DataError, match=r"scores\.json: "):
        read_scores(tmp_path)


def test_missing_scores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"scores\.json: not readable"):
        read_scores(tmp_path)
