"""XLNet's stage kinds; importing this needs no torch."""

from collections.abc import Mapping
from dataclasses import replace

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
from stages.xlnet.replications.config import ReplicationConfig
from stages.xlnet.tasks.config import (
    AnswerConfig,
    ChooseConfig,
    RankConfig,
    SentencesConfig,
    TaskConfig,
    ToyTaskConfig,
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
_TASK_OUTPUTS = _CLASSIFY_OUTPUTS


def _task_ports(config: StageConfig) -> tuple[Mapping[str, Port], Mapping[str, Port]]:
    """As `_classify_ports`, without shards; files are asked for unless the configuration names them."""
    inputs = {"tokenizer": TOKENIZER}
    if isinstance(config, TaskConfig):
        if config.model is None:
            inputs["checkpoint"] = CHECKPOINT("xlnet")
        if config.reads_input:
            inputs["files"] = FOLDER
    return inputs, _TASK_OUTPUTS


def _task(name: str, module: str, config: type[StageConfig], *scores: ScoreSpec) -> StageSpec:
    return StageSpec(
        name=f"xlnet.{name}",
        config=config,
        run=f"stages.xlnet.tasks.{module}:run",
        inputs={
            "tokenizer": TOKENIZER,
            "checkpoint": CHECKPOINT("xlnet", optional=True),
            "files": replace(FOLDER, optional=True),
        },
        outputs=_TASK_OUTPUTS,
        launch=Launch.GANG,
        scores=scores,
        uses_seed=True,
        libraries=(*TRAINING_LIBRARIES, "sentencepiece", "torchmetrics"),
        ports_of=_task_ports,
    )


def _higher(name: str, meaning: str, unit: str = "share") -> ScoreSpec:
    return ScoreSpec(name, unit, "higher", meaning)


SENTENCES = _task(
    "sentences",
    "sentences",
    SentencesConfig,
    _higher("accuracy", "examples whose class is right"),
    _higher("f1", "F1 of class 1 (MRPC, QQP)"),
    _higher("mcc", "Matthews' correlation (CoLA)", "correlation"),
    _higher("pearson", "correlation with the score (STS-B)", "correlation"),
    _higher("spearman", "rank correlation with the score (STS-B)", "correlation"),
    ScoreSpec("squared_error", "square of the score", "lower", "mean squared error (STS-B)"),
)
CHOOSE = _task(
    "choose",
    "choices",
    ChooseConfig,
    _higher("accuracy", "questions whose option is right"),
    _higher("accuracy_middle", "of middle school"),
    _higher("accuracy_high", "of high school"),
)
ANSWER = _task(
    "answer",
    "answers",
    AnswerConfig,
    _higher("exact", "answers that are one of the right ones, every question answered"),
    _higher("f1", "overlap of words with the best right answer, every question answered"),
    _higher("best_exact", "exact, at the best bound on the null score"),
    _higher("best_f1", "F1, at the best bound on the null score"),
    _higher("best_exact_threshold", "null score above which there is no answer", "logit"),
    _higher("best_f1_threshold", "null score above which there is no answer", "logit"),
)
RANK = _task(
    "rank",
    "ranking",
    RankConfig,
    _higher("ndcg_20", "NDCG of the first 20 documents, mean over queries"),
    _higher("err_20", "expected reciprocal rank of the first 20, mean over queries"),
)
TOY_TASK = StageSpec(
    name="xlnet.toy_task",
    config=ToyTaskConfig,
    run="stages.xlnet.tasks.toys:run",
    outputs={"files": FOLDER},
    uses_seed=True,
)
REPLICATE = StageSpec(
    name="xlnet.replicate",
    config=ReplicationConfig,
    run="stages.xlnet.replications.replicate:run",
    outputs={"scores": SCORES},
    launch=Launch.GANG,
    scores=(
        ScoreSpec("loss", "nats", "lower", "mean over the targets of new examples"),
        ScoreSpec("excess", "nats", "lower", "loss above the least that this arm can reach"),
        ScoreSpec("excess_over_claim", "nats", "lower", "loss above the least of the model"),
    ),
    uses_seed=True,
    libraries=TRAINING_LIBRARIES,
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
