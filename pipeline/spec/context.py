"""What the entry point of a stage receives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, cast

from pipeline.metrics.names import Metric
from pipeline.spec.config import StageConfig
from pipeline.spec.resources import EngineConfig

if TYPE_CHECKING:
    # numpy, for annotations alone: a tenth of a second for every command that plans.
    from pipeline.metrics.pictures import Picture

ConfigT = TypeVar("ConfigT", bound=StageConfig)


@dataclass(frozen=True)
class World:
    """This process among the processes of its stage.

    In a gang `rank` and `size` count ranks; in a `workers` stage they count workers; `local_rank`
    and `local_size` count processes on this node.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    node: int = 0


class Recorder(Protocol):
    """Takes numbers and pictures; never blocks a step.

    Every rank may tell it everything. What is told once a stage (all metrics without a `rank`
    label, progress, pictures) is kept of rank 0.
    """

    def scalar(self, name: str, value: float, step: int) -> None:
        """A value at a step; the newest is what Prometheus sees."""

    def count(self, name: str, n: float = 1) -> None:
        """Adds to a counter that only grows."""

    def gauge(self, name: str, value: float) -> None:
        """The newest value of a gauge, for Prometheus alone: no point of a curve."""

    def observe(self, name: str, value: float) -> None:
        """One more value of a histogram of `metrics.names`, for Prometheus alone."""

    def prepare(self, *metrics: Metric) -> None:
        """Lets the counters and histograms that a stage will tell begin at 0."""

    def show(self, picture: "Picture", step: int) -> None:
        """A picture for the report."""

    def progress(
        self, step: int, total_steps: int, loss: float | None, rate: float, unit: str
    ) -> None:
        """How far the stage is: what a live line shows; `rate` is `unit`s a second."""

    def phase(self, what: str) -> None:
        """What it is at outside its steps; until `progress` is told again.

        A count comes after a comma, "reading, 300 files", and is shown now and then.
        """


class State(Protocol):
    """A durable folder that outlives the attempt: where checkpoints are."""

    @property
    def path(self) -> Path:
        """Local view of the folder; holds all that earlier attempts published."""

    def publish(self, name: str) -> None:
        """Makes the file or folder `name`, complete under `path`, durable.

        Raises:
            StoreError: the store refused; nothing of `name` counts as published.
        """

    def remove(self, name: str) -> None:
        """Removes the file or folder `name` here and in the store."""


@dataclass(frozen=True)
class StageContext(Generic[ConfigT]):
    """Everything a stage may use; it reads no environment variable and opens no other path.

    Attributes:
        config: the validated `with:` block.
        inputs: port -> folder of the artifact, or a list of folders for a `many` port; an optional
            port that is not connected is absent.
        outputs: port -> an empty folder to fill, this process's own. Ranks and workers write
            disjoint names; the commit joins them after `run` returned on every rank.
        state: durable folder of this stage.
        scratch: local folder that may vanish with the attempt.
        world: this process among its peers.
        seed: the stage's seed; substreams come from `pipeline.training.seeding`.
        engine: the `deepspeed:` block.
        threads: threads this process computes with.
        recorder: metrics and pictures.
        input_stages: port -> addresses of the stages behind `inputs`, for messages.
        should_stop: True once the machine asked us to stop; save state and raise Preempted.
    """

    config: ConfigT
    inputs: Mapping[str, Path | list[Path]]
    outputs: Mapping[str, Path]
    state: State
    scratch: Path
    world: World
    seed: int
    engine: EngineConfig
    threads: int
    recorder: Recorder
    should_stop: Callable[[], bool]
    input_stages: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def input(self, port: str) -> Path:
        """The folder behind a port that takes one artifact."""
        return cast("Path", self.inputs[port])

    def input_list(self, port: str) -> list[Path]:
        """The folders behind a `many` port, in the order of the DAG."""
        return cast("list[Path]", self.inputs[port])
