"""CHECKPOINT(vision): a network's weights, and what rebuilds it."""

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from pipeline.errors import ConfigError, InputError
from pipeline.storage.files import replace_file
from pipeline.training.export import MODEL_FILE, read_weights
from stages.vision.backbones.backbone import Backbone
from stages.vision.backbones.config import BackboneConfig
from stages.vision.backbones.factory import build
from stages.vision.images.config import FrameConfig

CONFIG_FILE = "config.json"
_CLASSIFIER = "classifier."


class Shape(BaseModel):
    """What rebuilds the network, and feeds it.

    Attributes:
        model: the network.
        classes: names of its outputs.
        frame: what it sees of an image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: BackboneConfig
    classes: tuple[str, ...] = Field(min_length=1)
    frame: FrameConfig


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Literal["vision"] = "vision"
    config: Shape


def write_shape(folder: Path, shape: Shape) -> None:
    """Writes config.json; once, by rank 0."""
    replace_file(folder / CONFIG_FILE, _File(config=shape).model_dump_json(indent=1).encode())


def read_shape(folder: Path) -> Shape:
    """Reads config.json.

    Raises:
        InputError: it is missing, damaged or that of another family.
    """
    path = folder / CONFIG_FILE
    try:
        return _File.model_validate(json.loads(path.read_bytes())).config
    except (OSError, ValueError, RecursionError, ValidationError) as exc:
        msg = f"{path}: no readable configuration of a vision checkpoint: {exc}"
        raise InputError(msg) from exc


def load_network(folder: Path) -> tuple[Backbone, Shape]:
    """The network of a checkpoint with its weights, in evaluation mode.

    Raises:
        InputError: the checkpoint is damaged.
        ConfigError: a weight has another shape than its configuration says.
    """
    shape = read_shape(folder)
    network = build(shape.model, num_classes=len(shape.classes))
    load_weights(network, folder / MODEL_FILE, classifier=True)
    return network.eval(), shape


def load_weights(network: Backbone, path: Path, *, classifier: bool) -> None:
    """Fills a network from a file of ours.

    Args:
        network: of the checkpoint's configuration.
        path: the safetensors file.
        classifier: False keeps the network's own, for other classes.

    Raises:
        InputError: the file is damaged, or lacks or has a tensor too many.
        ConfigError: a tensor has another shape.
    """
    expected = network.state_dict()
    found = read_weights(path)
    if not classifier:
        expected = _without_classifier(expected)
        found = _without_classifier(found)
    odd = sorted(expected.keys() ^ found.keys())
    if odd:
        msg = f"{path}: is no {network.common.name}; tensors of only one: {', '.join(odd[:5])}"
        raise InputError(msg)
    for name, tensor in found.items():
        if tensor.shape != expected[name].shape:
            msg = (
                f"{path}: {name} has shape {tuple(tensor.shape)}, "
                f"{tuple(expected[name].shape)} is needed"
            )
            raise ConfigError(msg)
    network.load_state_dict(found, strict=classifier)


def _without_classifier(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t for name, t in state.items() if not name.startswith(_CLASSIFIER)}
