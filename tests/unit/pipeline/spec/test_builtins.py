"""Configuration and ports of the built-in kinds."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.spec.builtins import (
    CHECK,
    COMMAND,
    IMPORT,
    Bound,
    CheckConfig,
    CommandConfig,
    ImportConfig,
    fill,
)
from pipeline.spec.ports import CHECKPOINT, FOLDER, SHARDS, Port, PortKind, parse_port

VALUES = {
    "inputs.a": ["/in/a"],
    "inputs.many": ["/in/0", "/in/1"],
    "outputs.o": ["/out/o"],
    "sources.s": ["/src/s"],
    "scratch": ["/scratch"],
    "seed": ["17"],
}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{inputs.a}", ["/in/a"]),
        ("--out={outputs.o}/x", ["--out=/out/o/x"]),
        ("{inputs.many}", ["/in/0", "/in/1"]),
        ("{seed}{scratch}", ["17/scratch"]),
        ("{sources.s}", ["/src/s"]),
        ('{"json": {"seed": 1}}', ['{"json": {"seed": 1}}']),
        ("{print $1}", ["{print $1}"]),
        ("{other.a}", ["{other.a}"]),
    ],
)
def test_fill_replaces_placeholders_and_nothing_else(text: str, filled: list[str]) -> None:
    assert fill(text, VALUES) == filled


def test_command_ports_are_the_declared_ones() -> None:
    config = CommandConfig(
        argv=("x",), inputs={"a": "shards(tokens)", "s": "scores[]"}, outputs={"o": "folder"}
    )
    inputs, outputs = COMMAND.ports(config)
    assert inputs == {"a": SHARDS("tokens"), "s": Port(PortKind.SCORES, many=True)}
    assert outputs == {"o": FOLDER}


def test_command_arguments_may_be_numbers() -> None:
    config = CommandConfig.model_validate({"argv": ["x", 3, 1e-4, True], "env": {"N": 2}})
    assert config.argv == ("x", "3", "0.0001", "true")
    assert config.env == {"N": "2"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"argv": []}, "at least 1 item"),
        ({"argv": ["{outputs.o}"]}, "{outputs.o} is not declared; outputs of this stage: none"),
        (
            {"argv": ["{input.a}"], "inputs": {"a": "folder"}},
            "{input.a} names nothing; write {inputs.a}",
        ),
        ({"argv": ["x"], "env": {"A": "{sources.s}"}}, "{sources.s} is not declared"),
        (
            {"argv": ["x={inputs.a}"], "inputs": {"a": "scores[]"}},
            "{inputs.a} is a list; make it an argument of its own, not 'x={inputs.a}'",
        ),
        (
            {"argv": ["x={sources.s}"], "sources": {"s": "*.txt"}},
            "{sources.s} is a list; make it an argument of its own",
        ),
        (
            {"argv": ["x"], "env": {"A": "{inputs.a}"}, "inputs": {"a": "scores[]"}},
            "{inputs.a} is a list; make it an argument of its own",
        ),
        ({"argv": ["x"], "outputs": {"o": "scores[]"}}, "an output is one artifact; write scores"),
        ({"argv": ["x"], "outputs": {"a-b": "folder"}}, "should match pattern"),
    ],
)
def test_command_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        CommandConfig.model_validate(fields)


def test_import_port_is_called_as_its_kind() -> None:
    config = ImportConfig(source="x", kind="checkpoint(xlnet)")
    assert IMPORT.ports(config) == ({}, {"checkpoint": CHECKPOINT("xlnet")})


def test_check_takes_any_score() -> None:
    config = CheckConfig.model_validate({"perplexity": {"max": 120}, "f1.macro": {"min": 0.5}})
    assert config.bounds == {"perplexity": Bound(max=120), "f1.macro": Bound(min=0.5)}
    assert CheckConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "names no score; write for example {perplexity: {max: 120}}"),
        ({"loss": {}}, "gives neither min nor max"),
        ({"loss": {"min": 2, "max": 1}}, "min=2.0 is above max=1.0: nothing can pass"),
        ({"loss": {"max": float("inf")}}, "finite number"),
        ({"loss": 3}, "valid dictionary"),
    ],
)
def test_check_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        CheckConfig.model_validate(fields)


def test_check_takes_several_artifacts_and_gives_none() -> None:
    inputs, outputs = CHECK.ports(CheckConfig.model_validate({"loss": {"max": 1}}))
    assert inputs == {"scores": Port(PortKind.SCORES, many=True)}
    assert outputs == {}


@pytest.mark.parametrize(
    "port", [FOLDER, SHARDS("images"), SHARDS(), CHECKPOINT("xlnet"), Port(PortKind.TABLE)]
)
def test_parse_port_reads_what_a_port_prints(port: Port) -> None:
    assert parse_port(str(port)) == port


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("folders", "unknown kind of artifact 'folders'. Did you mean folder? Kinds: "),
        ("shards(token)", "unknown schema of shards 'token'. Did you mean tokens? Schemas: "),
        ("folder(x)", "folder has no schema; write folder"),
        ("Shards(tokens)", "'Shards(tokens)' is not a kind of artifact"),
        ("", "'' is not a kind of artifact"),
    ],
)
def test_parse_port_says_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_port(text)
