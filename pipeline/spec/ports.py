"""Typed ports: what a stage takes in and hands on."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field
from typing_extensions import override

from pipeline.spec.suggest import did_you_mean


class PortKind(StrEnum):
    """The kinds of artifact; the value is what a DAG file and a manifest call it."""

    SHARDS = "shards"
    TOKENIZER = "tokenizer"
    CHECKPOINT = "checkpoint"
    PREDICTIONS = "predictions"
    SCORES = "scores"
    TABLE = "table"
    ARCHITECTURE = "architecture"
    FOLDER = "folder"


SHARD_SCHEMAS = ("tokens", "pairs", "classified", "images", "boxes", "masks", "audio")


@dataclass(frozen=True)
class Port:
    """One input or output of a stage kind.

    `schema` narrows the kind: the sample layout of SHARDS, the model family of CHECKPOINT; None
    accepts every schema. `many` takes a list of artifacts, `optional` may be left unconnected.
    """

    kind: PortKind
    schema: str | None = None
    many: bool = False
    optional: bool = False

    def accepts(self, offered: "Port") -> bool:
        """Whether an output of type `offered` may be connected to this input."""
        return self.kind == offered.kind and self.schema in (None, offered.schema)

    @override
    def __str__(self) -> str:
        """`shards(tokens)`, `scores`, `checkpoint(xlnet)`."""
        return f"{self.kind}({self.schema})" if self.schema else str(self.kind)


def SHARDS(schema: str | None = None, *, many: bool = False, optional: bool = False) -> Port:  # noqa: N802 - reads as a type in a StageSpec
    """Sample shards of one of SHARD_SCHEMAS, readable by `pipeline.shards` and by webdataset."""
    return Port(PortKind.SHARDS, schema, many=many, optional=optional)


def CHECKPOINT(family: str | None = None, *, many: bool = False, optional: bool = False) -> Port:  # noqa: N802 - reads as a type in a StageSpec
    """Model weights (safetensors) with the config that rebuilds the model."""
    return Port(PortKind.CHECKPOINT, family, many=many, optional=optional)


TOKENIZER = Port(PortKind.TOKENIZER)
PREDICTIONS = Port(PortKind.PREDICTIONS)
SCORES = Port(PortKind.SCORES)
TABLE = Port(PortKind.TABLE)
ARCHITECTURE = Port(PortKind.ARCHITECTURE)
FOLDER = Port(PortKind.FOLDER)


def parse_port(text: str) -> Port:
    """The port a DAG file spells: `folder`, `shards(tokens)`, `checkpoint(xlnet)`, `scores[]`.

    `[]` at the end makes a port that takes a list of artifacts.

    Raises:
        ValueError: the text names no port; the message says what to write.
    """
    match = re.fullmatch(r"([a-z]+)(?:\(([A-Za-z0-9_.-]+)\))?(\[\])?", text)
    kinds = [str(kind) for kind in PortKind]
    if match is None:
        msg = f"{text!r} is not a kind of artifact; write it as shards(tokens), folder or scores[]"
        raise ValueError(msg)
    kind, schema, many = match.groups()
    if kind not in kinds:
        msg = f"unknown kind of artifact {kind!r}. {did_you_mean(kind, kinds, 'Kinds')}"
        raise ValueError(msg)
    if schema is not None and kind not in (PortKind.SHARDS, PortKind.CHECKPOINT):
        msg = f"{kind} has no schema; write {kind}"
        raise ValueError(msg)
    if kind == PortKind.SHARDS and schema is not None and schema not in SHARD_SCHEMAS:
        hint = did_you_mean(schema, SHARD_SCHEMAS, "Schemas")
        msg = f"unknown schema of shards {schema!r}. {hint}"
        raise ValueError(msg)
    return Port(PortKind(kind), schema, many=many is not None)


def _check_input(text: str) -> str:
    parse_port(text)
    return text


def _check_output(text: str) -> str:
    port = parse_port(text)
    if port.many:
        msg = f"an output is one artifact; write {port}"
        raise ValueError(msg)
    if port.schema is None and port.kind in (PortKind.SHARDS, PortKind.CHECKPOINT):
        example = "tokens" if port.kind is PortKind.SHARDS else "xlnet"
        msg = f"say of which schema this output is, e.g. {port.kind}({example})"
        raise ValueError(msg)
    return text


PortName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
InputText = Annotated[str, AfterValidator(_check_input)]
"""A config field that spells an input port, see `parse_port`."""
OutputText = Annotated[str, AfterValidator(_check_output)]
"""A config field that spells an output port: one artifact of one schema."""


def parse_ports(texts: Mapping[str, str]) -> dict[str, Port]:
    """Port name -> Port, of texts that were checked already."""
    return {name: parse_port(text) for name, text in texts.items()}
