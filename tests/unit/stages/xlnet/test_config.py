"""Configuration: presets, and what is refused with which words."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stages.xlnet.config import ClassifyConfig, ModelConfig, PretrainConfig, RowsConfig
from stages.xlnet.stage import CLASSIFY
from tests.builders import problems

TRAIN: dict[str, Any] = {
    "steps": 1,
    "global_batch_size": 4,
    "optimizer": {"learning_rate": 1e-3},
}


def test_preset_fills_what_is_left_out() -> None:
    config = ModelConfig.model_validate({"preset": "large", "num_layers": 2})
    assert (config.num_layers, config.d_model, config.num_heads) == (2, 1024, 16)


def test_default_shape_is_base() -> None:
    assert ModelConfig() == ModelConfig(preset="base")


def test_unknown_preset_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"preset[\s\S]*'large', 'base', 'small' or 'tiny'"):
        ModelConfig.model_validate({"preset": "huge"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seq_len": 260}, "leaves no room for two segments"),
        ({"perm_size": 100}, "perm_size=100 must divide reuse_len=256"),
        ({"perm_size": 512}, "perm_size=512 must divide"),
        ({"num_predict": 600}, "num_predict=600 does not fit"),
        ({"spans": {"alpha": 1, "beta": 2}}, "a span would have no context"),
    ],
)
def test_rows_that_cannot_be_built_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RowsConfig.model_validate(values)


def test_targets_of_the_released_setting_are_43_and_42() -> None:
    assert RowsConfig().num_predict_halves == (43, 42)


def test_odd_batch_of_bidirectional_rows_is_refused() -> None:
    with pytest.raises(ValidationError, match="must be even"):
        PretrainConfig.model_validate({"train": TRAIN | {"global_batch_size": 3}})


def test_one_direction_takes_an_odd_batch() -> None:
    config = PretrainConfig.model_validate(
        {"train": TRAIN | {"global_batch_size": 3}, "rows": {"bidirectional": False}}
    )
    assert config.global_batch_sizes() == {"train.global_batch_size": 3}


def test_classifier_without_a_shape_asks_for_a_checkpoint() -> None:
    inputs, _ = CLASSIFY.ports(ClassifyConfig.model_validate({"train": TRAIN}))
    assert str(inputs["checkpoint"]) == "checkpoint(xlnet)"
    assert not inputs["checkpoint"].optional


def test_classifier_with_a_shape_takes_no_checkpoint() -> None:
    config = ClassifyConfig.model_validate({"train": TRAIN, "model": {"preset": "tiny"}})
    assert "checkpoint" not in CLASSIFY.ports(config)[0]


@pytest.mark.parametrize("module", ["stages.xlnet.stage", "stages.common.stage"])
def test_stage_kinds_import_without_torch(module: str) -> None:
    code = f"import sys; sys.modules['torch'] = None; import {module}"
    subprocess.run([sys.executable, "-c", code], check=True)


_DAG = """\
name: t
stages:
  text: {uses: data_prep.synthetic, with: {kind: text, documents: 4}}
  pieces: {uses: data_prep.tokenizer, inputs: {text: text.folder}, with: {vocab_size: 300}}
  shards: {uses: data_prep.text, inputs: {text: text.folder, tokenizer: pieces.tokenizer}}
  a:
    uses: xlnet.pretrain
    inputs: {shards: shards.shards, tokenizer: pieces.tokenizer}
    with:
      rows: {bidirectional: BOTH}
      train: {steps: 1, global_batch_size: SIZE, optimizer: {learning_rate: 1.0e-3}}
    resources: {processes_per_node: 2}
    deepspeed: {micro_batch_size: MICRO}
"""


def _pretrain_dag(size: int, micro: str, both: str = "true") -> str:
    return _DAG.replace("SIZE", str(size)).replace("MICRO", micro).replace("BOTH", both)


@pytest.mark.parametrize(
    ("size", "micro", "message"),
    [
        (6, "null", "6 examples a step do not divide by 2 ranks x 2 in a forward pass. Sizes that"),
        (
            12,
            "3",
            "deepspeed.micro_batch_size: this stage needs a multiple of 2 examples a forward",
        ),
    ],
)
def test_odd_rows_in_a_forward_pass_are_refused_when_planning(
    tmp_path: Path, size: int, micro: str, message: str
) -> None:
    (problem,) = problems(tmp_path, _pretrain_dag(size, micro))
    assert message in problem


@pytest.mark.parametrize(
    ("size", "micro", "both"), [(8, "null", "true"), (8, "2", "true"), (6, "3", "false")]
)
def test_rows_that_split_into_two_directions_are_planned(
    tmp_path: Path, size: int, micro: str, both: str
) -> None:
    assert problems(tmp_path, _pretrain_dag(size, micro, both)) == []
