"""Folders of transformers' XLNet models: config.json, weights, spiece.model; read and written."""

import json
import logging
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from pipeline.errors import InputError
from pipeline.shards.tokenizer import DESCRIPTION_FILE, MODEL_FILE, Tokenizer, TokenizerDescription
from pipeline.storage.digests import sha256_file
from pipeline.storage.files import replace_file
from pipeline.training.export import MODEL_FILE as WEIGHTS_FILE
from pipeline.training.export import read_weights, write_weights
from stages.xlnet.checkpoint import Shape, read_shape, write_shape
from stages.xlnet.config import ModelConfig
from stages.xlnet.names import weights_back, weights_there

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.json"
SPIECE_FILE = "spiece.model"
KEPT_CONFIG_FILE = "transformers.json"
"""In an imported CHECKPOINT: the config.json it came with, so that nothing of it is lost."""

_UNICODE = "3.2.0"
_BIN_FILE = "pytorch_model.bin"
_TIED = "lm_loss.weight"
_EMBEDDING = "transformer.word_embedding.weight"
_ACTIVATIONS = {
    "gelu": "gelu_erf",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
_PIECES = {
    "unk": "<unk>",
    "bos": "<s>",
    "eos": "</s>",
    "cls": "<cls>",
    "sep": "<sep>",
    "pad": "<pad>",
    "mask": "<mask>",
    "eod": "<eod>",
    "eop": "<eop>",
}
Activation = Literal["config", "gelu_tanh", "gelu_erf", "relu"]


class TheirConfig(BaseModel):
    """What of transformers' config.json decides what the model computes."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    model_type: Literal["xlnet"]
    vocab_size: int = Field(gt=0)
    d_model: int = Field(gt=0)
    n_layer: int = Field(gt=0)
    n_head: int = Field(gt=0)
    d_inner: int = Field(gt=0)
    ff_activation: Literal["gelu", "gelu_new", "gelu_pytorch_tanh", "relu"] = "gelu"
    attn_type: Literal["bi"] = "bi"
    clamp_len: Annotated[int, Field(le=0)] = -1
    same_length: Literal[False] | None = False
    layer_norm_eps: Annotated[float, Field(ge=1e-12, le=1e-12)] = 1e-12
    initializer_range: float = Field(0.02, gt=0)
    id2label: dict[int, str] | None = None

    def shape(self, activation: Activation) -> ModelConfig:
        """Ours; `activation` replaces theirs unless it is "config"."""
        own = _ACTIVATIONS[self.ff_activation] if activation == "config" else activation
        return ModelConfig.model_validate(
            {
                "num_layers": self.n_layer,
                "d_model": self.d_model,
                "num_heads": self.n_head,
                "d_inner": self.d_inner,
                "init_std": self.initializer_range,
                "activation": own,
            }
        )


def import_folder(
    source: Path, checkpoint: Path, tokenizer: Path, *, activation: Activation = "config"
) -> Shape:
    """Makes a CHECKPOINT(xlnet) and a TOKENIZER of a folder of transformers.

    Args:
        source: config.json, spiece.model, and model.safetensors or pytorch_model.bin, whole or in
            parts.
        checkpoint: folder for the weights; there.
        tokenizer: folder for the tokenizer; there.
        activation: what the feed-forward parts compute; "config" is what transformers computes.

    Raises:
        InputError: something is missing, damaged, or an option of transformers that XLNet as
            published does not have.
    """
    raw, config = _read_config(source / CONFIG_FILE)
    if activation == "config" and config.ff_activation == "gelu":
        logger.warning(
            "%s: ff_activation gelu is computed with erf, as transformers does; the released "
            "XLNet weights were trained with its tanh approximation: activation gelu_tanh",
            source,
        )
    model = config.shape(activation)
    size = import_tokenizer(source / SPIECE_FILE, tokenizer)
    if size != config.vocab_size:
        msg = f"{source}: {config.vocab_size} embeddings for {size} pieces of {SPIECE_FILE}"
        raise InputError(msg)
    theirs = _untied(source, _read_weights(source))
    ours = weights_back(theirs, model, "transformers")
    classes = None
    if "classifier.weight" in ours and len(ours["classifier.weight"]) > 1:
        labels = config.id2label or {}
        count = len(ours["classifier.weight"])
        classes = tuple(labels.get(i, f"LABEL_{i}") for i in range(count))
    shape = Shape(
        model=model,
        vocab_size=config.vocab_size,
        tokenizer=sha256_file(tokenizer / MODEL_FILE),
        classes=classes,
    )
    write_weights(checkpoint / WEIGHTS_FILE, ours, {})
    replace_file(checkpoint / KEPT_CONFIG_FILE, json.dumps(raw, indent=2).encode())
    write_shape(checkpoint, shape)
    return shape


def export_folder(
    checkpoint: Path,
    tokenizer: Path,
    target: Path,
    *,
    form: Literal["safetensors", "bin"] = "safetensors",
) -> None:
    """Makes a folder that transformers loads of a CHECKPOINT(xlnet) and its TOKENIZER.

    Args:
        checkpoint: the checkpoint.
        tokenizer: the tokenizer it was trained with.
        target: folder to fill; there.
        form: model.safetensors, or pytorch_model.bin for old readers.

    Raises:
        InputError: an input is damaged, or the checkpoint has a head that transformers lacks.
    """
    shape = read_shape(checkpoint)
    ours = read_weights(checkpoint / WEIGHTS_FILE)
    theirs = weights_there(ours, shape.model, "transformers")
    if not shape.model.untie_r:
        # transformers has biases in every layer; safetensors writes no tensor under two names.
        theirs = {name: tensor.clone() for name, tensor in theirs.items()}
    if form == "safetensors":
        write_weights(target / "model.safetensors", theirs, {})
    else:
        if "lm_loss.bias" in theirs:
            theirs[_TIED] = theirs[_EMBEDDING]
        torch.save(theirs, target / _BIN_FILE)
    config = _config_of(checkpoint, shape, ours)
    replace_file(target / CONFIG_FILE, (json.dumps(config, indent=2) + "\n").encode())
    shutil.copyfile(tokenizer / MODEL_FILE, target / SPIECE_FILE)
    normalisation = Tokenizer(tokenizer).description.normalisation
    settings = {
        "tokenizer_class": "XLNetTokenizer",
        "do_lower_case": normalisation.get("lower", False),
        "keep_accents": not normalisation.get("strip_accents", True),
    }
    replace_file(target / "tokenizer_config.json", json.dumps(settings, indent=2).encode())


def _read_weights(source: Path) -> dict[str, Tensor]:
    """Safetensors where there are any; a bin is unpickled as tensors alone, it runs no code."""
    for whole, reader in (("model.safetensors", read_weights), (_BIN_FILE, _read_bin)):
        if (source / whole).is_file():
            return reader(source / whole)
        index = source / f"{whole}.index.json"
        if index.is_file():
            return {k: t for part in _parts(index) for k, t in reader(source / part).items()}
    msg = f"{source}: neither model.safetensors nor {_BIN_FILE} in it"
    raise InputError(msg)


def _parts(index: Path) -> list[str]:
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as exc:
        msg = f"{index}: no readable index of weights: {exc}"
        raise InputError(msg) from exc
    odd = [name for name in names if not isinstance(name, str) or Path(name).name != name]
    if odd:
        msg = f"{index}: {odd[0]!r} is no name of a file beside it"
        raise InputError(msg)
    return names


def _read_bin(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as exc:
        msg = f"{path}: not a readable file of weights alone: {exc}"
        raise InputError(msg) from exc
    if not isinstance(loaded, dict) or not all(isinstance(t, Tensor) for t in loaded.values()):
        msg = f"{path}: is no mapping of names to tensors"
        raise InputError(msg)
    return loaded


def _untied(source: Path, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the output matrix, which is the embedding, and with prefixed names throughout."""
    if not any(name.startswith("transformer.") for name in theirs):  # a bare XLNetModel
        theirs = {f"transformer.{name}": tensor for name, tensor in theirs.items()}
    left = dict(theirs)
    tied = left.pop(_TIED, None)
    if tied is not None and not torch.equal(tied, left.get(_EMBEDDING, tied)):
        msg = f"{source}: {_TIED} is not the embedding, which XLNet's output matrix is"
        raise InputError(msg)
    return left


def import_tokenizer(model: Path, folder: Path) -> int:
    """Copies a sentencepiece model beside a description of it.

    Args:
        model: spiece.model.
        folder: the TOKENIZER; there.

    Returns:
        The number of pieces.

    Raises:
        InputError: it is missing, damaged, or lacks a special piece.
    """
    if not model.is_file():
        msg = f"{model}: is missing; a sentencepiece model belongs to every XLNet"
        raise InputError(msg)
    shutil.copyfile(model, folder / MODEL_FILE)
    pieces = Tokenizer.pieces_of(folder / MODEL_FILE)
    absent = [piece for piece in _PIECES.values() if piece not in pieces]
    if absent:
        msg = f"{model}: has no piece {absent[0]}, so it is no XLNet's"
        raise InputError(msg)
    description = TokenizerDescription(
        vocab_size=len(pieces),
        special={name: pieces.index(piece) for name, piece in _PIECES.items()},
        normalisation={"strip_accents": True, "lower": False},
        unicode=_UNICODE,
        num_sentences=0,
    )
    replace_file(folder / DESCRIPTION_FILE, description.model_dump_json(indent=1).encode())
    return len(pieces)


def _config_of(checkpoint: Path, shape: Shape, ours: Mapping[str, Tensor]) -> dict[str, Any]:
    """The config.json it came with, or that of a model trained here."""
    kept = checkpoint / KEPT_CONFIG_FILE
    if kept.is_file():
        raw, theirs = _read_config(kept)
        own = theirs.shape("config")
        if own == shape.model:
            return raw
        if own.model_copy(update={"activation": shape.model.activation}) == shape.model:
            return raw | {"ff_activation": _their_activation(shape.model)}
    model = shape.model
    config: dict[str, Any] = {
        "architectures": [_architecture(ours)],
        "model_type": "xlnet",
        "vocab_size": shape.vocab_size,
        "d_model": model.d_model,
        "n_layer": model.num_layers,
        "n_head": model.num_heads,
        "d_head": model.d_head,
        "d_inner": model.d_inner,
        "ff_activation": _their_activation(model),
        "untie_r": True,
        "attn_type": "bi",
        "bi_data": False,
        "clamp_len": -1,
        "same_length": False,
        "initializer_range": model.init_std,
        "layer_norm_eps": 1e-12,
        "dropout": 0.1,
        "mem_len": None,
        "reuse_len": None,
        "summary_type": "last",
        "summary_use_proj": True,
        "summary_activation": "tanh",
        "summary_last_dropout": 0.1,
        "start_n_top": 5,
        "end_n_top": 5,
    }
    if shape.classes is not None:
        config["id2label"] = {str(i): name for i, name in enumerate(shape.classes)}
        config["label2id"] = {name: i for i, name in enumerate(shape.classes)}
    elif "classifier.weight" in ours:
        config["num_labels"] = len(ours["classifier.weight"])
    return config


def _their_activation(model: ModelConfig) -> str:
    return {"gelu_tanh": "gelu_new", "gelu_erf": "gelu", "relu": "relu"}[model.activation]


def _read_config(path: Path) -> tuple[dict[str, Any], TheirConfig]:
    try:
        raw = json.loads(path.read_bytes())
        return raw, TheirConfig.model_validate(raw)
    except (OSError, ValueError, ValidationError) as exc:
        msg = f"{path}: no configuration of an XLNet that we can compute: {exc}"
        raise InputError(msg) from exc


def _architecture(ours: Mapping[str, Tensor]) -> str:
    if "start.weight" in ours:
        return "XLNetForQuestionAnswering"
    if "classifier.weight" in ours:
        return "XLNetForSequenceClassification"
    return "XLNetLMHeadModel" if "lm_head.bias" in ours else "XLNetModel"
