"""The base class of every stage configuration, and the field type of raw input."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class StageConfig(BaseModel):
    """Frozen; an unknown field is an error; values are checked when the DAG is read."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def global_batch_sizes(self) -> Mapping[str, int]:
        """Field path -> examples per step over all ranks; each must divide by the world size."""
        return {}


class SourceMarker:
    """Marks a config field as raw input: its files' names and content become part of the key."""


Source = Annotated[
    str, SourceMarker(), Field(min_length=1, description="path, glob or URL; relative to the DAG")
]
"""A path, glob or fsspec URL of raw input; relative paths start at the folder of the DAG file.

The planner rewrites it to an absolute path, and hashes what it names into the plan key.
"""
