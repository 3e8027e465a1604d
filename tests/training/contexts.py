"""A stage's context in a folder, as a worker would build it, with a recorder that keeps all."""

import shutil
from collections.abc import Callable
from pathlib import Path

from typing_extensions import override

from pipeline.metrics.names import Metric
from pipeline.metrics.pictures import Picture
from pipeline.spec.config import StageConfig
from pipeline.spec.context import StageContext, State, World
from pipeline.spec.resources import EngineConfig
from pipeline.training.config import OptimizerConfig, ScheduleConfig, TrainConfig


class KeptRecorder:
    """Keeps every number in memory."""

    def __init__(self) -> None:
        self.scalars: dict[str, dict[int, float]] = {}
        self.counts: dict[str, float] = {}
        self.gauges: dict[str, float] = {}
        self.observed: dict[str, list[float]] = {}
        self.prepared: set[str] = set()
        self.steps: list[tuple[int, int]] = []
        self.phases: list[str] = []

    def scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.setdefault(name, {})[step] = value

    def count(self, name: str, n: float = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + n

    def gauge(self, name: str, value: float) -> None:
        self.gauges[name] = value

    def observe(self, name: str, value: float) -> None:
        self.observed.setdefault(name, []).append(value)

    def prepare(self, *metrics: Metric) -> None:
        self.prepared |= {metric.name for metric in metrics}

    def phase(self, what: str) -> None:
        self.phases.append(what)

    def progress(
        self, step: int, total_steps: int, loss: float | None, rate: float, unit: str
    ) -> None:
        assert rate > 0
        assert unit == "samples"
        self.steps.append((step, total_steps))

    def show(self, picture: Picture, step: int) -> None:
        return


class FolderState:
    """The state of a stage whose store is a local folder: what is complete is published."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._path = path

    @property
    def path(self) -> Path:
        return self._path

    def publish(self, name: str) -> None:
        assert (self._path / name).exists()

    def remove(self, name: str) -> None:
        target = self._path / name
        shutil.rmtree(target) if target.is_dir() else target.unlink()


def context(
    folder: Path,
    *,
    world: World | None = None,
    engine: EngineConfig | None = None,
    seed: int = 7,
    should_stop: Callable[[], bool] = lambda: False,
    state: State | None = None,
) -> StageContext[StageConfig]:
    """A context whose state, scratch and recorder live in and for `folder`."""
    return StageContext(
        config=StageConfig(),
        inputs={},
        outputs={},
        state=state or FolderState(folder / "state"),
        scratch=folder,
        world=world or World(),
        seed=seed,
        engine=engine or EngineConfig(),
        threads=1,
        recorder=KeptRecorder(),
        should_stop=should_stop,
    )


def recorder_of(ctx: StageContext[StageConfig]) -> KeptRecorder:
    """What a test's context recorded."""
    assert isinstance(ctx.recorder, KeptRecorder)
    return ctx.recorder


def train_config(**changes: object) -> TrainConfig:
    """Six steps of batch 8, every step logged, nothing else."""
    values: dict[str, object] = {
        "steps": 6,
        "global_batch_size": 8,
        "optimizer": OptimizerConfig(learning_rate=0.1),
        "schedule": ScheduleConfig(kind="constant"),
        "log_every": 1,
        "checkpoint_every_seconds": None,
    }
    return TrainConfig.model_validate(values | changes)


class Killed(BaseException):
    """Stands for kill -9: nothing of ours catches it."""


class DyingState(FolderState):
    """Dies at its n-th publication, before the file counts as published, or just after."""

    def __init__(self, path: Path, *, dies_at: int) -> None:
        super().__init__(path)
        self._left = dies_at

    @override
    def publish(self, name: str) -> None:
        self._left -= 1
        if self._left == 0:
            raise Killed(name)
        super().publish(name)
