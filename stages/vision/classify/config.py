"""Configuration of image classification; needs no torch, is checked when the DAG is read."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.spec.config import Source, StageConfig
from pipeline.spec.subset import LabelledSubset
from pipeline.training.config import TrainingStageConfig
from stages.vision.augment.config import AugmentConfig
from stages.vision.backbones.config import BackboneConfig
from stages.vision.images.config import FrameConfig


class ForeignWeights(StageConfig):
    """A state dict of another library for the network of `model`; the classifier is left out."""

    source: Source = Field(description="one safetensors file")
    library: Literal["torchvision", "timm"] = Field(description="whose names it has")


class ClassifyConfig(TrainingStageConfig):
    """Trains or finetunes a network to classify images."""

    model: BackboneConfig | None = Field(
        None, description="null: network and weights of the `checkpoint` input, new classifier"
    )
    weights: ForeignWeights | None = Field(None, description="null: new weights")
    trained: Literal["all", "classifier"] = Field(
        "all", description="classifier: a linear probe; the rest stays as in evaluation"
    )
    frame: FrameConfig = FrameConfig()
    augment: AugmentConfig = AugmentConfig()
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    subset: LabelledSubset | None = Field(
        None, description="labelled images to train on; chosen by the stage's seed"
    )
    evaluate_on: Literal["validation", "test"] = Field(
        "test", description="split of the shards that is scored"
    )
    evaluation_batch_size: int = Field(64, gt=0, description="images a forward, on each rank")

    @model_validator(mode="after")
    def _weights_need_a_network(self) -> Self:
        if self.weights is not None and self.model is None:
            msg = "weights are of the network that model: names"
            raise ValueError(msg)
        return self


class EvaluateConfig(StageConfig):
    """Scores a checkpoint on a split."""

    evaluate_on: Literal["train", "validation", "test"] = "test"
    evaluation_batch_size: int = Field(64, gt=0, description="images a forward")
    size: int | None = Field(None, gt=0, description="pixels of a side; null: as in training")
    crop_fraction: float | None = Field(
        None, gt=0, le=1, description="of the shorter side; null: as in training"
    )


class ExportConfig(StageConfig):
    """Writes a checkpoint as ONNX and as a torch.export program, and runs both."""

    formats: tuple[Literal["onnx", "torch"], ...] = Field(("onnx", "torch"), min_length=1)
    tolerance: float = Field(
        1e-4, gt=0, description="largest difference of a logit over the largest logit"
    )
