"""What lies beside the weights of a CHECKPOINT(xlnet), and how a backbone is taken out of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from pipeline.errors import ConfigError, InputError
from pipeline.storage.files import replace_file
from pipeline.training.export import MODEL_FILE, read_weights
from stages.xlnet.config import ModelConfig
from stages.xlnet.model import Backbone

CONFIG_FILE = "config.json"
_PREFIX = "backbone."


class Shape(BaseModel):
    """What rebuilds the model, dropout left out.

    Attributes:
        model: shape of the backbone.
        vocab_size: pieces of the tokenizer.
        tokenizer: sha256 of its tokenizer.model.
        classes: names of the classes of a classifier; None for a language model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelConfig
    vocab_size: int = Field(gt=0)
    tokenizer: str = Field(pattern=r"^[0-9a-f]{64}$")
    classes: tuple[str, ...] | None = None


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Literal["xlnet"] = "xlnet"
    config: Shape


def write_shape(folder: Path, shape: Shape) -> None:
    """Writes config.json; once, by rank 0."""
    content = _File(config=shape).model_dump_json(indent=1)
    replace_file(folder / CONFIG_FILE, content.encode())


def read_shape(folder: Path) -> Shape:
    """Reads config.json.

    Raises:
        InputError: it is missing, damaged or that of another family.
    """
    path = folder / CONFIG_FILE
    try:
        return _File.model_validate(json.loads(path.read_bytes())).config
    except (OSError, ValueError, ValidationError) as exc:
        msg = f"{path}: no readable configuration of an XLNet checkpoint: {exc}"
        raise InputError(msg) from exc


def load_backbone(backbone: Backbone, folder: Path) -> None:
    """Fills a backbone with the weights of a checkpoint, whatever head they were trained with.

    Raises:
        InputError: the file is damaged or lacks a weight.
        ConfigError: a weight has another shape.
    """
    path = folder / MODEL_FILE
    weights = {
        name.removeprefix(_PREFIX): tensor
        for name, tensor in read_weights(path).items()
        if name.startswith(_PREFIX)
    }
    expected = backbone.state_dict()
    odd = sorted(expected.keys() ^ weights.keys())
    if odd:
        msg = f"{path}: is not an XLNet of this shape; weights of only one: {', '.join(odd[:5])}"
        raise InputError(msg)
    _check_shapes(path, weights, expected)
    backbone.load_state_dict(weights)


def _check_shapes(
    path: Path, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> None:
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            msg = (
                f"{path}: {name} has shape {tuple(tensor.shape)}, "
                f"{tuple(expected[name].shape)} is needed"
            )
            raise ConfigError(msg)
