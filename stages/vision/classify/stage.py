"""The stage kinds of image classification; importing this needs no torch."""

from collections.abc import Mapping

from pipeline.spec.config import StageConfig
from pipeline.spec.ports import CHECKPOINT, FOLDER, PREDICTIONS, SCORES, SHARDS, Port
from pipeline.spec.stage import Launch, ScoreSpec, StageSpec
from pipeline.training.config import TRAINING_LIBRARIES
from stages.vision.classify.config import ClassifyConfig, EvaluateConfig, ExportConfig

_LIBRARIES = (*TRAINING_LIBRARIES, "torchvision", "pillow")
_INPUTS = {"shards": SHARDS("images")}
_OUTPUTS = {
    "checkpoint": CHECKPOINT("vision"),
    "scores": SCORES,
    "predictions": PREDICTIONS,
}
_SCORES = (
    ScoreSpec("accuracy", "share", "higher", "images whose class is right"),
    ScoreSpec("top5_accuracy", "share", "higher", "images whose class is among the first five"),
    ScoreSpec("loss", "nats", "lower", "mean cross-entropy, without label smoothing"),
    ScoreSpec("ece", "share", "lower", "gap between confidence and accuracy, 15 equal bins"),
)


def _classify_ports(config: StageConfig) -> tuple[Mapping[str, Port], Mapping[str, Port]]:
    """A checkpoint is asked for exactly when the configuration names no network."""
    inputs = dict(_INPUTS)
    if isinstance(config, ClassifyConfig) and config.model is None:
        inputs["checkpoint"] = CHECKPOINT("vision")
    return inputs, _OUTPUTS


CLASSIFY = StageSpec(
    name="vision.classify",
    config=ClassifyConfig,
    run="stages.vision.classify.train:run",
    inputs=_INPUTS | {"checkpoint": CHECKPOINT("vision", optional=True)},
    outputs=_OUTPUTS,
    launch=Launch.GANG,
    scores=_SCORES,
    uses_seed=True,
    libraries=_LIBRARIES,
    ports_of=_classify_ports,
)
EVALUATE = StageSpec(
    name="vision.evaluate",
    config=EvaluateConfig,
    run="stages.vision.classify.evaluate:run",
    inputs=_INPUTS | {"checkpoint": CHECKPOINT("vision")},
    outputs={"scores": SCORES, "predictions": PREDICTIONS},
    scores=_SCORES,
    libraries=_LIBRARIES,
)
EXPORT = StageSpec(
    name="vision.export",
    config=ExportConfig,
    run="stages.vision.classify.export:run",
    inputs={"checkpoint": CHECKPOINT("vision")},
    outputs={"folder": FOLDER, "scores": SCORES},
    scores=(
        ScoreSpec("onnx_difference", "share", "lower", "of the logits, over the largest logit"),
        ScoreSpec("torch_difference", "share", "lower", "of the logits, over the largest logit"),
    ),
    libraries=("torch",),
)
