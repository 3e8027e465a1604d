"""A DAG that has been read and checked: every stage resolved, every matrix expanded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typing_extensions import override

from pipeline.spec.cluster import ClusterSettings
from pipeline.spec.config import StageConfig
from pipeline.spec.job import EnvironmentValue
from pipeline.spec.resources import EngineConfig, Resources, Retry
from pipeline.spec.stage import StageSpec


@dataclass(frozen=True)
class Origin:
    """Where a value comes from: "default", "file", "profile NAME", "values FILE" or "--set".

    `line` and `column` count from 1, 0 is no position. `environment` names the variables whose
    values are part of this one: what they hold may be a secret.
    """

    layer: str
    file: str = ""
    line: int = 0
    column: int = 0
    environment: tuple[str, ...] = ()


@dataclass(frozen=True)
class Connection:
    """An output port of a stage, by the stage's address."""

    stage: str
    port: str

    @override
    def __str__(self) -> str:
        return f"{self.stage}.{self.port}"


@dataclass(frozen=True)
class Stage:
    """One stage of a DAG, or one cell of its matrix.

    Attributes:
        address: "pretrain", or "finetune[seed=2]" for a matrix cell, axes in file order.
        name: the key under `stages:`.
        matrix: this cell's axis values; empty without a matrix.
        kind: how a worker finds the spec again: the entry-point name, or "/abs/my_stage.py:SPEC".
        inputs: port -> connections; exactly one for a port that is not `many`.
        max_parallel: how many cells of this stage's matrix run side by side; None is no limit.
        environment: ("env", "TOKEN") in `with` -> the variables inside that value, which may be secret.
        origins: "stages.pretrain.with.train.steps" -> Origin, for every value of this stage.
    """

    address: str
    name: str
    matrix: Mapping[str, Any]
    kind: str
    spec: StageSpec
    config: StageConfig
    inputs: Mapping[str, tuple[Connection, ...]]
    resources: Resources
    engine: EngineConfig
    retry: Retry
    seed: int
    timeout_seconds: float | None = None
    max_parallel: int | None = None
    origins: Mapping[str, Origin] = field(default_factory=dict)
    environment: Mapping[tuple[str | int, ...], tuple[str, ...]] = field(default_factory=dict)

    @property
    def upstream(self) -> list[str]:
        """Addresses of the stages whose outputs it takes, each once."""
        return list(dict.fromkeys(c.stage for several in self.inputs.values() for c in several))


def environment_values(stage: Stage) -> tuple[EnvironmentValue, ...]:
    """Which values of a stage's configuration came from the environment."""
    return tuple(
        EnvironmentValue(path=path, variables=variables)
        for path, variables in sorted(stage.environment.items(), key=str)
    )


@dataclass(frozen=True)
class Dag:
    """A whole DAG file under one profile.

    Attributes:
        name: the DAG's name; names its runs and its `latest/` pointers.
        file: the DAG file; relative Sources start at its folder.
        on: executor name, "local" unless the profile says otherwise.
        store: fsspec URL of the artifact store, None for `.pipeline` in the working folder.
        cluster: the profile's `cluster:` block; what `on: kubernetes` reads.
        stages: address -> Stage, upstream before downstream, otherwise in file order.
        resolved: the file after interpolation, profile, values and sets; what the run records.
            A value of the environment stands in it as `${env.NAME}`, a matrix as it is written.
    """

    name: str
    file: Path
    on: str
    store: str | None
    cluster: ClusterSettings
    stages: Mapping[str, Stage]
    resolved: Mapping[str, Any]
