"""vision.classify, evaluate and export: from shards to checked files, with a very small network."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from pydantic import ValidationError
from safetensors.torch import save_file

from pipeline.errors import ConfigError, DataError, InputError, Preempted
from pipeline.shards import ImageShardWriter
from pipeline.spec.context import World
from pipeline.spec.ports import CHECKPOINT
from pipeline.spec.scores import read_scores
from pipeline.training.export import read_weights
from pipeline.training.method import Picks
from stages.vision.classify import evaluate, export, train
from stages.vision.classify.classification import Classification
from stages.vision.classify.config import ClassifyConfig, EvaluateConfig, ExportConfig
from stages.vision.classify.stage import CLASSIFY
from tests.contexts import stage_context
from tests.images import encoded, pixels

CLASSES = ("dark", "light")


def _write_shards(folder: Path, classes: tuple[str, ...] = CLASSES) -> Path:
    folder.mkdir(parents=True)
    with ImageShardWriter(folder, class_names=classes) as writer:
        for split, count in (("train", 24), ("test", 10)):
            for i in range(count):
                label = i % len(classes)
                image = pixels(i, 16, 16) // 2 + np.uint8(100 * label)
                name = f"{split}/{i}.png"
                writer.add(split, encoded(image), suffix="png", name=name, label=label)
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write_shards(tmp_path_factory.mktemp("images") / "shards")


def _config(**changes: Any) -> ClassifyConfig:
    values: dict[str, Any] = {
        "model": {"name": "mbconv_tiny", "width": 0.5},
        "frame": {"size": 16, "crop_fraction": 1.0},
        "augment": {"crop": {"kind": "pad", "border": 1}},
        "evaluation_batch_size": 4,
        "train": {
            "steps": 3,
            "global_batch_size": 8,
            "ema_decay": 0.9,
            "checkpoint_every": 1,
            "optimizer": {"kind": "rmsprop_tf", "learning_rate": 0.01},
        },
    }
    return ClassifyConfig.model_validate(values | changes)


def _context(config: Any, folder: Path, inputs: dict[str, Any], *ports: str, **more: Any) -> Any:
    ctx = stage_context(config, folder, inputs=inputs, output=ports[0], **more)
    for port in ports[1:]:
        (folder / port).mkdir(exist_ok=True)
    return replace(ctx, outputs={port: folder / port for port in ports})


def _classify(config: ClassifyConfig, folder: Path, inputs: dict[str, Any], **more: Any) -> Path:
    train.run(_context(config, folder, inputs, "checkpoint", "scores", "predictions", **more))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    return _classify(_config(), tmp_path_factory.mktemp("trained"), {"shards": shards})


def test_classify_writes_scores_and_a_line_for_each_image(trained: Path) -> None:
    scores = read_scores(trained / "scores")
    assert set(scores) == {spec.name for spec in CLASSIFY.scores}
    lines = [
        json.loads(line)
        for line in (trained / "predictions/predictions.jsonl").read_text().splitlines()
    ]
    assert [line["image"] for line in lines] == [f"test/{i}.png" for i in range(10)]
    right = [line["label"] == line["predicted"] for line in lines]
    assert scores["accuracy"] == pytest.approx(np.mean(right))
    assert all(sum(line["probs"].values()) == pytest.approx(1, abs=1e-5) for line in lines)


def test_evaluate_of_the_checkpoint_gives_the_same_scores(
    trained: Path, shards: Path, tmp_path: Path
) -> None:
    inputs = {"shards": shards, "checkpoint": trained / "checkpoint"}
    config = EvaluateConfig(evaluation_batch_size=3)
    evaluate.run(_context(config, tmp_path, inputs, "scores", "predictions"))
    wanted = read_scores(trained / "scores")
    assert read_scores(tmp_path / "scores") == pytest.approx(wanted, rel=1e-4)
    other = _write_shards(tmp_path / "other", ("dark", "green"))
    with pytest.raises(ConfigError, match="the checkpoint tells 2 classes"):
        evaluate.run(
            _context(config, tmp_path, inputs | {"shards": other}, "scores", "predictions")
        )


def test_stopped_and_resumed_training_ends_with_the_same_weights(
    trained: Path, shards: Path, tmp_path: Path
) -> None:
    asked = iter([False] * 2 + [True] * 9)
    with pytest.raises(Preempted):
        _classify(_config(), tmp_path, {"shards": shards}, should_stop=lambda: next(asked))
    _classify(_config(), tmp_path, {"shards": shards})
    wanted = read_weights(trained / "checkpoint/model.safetensors")
    found = read_weights(tmp_path / "checkpoint/model.safetensors")
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


def test_finetuning_takes_all_but_the_classifier_and_a_probe_trains_nothing_else(
    trained: Path, tmp_path: Path
) -> None:
    shards = _write_shards(tmp_path / "three", ("a", "b", "c"))
    inputs = {"shards": shards, "checkpoint": trained / "checkpoint"}
    config = _config(model=None, trained="classifier")
    assert CLASSIFY.ports(config)[0]["checkpoint"] == CHECKPOINT("vision")
    _classify(config, tmp_path, inputs)
    before = read_weights(trained / "checkpoint/model.safetensors")
    after = read_weights(tmp_path / "checkpoint/model.safetensors")
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        if name.startswith("classifier."):
            assert tensor.shape[0] == 3
        else:
            torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def _method(config: ClassifyConfig, inputs: dict[str, Path], **more: Any) -> Classification:
    return Classification(config, inputs, place=World(), seed=3, threads=1, **more)


def test_weights_of_torchvision_are_taken_over_but_for_the_classifier(
    shards: Path, tmp_path: Path
) -> None:
    theirs = torchvision.models.mobilenet_v3_small(weights=None, num_classes=10)
    path = tmp_path / "theirs.safetensors"
    save_file(theirs.state_dict(), path)
    config = _config(
        model={"name": "mobilenetv3_small", "padding": "symmetric"},
        weights={"source": str(path), "library": "torchvision"},
    )
    method = _method(config, {"shards": shards})
    ours = next(method.model.parameters())
    torch.testing.assert_close(ours, next(theirs.parameters()), rtol=0, atol=0)
    path.write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"theirs\.safetensors: not a readable"):
        _method(config, {"shards": shards})


def test_subset_is_what_training_sees(shards: Path) -> None:
    method = _method(_config(subset={"per_class": 2}), {"shards": shards})
    assert method.streams["images"].size == 4
    labels = [int(label) for label in method.batch(_picks(4))["labels"]]
    assert sorted(labels) == [0, 0, 1, 1]
    with pytest.raises(DataError, match="subset: class 0 has 12 examples"):
        _method(_config(subset={"per_class": 13}), {"shards": shards})


def _picks(count: int) -> dict[str, Picks]:
    index = np.arange(count)
    return {"images": Picks(np.zeros(count, np.int64), index, index)}


def test_loss_of_mixed_images_is_that_of_both_labels(shards: Path) -> None:
    config = _config(augment={"mixup_alpha": 0.4, "crop": {"kind": "none"}}, label_smoothing=0.0)
    method = _method(config, {"shards": shards})
    method.model.eval()
    batch = method.batch(_picks(6))
    share = batch["share"]
    with torch.no_grad():
        found = method.loss(method.model, batch).total
        images = batch["images"].float() / 255 - torch.tensor([0.485, 0.456, 0.406])[:, None, None]
        images = images / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
        mixed = torch.stack(
            [s * a + (1 - s) * b for s, a, b in zip(share, images, images.flip(0), strict=True)]
        )
        logs = method.model(mixed).log_softmax(1)
    labels = batch["labels"].tolist()
    wanted = sum(
        -float(s * row[a] + (1 - s) * row[b])
        for s, row, a, b in zip(share, logs, labels, labels[::-1], strict=True)
    )
    assert float(found) == pytest.approx(wanted, rel=1e-4)


def test_norms_do_not_decay_and_all_else_does(shards: Path) -> None:
    method = _method(_config(), {"shards": shards})
    rule = method.rule()
    decays = {name: rule(name, p).weight_decay for name, p in method.model.named_parameters()}
    norms = sum(2 for module in method.model.modules() if isinstance(module, torch.nn.BatchNorm2d))
    assert sum(not decay for decay in decays.values()) == norms


def test_ranks_share_the_held_out_images(shards: Path) -> None:
    config = _config()
    seen = []
    for rank in range(3):
        method = Classification(
            config, {"shards": shards}, place=World(rank=rank, size=3), seed=3, threads=1
        )
        method.model.eval()
        with torch.no_grad():
            scores = method.evaluate(method.model)
        assert method.predictions is not None
        seen += method.predictions.images.tolist()
        assert float(scores["accuracy"][1]) == len(method.predictions.images)
    assert sorted(seen) == list(range(10))


@pytest.mark.parametrize("kind", ["torch", pytest.param("onnx", marks=pytest.mark.slow)])
def test_export_is_checked_by_running_it(trained: Path, tmp_path: Path, kind: str) -> None:
    config = ExportConfig.model_validate({"formats": [kind]})
    inputs = {"checkpoint": trained / "checkpoint"}
    export.run(_context(config, tmp_path, inputs, "folder", "scores"))
    assert read_scores(tmp_path / "scores")[f"{kind}_difference"] < 1e-4
    strict = ExportConfig.model_validate({"formats": [kind], "tolerance": 1e-30})
    exact = read_scores(tmp_path / "scores")[f"{kind}_difference"] == 0
    if not exact:
        with pytest.raises(ConfigError, match="logits differ by"):
            export.run(_context(strict, tmp_path / "again", inputs, "folder", "scores"))


def test_damaged_checkpoint_is_an_input_error(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    config = json.loads((trained / "checkpoint/config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"family": "xlnet"}))
    with pytest.raises(InputError, match="no readable configuration of a vision checkpoint"):
        export.run(_context(ExportConfig(), tmp_path, {"checkpoint": folder}, "folder", "scores"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": None, "weights": {"source": "x", "library": "timm"}}, "weights are of"),
        ({"model": {"name": "resnet51"}}, "unknown network"),
        ({"subset": {"fraction": 0.1, "per_class": 3}}, "either fraction or per_class"),
    ],
)
def test_configuration_without_sense_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        _config(**values)
