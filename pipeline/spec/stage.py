"""The contract of a stage kind: what the planner knows without importing any of its code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from pipeline.spec.config import StageConfig
from pipeline.spec.ports import Port


class Launch(StrEnum):
    """How the processes of a stage relate to one another."""

    PROCESS = "process"
    """One process."""
    WORKERS = "workers"
    """N independent processes; worker i takes the work units i, i + N, i + 2N, ..."""
    GANG = "gang"
    """N ranks that train together and live or die together."""
    DRIVER = "driver"
    """A pure function the runner calls to learn which cells to run next."""


@dataclass(frozen=True)
class ScoreSpec:
    """A number a stage kind reports: exported as pipeline_eval_score{score=name}."""

    name: str
    unit: str
    better: Literal["higher", "lower"]
    meaning: str


@dataclass(frozen=True)
class StageSpec:
    """A stage kind.

    Attributes:
        name: what `uses:` says, e.g. "xlnet.pretrain".
        config: the pydantic model of `with:`.
        run: "package.module:function", imported in the worker only. The function takes one
            StageContext; a driver's takes (config, history) and returns cells or Done.
        inputs, outputs: port name -> Port. A kind whose ports depend on its configuration gives
            `ports_of` instead, which returns (inputs, outputs).
        launch: how its processes relate.
        scores: every score it may report.
        uses_seed: whether the seed changes its outputs, always or with some configurations; only
            then is it part of the key.
        device_matters: whether outputs depend on the accelerator model, which then joins the key.
        libraries: distributions whose installed version joins the key.
    """

    name: str
    config: type[StageConfig]
    run: str
    inputs: Mapping[str, Port] = field(default_factory=dict)
    outputs: Mapping[str, Port] = field(default_factory=dict)
    launch: Launch = Launch.PROCESS
    scores: tuple[ScoreSpec, ...] = ()
    uses_seed: bool | Callable[[Any], bool] = False
    device_matters: bool = False
    libraries: tuple[str, ...] = ()
    ports_of: Callable[[StageConfig], tuple[Mapping[str, Port], Mapping[str, Port]]] | None = None

    def depends_on_seed(self, config: StageConfig) -> bool:
        """Whether the seed changes the outputs of a stage with this configuration."""
        return self.uses_seed(config) if callable(self.uses_seed) else self.uses_seed

    def ports(self, config: StageConfig) -> tuple[Mapping[str, Port], Mapping[str, Port]]:
        """(inputs, outputs) of a stage of this kind with this configuration."""
        return self.ports_of(config) if self.ports_of else (self.inputs, self.outputs)
