"""XLNet's stage kinds; importing this needs no torch."""

from collections.abc import Mapping

from pipeline.spec.config import StageConfig
from pipeline.spec.ports import CHECKPOINT, FOLDER, PREDICTIONS, SCORES, SHARDS, TOKENIZER, Port
from pipeline.spec.stage import Launch, ScoreSpec, StageSpec
from pipeline.training.config import TRAINING_LIBRARIES
from stages.xlnet.config import (
    ClassifyConfig,
    ExportHFConfig,
    FinetuneConfig,
    ImportHFConfig,
    PretrainConfig,
)

_CLASSIFY_INPUTS = {"shards": SHARDS("classified"), "tokenizer": TOKENIZER}
_CLASSIFY_OUTPUTS = {
    "checkpoint": CHECKPOINT("xlnet"),
    "scores": SCORES,
    "predictions": PREDICTIONS,
}


def _classify_ports(config: StageConfig) -> tuple[Mapping[str, Port], Mapping[str, Port]]:
    """A checkpoint is asked for exactly when the configuration gives no shape."""
    inputs = dict(_CLASSIFY_INPUTS)
    if isinstance(config, FinetuneConfig) and config.model is None:
        inputs["checkpoint"] = CHECKPOINT("xlnet")
    return inputs, _CLASSIFY_OUTPUTS


PRETRAIN = StageSpec(
    name="xlnet.pretrain",
    config=PretrainConfig,
    run="stages.xlnet.pretrain:run",
    inputs={"shards": SHARDS("tokens"), "tokenizer": TOKENIZER},
    outputs={"checkpoint": CHECKPOINT("xlnet"), "scores": SCORES},
    launch=Launch.GANG,
    scores=(
        ScoreSpec("loss", "nats", "lower", "mean over held-out targets, given what precedes them"),
        ScoreSpec("perplexity", "tokens", "lower", "exp of the loss"),
    ),
    uses_seed=True,
    libraries=TRAINING_LIBRARIES,
)
CLASSIFY = StageSpec(
    name="xlnet.classify",
    config=ClassifyConfig,
    run="stages.xlnet.classify:run",
    inputs=_CLASSIFY_INPUTS | {"checkpoint": CHECKPOINT("xlnet", optional=True)},
    outputs=_CLASSIFY_OUTPUTS,
    launch=Launch.GANG,
    scores=(
        ScoreSpec("accuracy", "share", "higher", "documents whose class is right"),
        ScoreSpec("loss", "nats", "lower", "mean cross-entropy of the documents' classes"),
        ScoreSpec(
            "majority_accuracy", "share", "higher", "of always naming the most frequent class"
        ),
    ),
    uses_seed=True,
    libraries=TRAINING_LIBRARIES,
    ports_of=_classify_ports,
)
IMPORT_HF = StageSpec(
    name="xlnet.import_hf",
    config=ImportHFConfig,
    run="stages.xlnet.exchange:import_hf",
    outputs={"checkpoint": CHECKPOINT("xlnet"), "tokenizer": TOKENIZER},
)
EXPORT_HF = StageSpec(
    name="xlnet.export_hf",
    config=ExportHFConfig,
    run="stages.xlnet.exchange:export_hf",
    inputs={"checkpoint": CHECKPOINT("xlnet"), "tokenizer": TOKENIZER},
    outputs={"folder": FOLDER},
)
