"""How many labels of many a stage uses; a part of several configurations."""

from typing import Self

from pydantic import Field, model_validator

from pipeline.spec.config import StageConfig


class LabelledSubset(StageConfig):
    """A share, or a number, of the labelled examples of every class."""

    fraction: float | None = Field(None, gt=0, le=1, description="share of each class")
    per_class: int | None = Field(None, gt=0, description="examples of each class")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.fraction is None) == (self.per_class is None):
            msg = "give either fraction or per_class"
            raise ValueError(msg)
        return self
