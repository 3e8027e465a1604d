"""The two entry points end to end, in this process: files, scores, hand-over, resume."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError, DataError, InputError, Preempted
from pipeline.shards.tokenizer import Tokenizer
from pipeline.spec.config import StageConfig
from pipeline.spec.context import StageContext
from pipeline.spec.scores import read_scores
from pipeline.training.export import read_weights
from stages.xlnet import classify, pretrain
from stages.xlnet.checkpoint import read_shape
from stages.xlnet.classification import Classification
from stages.xlnet.config import ClassifyConfig, PretrainConfig
from tests.contexts import stage_context
from tests.shards import OTHER_TOKENIZER
from tests.training.contexts import FolderState
from tests.xlnet.configs import classify_config, pretrain_config

ConfigT = TypeVar("ConfigT", bound=StageConfig)


def _context(
    config: ConfigT, folder: Path, inputs: Mapping[str, Path], outputs: tuple[str, ...]
) -> StageContext[ConfigT]:
    ctx = stage_context(config, folder, inputs=dict(inputs), output="checkpoint")
    folders = {port: folder / port for port in outputs}
    for path in folders.values():
        path.mkdir(exist_ok=True)
    return replace(ctx, outputs=folders, state=FolderState(folder / "state"))


def _pretraining(
    folder: Path, shards: Path, tokenizer: Path, config: PretrainConfig | None = None
) -> StageContext[PretrainConfig]:
    inputs = {"shards": shards, "tokenizer": tokenizer}
    return _context(config or pretrain_config(), folder, inputs, ("checkpoint", "scores"))


def _classifying(
    folder: Path, inputs: Mapping[str, Path], config: ClassifyConfig | None = None
) -> StageContext[ClassifyConfig]:
    outputs = ("checkpoint", "scores", "predictions")
    return _context(config or classify_config(), folder, inputs, outputs)


@pytest.fixture(scope="module")
def pretrained(
    tmp_path_factory: pytest.TempPathFactory, token_folder: Path, tokenizer_folder: Path
) -> Path:
    folder = tmp_path_factory.mktemp("pretrain")
    pretrain.run(_pretraining(folder, token_folder, tokenizer_folder))
    return folder


@pytest.fixture
def labelled(classified_folder: Path, tokenizer_folder: Path) -> dict[str, Path]:
    return {"shards": classified_folder, "tokenizer": tokenizer_folder}


def test_pretraining_writes_weights_shape_and_perplexity(pretrained: Path) -> None:
    shape = read_shape(pretrained / "checkpoint")
    assert (shape.vocab_size, shape.model.d_model, shape.classes) == (200, 16, None)
    weights = read_weights(pretrained / "checkpoint" / "model.safetensors")
    assert weights["backbone.embed.weight"].shape == (200, 16)
    scores = read_scores(pretrained / "scores")
    assert scores.keys() == {"loss", "perplexity"}
    assert scores["perplexity"] == pytest.approx(np.exp(scores["loss"]))
    assert scores["perplexity"] < 260


def test_pretraining_that_was_stopped_ends_with_the_same_weights(
    tmp_path: Path, pretrained: Path, token_folder: Path, tokenizer_folder: Path
) -> None:
    ctx = _pretraining(tmp_path, token_folder, tokenizer_folder)
    calls = iter([False, False, True])
    with pytest.raises(Preempted):
        pretrain.run(replace(ctx, should_stop=lambda: next(calls, True)))
    pretrain.run(ctx)
    name = "checkpoint/model.safetensors"
    assert (tmp_path / name).read_bytes() == (pretrained / name).read_bytes()


def test_pretraining_on_shards_of_another_tokenizer_is_refused(
    tmp_path: Path, token_folder: Path, tokenizer_folder: Path, other_tokenizer_folder: Path
) -> None:
    """As many pieces, trained on other text: every id is valid and means another piece."""
    pieces = [
        len(Tokenizer(folder).pieces) for folder in (tokenizer_folder, other_tokenizer_folder)
    ]
    assert pieces[0] == pieces[1]
    with pytest.raises(ConfigError, match=f"{token_folder}: made with another tokenizer"):
        pretrain.run(_pretraining(tmp_path, token_folder, other_tokenizer_folder))


def test_pretraining_on_too_little_text_names_the_folder(
    tmp_path: Path, token_folder: Path, tokenizer_folder: Path
) -> None:
    config = pretrain_config({"global_batch_size": 2000})
    ctx = _pretraining(tmp_path, token_folder, tokenizer_folder, config)
    with pytest.raises(DataError, match=rf"{token_folder}: split 'train' has \d+ tokens"):
        pretrain.run(ctx)


def test_classifier_starts_from_the_pretrained_backbone(
    pretrained: Path, labelled: dict[str, Path]
) -> None:
    inputs = labelled | {"checkpoint": pretrained / "checkpoint"}
    ctx = _classifying(pretrained, inputs, classify_config(model=None))
    method = Classification(ctx.config, inputs, place=ctx.world, seed=1)
    weights = read_weights(pretrained / "checkpoint" / "model.safetensors")
    for name, tensor in method.model.backbone.state_dict().items():
        assert (tensor == weights[f"backbone.{name}"]).all(), name
    assert method.shape.model == read_shape(pretrained / "checkpoint").model


def test_classifier_learns_writes_scores_and_a_line_a_document(
    tmp_path: Path, labelled: dict[str, Path]
) -> None:
    train = {"steps": 60, "optimizer": {"learning_rate": 1e-2}}
    ctx = _classifying(tmp_path, labelled, classify_config(train))
    classify.run(ctx)
    scores = read_scores(tmp_path / "scores")
    assert scores["accuracy"] > scores["majority_accuracy"] + 0.2
    lines = [
        json.loads(line)
        for line in (tmp_path / "predictions/predictions.jsonl").read_text().splitlines()
    ]
    assert [line["document"] for line in lines] == list(range(len(lines)))
    right = np.mean([line["label"] == line["predicted"] for line in lines])
    assert right == pytest.approx(scores["accuracy"])
    assert sum(lines[0]["probs"].values()) == pytest.approx(1.0, abs=1e-4)
    assert read_shape(tmp_path / "checkpoint").classes == ("topic0", "topic1", "topic2")


def test_confusion_counts_true_classes_by_row() -> None:
    pairs = (("a", "a"), ("a", "b"), ("b", "b"), ("a", "b"))
    found = [
        classify.Line(document=number, label=label, predicted=predicted, probs={})
        for number, (label, predicted) in enumerate(pairs)
    ]
    assert classify._confusion(("a", "b"), found).values.tolist() == [[1, 2], [0, 1]]


def test_classifier_refuses_a_checkpoint_of_another_tokenizer(
    tmp_path: Path, pretrained: Path, labelled: dict[str, Path]
) -> None:
    config = pretrained / "checkpoint/config.json"
    other = tmp_path / "other"
    other.mkdir()
    mine = read_shape(pretrained / "checkpoint").tokenizer
    (other / "config.json").write_text(config.read_text().replace(mine, OTHER_TOKENIZER))
    inputs = labelled | {"checkpoint": other}
    with pytest.raises(ConfigError, match=f"{other}: .* is {OTHER_TOKENIZER}, .* is {mine}"):
        classify.run(_classifying(tmp_path, inputs, classify_config(model=None)))


def test_classifier_refuses_a_checkpoint_of_another_family(
    tmp_path: Path, labelled: dict[str, Path]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"family": "bert", "config": {}}')
    inputs = labelled | {"checkpoint": other}
    with pytest.raises(InputError, match="no readable configuration of an XLNet checkpoint"):
        classify.run(_classifying(tmp_path, inputs, classify_config(model=None)))


def test_classifier_names_the_splits_there_are(tmp_path: Path, labelled: dict[str, Path]) -> None:
    config = classify_config(evaluate_on="test")
    with pytest.raises(DataError, match="no split 'test' to evaluate on; it has train, validation"):
        classify.run(_classifying(tmp_path, labelled, config))


@torch.no_grad()
def test_evaluation_does_not_depend_on_ranks_or_batches(
    tmp_path: Path, labelled: dict[str, Path]
) -> None:
    found = []
    for size, batch_size in ((1, 32), (2, 3), (40, 32)):
        config = classify_config(evaluation_batch_size=batch_size)
        sums = np.zeros(2)
        for rank in range(size):
            ctx = _classifying(tmp_path, labelled, config)
            place = replace(ctx.world, rank=rank, size=size)
            method = Classification(config, labelled, place=place, seed=1)
            scores = method.evaluate(method.model.eval())
            sums += [float(scores["loss"][0]), float(scores["loss"][1])]
        found.append(sums)
    assert found[1] == pytest.approx(found[0], rel=1e-5)
    assert found[2] == pytest.approx(found[0], rel=1e-5)
