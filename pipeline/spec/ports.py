"""Typed ports: what a stage takes in and hands on."""

from dataclasses import dataclass
from enum import StrEnum

from typing_extensions import override


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
