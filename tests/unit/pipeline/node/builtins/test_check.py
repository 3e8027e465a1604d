"""The `check` kind compares scores with bounds."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import CheckFailed, DataError
from pipeline.node.builtins.check import run
from pipeline.spec.builtins import CheckConfig
from tests.contexts import stage_context


def _check(tmp_path: Path, config: dict[str, Any], *scores: dict[str, float] | str) -> None:
    folders = []
    for number, found in enumerate(scores):
        folder = tmp_path / f"scores-{number}"
        folder.mkdir()
        text = found if isinstance(found, str) else json.dumps(found)
        (folder / "scores.json").write_text(text)
        folders.append(folder)
    run(stage_context(CheckConfig.model_validate(config), tmp_path, inputs={"scores": folders}))


@pytest.mark.parametrize("value", [100.0, 120.0, 110.5])
def test_check_with_a_score_in_bounds_passes(tmp_path: Path, value: float) -> None:
    _check(tmp_path, {"perplexity": {"min": 100, "max": 120}}, {"perplexity": value})


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"perplexity": 120.5}, "perplexity of 1 is 120.5, wanted perplexity <= 120"),
        ({"perplexity": float("nan")}, "perplexity of 1 is nan"),
        ({"accuracy": 1.0}, "perplexity of 1 is absent"),
    ],
)
def test_check_with_a_score_out_of_bounds_fails(
    tmp_path: Path, scores: dict[str, float], message: str
) -> None:
    with pytest.raises(CheckFailed, match=message):
        _check(tmp_path, {"perplexity": {"max": 120}}, scores)


def test_check_looks_at_every_artifact_and_names_each_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"accuracy": {"min": 0.5}, "loss": {"max": 1}}
    with caplog.at_level(logging.INFO), pytest.raises(CheckFailed) as caught:
        _check(tmp_path, config, {"accuracy": 0.9, "loss": 2.0}, {"accuracy": 0.25, "loss": 0.5})
    assert str(caught.value) == (
        "loss of 1 is 2, wanted loss <= 1; accuracy of 2 is 0.25, wanted 0.5 <= accuracy"
    )
    assert caplog.text.count("ok") == 2
    assert caplog.text.count("FAILS") == 2


@pytest.mark.parametrize("text", ["[1]", "{", '{"perplexity": "x"}'])
def test_check_of_a_damaged_score_file_names_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"scores\.json: (is not a mapping|not readable)"):
        _check(tmp_path, {"perplexity": {"max": 120}}, text)
