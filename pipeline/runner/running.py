"""A stage on its way: its inputs known, then an attempt that an executor has."""

import re
from dataclasses import dataclass, replace

from pipeline.planner.plan import PlannedStage
from pipeline.runner.schedule import Demand
from pipeline.spec.job import Job, state_key


@dataclass(frozen=True)
class Prepared:
    """A stage whose inputs are known, and so its content key."""

    planned: PlannedStage
    inputs: dict[str, str | list[str]]
    content_key: str
    wanted: Demand

    @property
    def state_key(self) -> str:
        """Names the stage's durable state."""
        return state_key(self.planned.plan_key, self.content_key)

    @property
    def address(self) -> str:
        """The stage's."""
        return self.planned.stage.address


@dataclass(frozen=True)
class Running:
    """An attempt that the executor has, or is about to get."""

    prepared: Prepared
    job: Job

    @property
    def address(self) -> str:
        """The stage's."""
        return self.job.stage

    def restarted(self, restarts: int) -> "Running":
        """The next start of the same attempt, by the platform: it counts as an attempt more."""
        first = re.sub(r"\.[0-9]+$", "", self.job.folder)
        folder = restarted_folder(first, restarts)
        changes = {"attempt": self.job.attempt + 1, "folder": folder}
        return replace(self, job=self.job.model_copy(update=changes))


def restarted_folder(folder: str, restarts: int) -> str:
    """Where the `restarts`-th start by the platform keeps its logs; see `spec.pod.attempt_path`."""
    return f"{folder}.{restarts}" if restarts else folder
