"""The base class of every stage configuration, and the field type of raw input."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class StageConfig(BaseModel):
    """Frozen; an unknown field is an error; values are checked when the DAG is read."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def global_batch_sizes(self) -> Mapping[str, int]:
        """Field path -> examples per step over all ranks; each must divide by the world size."""
        return {}

    def pass_multiples(self) -> Mapping[str, int]:
        """Field path of a global batch size -> what divides the examples of every forward pass."""
        return {}


class Unkeyed:
    """Marks a field that decides when things are told or saved, never what comes out.

    It stays out of a stage's key: `checkpoint_every: Annotated[int, Unkeyed()]`.
    """


class SourceText(str):
    """What a validated Source is: a str that is known to be one wherever it stands in a config."""

    __slots__ = ()


Source = Annotated[
    str,
    Field(min_length=1, description="path, glob or URL; relative to the DAG"),
    AfterValidator(SourceText),
]
"""A path, glob or fsspec URL of raw input; relative paths start at the folder of the DAG file.

Reading the DAG makes it an absolute path; the planner hashes what it names into the plan key. The
default of such a field is a Source only where defaults are validated, as a StageConfig's are.
"""
