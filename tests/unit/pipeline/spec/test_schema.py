"""The JSON Schema for editors, through a validator that editors could use."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has no stubs

from pipeline.spec.builtins import CHECK, COMMAND
from pipeline.spec.schema import dag_schema
from pipeline.spec.yaml_reader import read_yaml
from tests.toys import CUT, TRAIN

SCHEMA = Draft202012Validator(dag_schema([CUT, TRAIN, COMMAND, CHECK]))


GOOD = """\
name: t
seed: "${params.seed}"
params: {seed: 3, steps: [1]}
stages:
  cut: {uses: toy.cut, resources: {workers: "${params.w}", nodes: {min: 1, max: 2}}}
  a:
    uses: toy.train
    with: {steps: "${params.steps}", dropout: 0.5, model: {preset: base}, names: [x]}
    inputs: {shards: cut.shards, checkpoint: ["b[seed=1].checkpoint"]}
    matrix: {seed: [1, 2]}
    seed: "${matrix.seed}"
  own: {uses: "./my_stage.py:SPEC", with: {anything: [1]}}
  checked: {uses: check, with: {perplexity: {max: 120}}}
  run: {uses: command, with: {argv: [python, 3], outputs: {o: folder}}}
profiles:
  laptop: {stages.a.resources: {nodes: 1}, params.steps: 3, store: x}
"""


def _parsed(text: str) -> Any:
    return read_yaml(text, layer="file", file="f")[0].plain()


def test_dag_schema_accepts_a_good_file() -> None:
    Draft202012Validator.check_schema(SCHEMA.schema)
    assert [error.message for error in SCHEMA.iter_errors(_parsed(GOOD))] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: t\n", ""),
        ("seed: 3", "seed: 3}\nsed: {x: 1"),
        ("uses: toy.cut", "uses: toy.cat"),
        ("dropout: 0.5", "dropuot: 0.5"),
        ("dropout: 0.5", "dropout: much"),
        ("preset: base", "preset: huge"),
        ("max: 120", "maximum: 120"),
        ("matrix: {seed: [1, 2]}", "matrix: {seed: []}"),
        ("store: x", "strore: x"),
        ("max: 2}", "mx: 2}"),
        ("outputs: {o: folder}", "output: {o: folder}"),
    ],
)
def test_dag_schema_refuses(old: str, new: str) -> None:
    assert old in GOOD
    assert not SCHEMA.is_valid(_parsed(GOOD.replace(old, new, 1)))


def test_dag_schema_knows_every_installed_kind() -> None:
    kinds = dag_schema()["$defs"]["StageBlock"]["properties"]["uses"]["anyOf"][0]["enum"]
    assert {"check", "command", "import", "data_prep.text"} <= set(kinds)
