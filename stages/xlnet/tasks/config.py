"""Configuration of the task stages; needs no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.spec.config import Source, StageConfig
from stages.xlnet.config import FinetuneConfig

GlueTask = Literal["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli"]
CsvTask = Literal["ag", "yelp2", "yelp5", "dbpedia", "amazon2", "amazon5"]


class TaskConfig(FinetuneConfig):
    """Where a task's files are; each is read as the task gives it out."""

    train_source: Source | None = Field(
        None,
        description="training file, or folder or glob of files; null: the folder train/ of the "
        "input `files`",
    )
    evaluate_source: Source | None = Field(
        None, description="labelled files that are scored; null: evaluate/ of the input `files`"
    )
    predict_source: Source | None = Field(
        None, description="file without labels, predicted for submission; null: the scored one"
    )

    @property
    def reads_input(self) -> bool:
        """Whether the files come from the stage's `files` input."""
        return self.train_source is None

    def sources(self, inputs: Mapping[str, Path]) -> tuple[str, str]:
        """Where the training and the scored files are."""
        if self.train_source is None or self.evaluate_source is None:
            return str(inputs["files"] / "train"), str(inputs["files"] / "evaluate")
        return self.train_source, self.evaluate_source

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.train_source is None) != (self.evaluate_source is None):
            msg = "train_source and evaluate_source are given together, or neither"
            raise ValueError(msg)
        return self


class SentencesConfig(TaskConfig):
    """Classification or regression of a text or a pair of texts (GLUE, SST-2, AG, Yelp, ...)."""

    task: GlueTask | CsvTask = Field(description="whose columns, classes and metrics")


class ChooseConfig(TaskConfig):
    """Multiple choice over a passage (RACE)."""

    max_question: int = Field(
        128, gt=0, description="pieces of question and option; longer ones keep their end"
    )

    @model_validator(mode="after")
    def _passage_has_room(self) -> Self:
        if self.max_question + 8 > self.max_len:
            msg = f"max_question={self.max_question} leaves no passage in max_len={self.max_len}"
            raise ValueError(msg)
        return self


class AnswerConfig(TaskConfig):
    """Answers that are spans of a passage (SQuAD 1.1 and 2.0)."""

    version: Literal["1.1", "2.0"] = Field("2.0", description="2.0: some questions have none")
    doc_stride: int = Field(128, gt=0, description="pieces between the beginnings of two windows")
    max_question: int = Field(64, gt=0, description="pieces of a question; the rest is cut")
    max_answer: int = Field(64, gt=0, description="pieces of the longest answer that is predicted")
    num_beams: int = Field(5, gt=0, description="starts that are kept, and ends for each")

    @model_validator(mode="after")
    def _windows_overlap(self) -> Self:
        room = self.max_len - self.max_question - 3
        if self.doc_stride > room:
            msg = (
                f"doc_stride={self.doc_stride} would skip text: a window has {room} pieces of the "
                "passage (max_len - max_question - 3)"
            )
            raise ValueError(msg)
        return self


class RankConfig(TaskConfig):
    """Ranking of a query's documents by kernel pooling over frozen XLNet features (ClueWeb09-B)."""

    layer: int = Field(
        0, ge=0, description="layers that features pass through; 0: the word embeddings themselves"
    )
    max_document: int = Field(4096, gt=0, description="pieces of a document; the rest is not read")


class ToyTaskConfig(StageConfig):
    """Generated files of a task, with something simple to learn in them."""

    task: Literal["sentences", "regression", "choose", "answer", "rank"] = Field(
        description="whose format; sentences as SST-2, regression as STS-B"
    )
    examples: int = Field(400, ge=8, description="training examples; a quarter as many are scored")
