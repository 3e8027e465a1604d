"""The `driver` launch form: a pure function that says which cells to run next. A study, a search.

Its entry point is `next_cells(config, history) -> list[Cell] | Done`, free of torch, clock and
randomness (a seed is part of its configuration). The runner calls it with the results of the first
n cells for n = 0, 1, 2, ... in the order the cells were proposed, whatever the order they finished
in: the same results give the same cells on every machine, at every concurrency, after every kill.
`config` is the driver's `with:` block; no cells means that it waits for more results.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from pipeline.spec.config import StageConfig


class DriverConfig(StageConfig):
    """Base of every driver's configuration."""

    max_cells: int = Field(gt=0, description="cells at most; what the plan announces")


@dataclass(frozen=True)
class GivenInput:
    """What is connected to an input port of the driver itself."""

    port: str


@dataclass(frozen=True)
class CellOutput:
    """An output port of an earlier cell of the same driver."""

    cell: str
    port: str


@dataclass(frozen=True)
class Written:
    """A small artifact the driver writes itself: file name -> content."""

    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Cell:
    """A stage that a driver asks for; resources, engine and retries are those of the driver.

    Attributes:
        name: unique within the driver, for people: "lr=0.1,round=2".
        kind: as `uses:` says it.
        config: the `with:` block.
        inputs: port -> where each artifact comes from.
        seed: None is the driver's own.
    """

    name: str
    kind: str
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, tuple[GivenInput | CellOutput, ...]] = field(default_factory=dict)
    seed: int | None = None


@dataclass(frozen=True)
class CellResult:
    """How a cell ended.

    Attributes:
        artifacts: output port -> artifact digest; empty when it failed.
        scores: what stands in its SCORES outputs.
        failure: "" or the cause; only failures that a second try would repeat (bad data, diverged)
            get here, any other ends the driver.
    """

    cell: Cell
    artifacts: Mapping[str, str]
    scores: Mapping[str, float]
    failure: str = ""


@dataclass(frozen=True)
class Done:
    """The driver is finished; gives every output port of its stage."""

    outputs: Mapping[str, CellOutput | Written]
