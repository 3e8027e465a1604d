"""Builds a StageContext for an entry point that is called in the test's own process."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from typing_extensions import override

from pipeline.metrics.recorder import NullRecorder
from pipeline.spec.config import StageConfig
from pipeline.spec.context import StageContext, State, World
from pipeline.spec.resources import EngineConfig

ConfigT = TypeVar("ConfigT", bound=StageConfig)


class FolderState(State):
    """A state that is one local folder: what is written there is durable enough for a test."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    @override
    def path(self) -> Path:
        return self._path

    @override
    def publish(self, name: str) -> None:
        assert (self._path / name).exists()

    @override
    def remove(self, name: str) -> None:
        target = self._path / name
        shutil.rmtree(target) if target.is_dir() else target.unlink()


def stage_context(
    config: ConfigT,
    folder: Path,
    *,
    inputs: Mapping[str, Path | list[Path]] | None = None,
    output: str = "",
    world: World | None = None,
    seed: int = 17,
    should_stop: Callable[[], bool] = lambda: False,
) -> StageContext[ConfigT]:
    """A context whose one output port `output` is `folder`/`output`, made where absent."""
    for name in (output, "state", "scratch"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return StageContext(
        config=config,
        inputs=inputs or {},
        outputs={output: folder / output},
        state=FolderState(folder / "state"),
        scratch=folder / "scratch",
        world=world or World(),
        seed=seed,
        engine=EngineConfig(),
        threads=1,
        recorder=NullRecorder(),
        should_stop=should_stop,
    )
