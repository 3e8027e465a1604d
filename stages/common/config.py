"""Configuration of the stages that belong to no method; needs no torch."""

from typing import Self

from pydantic import Field, model_validator

from pipeline.spec.config import StageConfig


class CompareConfig(StageConfig):
    """A score of several runs side by side, with its spread where a name has several runs.

    The scores are given in the order of the DAG. With k names for n scores, each name stands for
    n / k neighbouring ones: `names: [pretrained, scratch]` over two matrices of three seeds.
    """

    names: tuple[str, ...] = Field(min_length=1, description="what each run, or group, is called")
    score: str = Field("accuracy", description="which score is compared")
    baselines: dict[str, str] = Field(
        {},
        description="row name -> score of the runs that it shows, such as that of a trivial rule",
    )

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [*self.names, *self.baselines]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            msg = f"{twice[0]!r} names two rows; give each its own name"
            raise ValueError(msg)
        return self
