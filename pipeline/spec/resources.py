"""What a stage needs to run, and how its numbers are computed; placement never enters a key."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_STRICT = ConfigDict(frozen=True, extra="forbid")


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
    memory: str | None = Field(
        None, description="a process's memory, e.g. 4GiB", pattern=r"^\d+(\.\d+)?\s*([KMGT]i?)?B?$"
    )
    shm: str | None = Field(
        None, description="a pod's /dev/shm, e.g. 2GiB", pattern=r"^\d+(\.\d+)?\s*([KMGT]i?)?B?$"
    )
    disk: str | None = Field(
        None,
        description="scratch space a node, e.g. 50GiB",
        pattern=r"^\d+(\.\d+)?\s*([KMGT]i?)?B?$",
    )

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

    max_attempts: int = Field(3, gt=0, description="attempts that crashed; preemptions are free")
    backoff_seconds: float = Field(1.0, ge=0, description="pause after the first; doubles after")
