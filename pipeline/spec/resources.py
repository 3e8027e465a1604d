"""What a stage needs to run, and how its numbers are computed; placement never enters a key."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_STRICT = ConfigDict(frozen=True, extra="forbid")
_SIZE = r"^([0-9]+(?:\.[0-9]+)?)\s*([KMGT]i?)?B?$"
_UNITS = {
    "": 1,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}


def num_bytes(size: str) -> int:
    """Bytes of a `Size`: 4GiB, 500M, 1.5 TB, 1024.

    Raises:
        ValueError: it is none.
    """
    match = re.fullmatch(_SIZE, size)
    if match is None:
        msg = f"not a size: {size!r}; write e.g. 4GiB"
        raise ValueError(msg)
    return int(float(match[1]) * _UNITS[match[2] or ""])


def _readable(size: str) -> str:
    num_bytes(size)
    return size


Size = Annotated[str, AfterValidator(_readable), Field(json_schema_extra={"pattern": _SIZE})]
"""Bytes as a person writes them; `num_bytes` reads it."""


class NodeRange(BaseModel):
    """An elastic gang: starts with as many nodes as there are, within these bounds."""

    model_config = _STRICT

    min: int = Field(gt=0)
    max: int = Field(gt=0)

    @model_validator(mode="after")
    def _min_is_not_above_max(self) -> Self:
        if self.min > self.max:
            msg = f"min={self.min} is above max={self.max}"
            raise ValueError(msg)
        return self


class Resources(BaseModel):
    """The `resources:` block of a stage."""

    model_config = _STRICT

    nodes: Annotated[int, Field(gt=0)] | NodeRange = Field(
        1, description="machines of a gang; on one machine, agents"
    )
    processes_per_node: int | None = Field(
        None, gt=0, description="ranks a node; default: gpus_per_node, or 1 without GPUs"
    )
    gpus_per_node: int = Field(0, ge=0)
    workers: int = Field(1, gt=0, description="independent workers of a `workers` stage")
    cpus_per_process: int = Field(
        1, gt=0, description="threads a process computes with; fixed, for bitwise equal results"
    )
    memory: Size | None = Field(None, description="a process's memory, e.g. 4GiB")
    shm: Size | None = Field(None, description="a pod's /dev/shm, e.g. 2GiB")
    disk: Size | None = Field(None, description="scratch space a node, e.g. 50GiB")

    @property
    def max_nodes(self) -> int:
        """Nodes at most."""
        return self.nodes if isinstance(self.nodes, int) else self.nodes.max

    @property
    def min_nodes(self) -> int:
        """Nodes at least."""
        return self.nodes if isinstance(self.nodes, int) else self.nodes.min

    @property
    def ranks_per_node(self) -> int:
        """Processes on each node of a gang."""
        return self.processes_per_node or self.gpus_per_node or 1


class EngineConfig(BaseModel):
    """The `deepspeed:` block of a training stage. Only `precision` changes what is computed."""

    model_config = _STRICT

    engine: Literal["deepspeed", "plain"] | None = Field(
        None, description="default: plain for one process, deepspeed for more"
    )
    zero_stage: Literal[0, 1, 2, 3] = 0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    micro_batch_size: int | None = Field(
        None, gt=0, description="examples a rank's forward pass takes; default: no accumulation"
    )


class Retry(BaseModel):
    """The `retry:` block of a stage: counted attempts, and the pause before the next one."""

    model_config = _STRICT

    max_attempts: int = Field(
        3,
        gt=0,
        description="attempts that were killed or failed; preemptions are free",
    )
    errors: bool = Field(
        default=True,
        description="also after an error of the stage itself, not only when it was killed. "
        "Without `retry:` not for a stage of one process, such as a command",
    )
    backoff_seconds: float = Field(1.0, ge=0, description="pause after the first; doubles after")
