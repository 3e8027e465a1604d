"""The released XLNet checkpoints: TensorFlow's files read without TensorFlow, and its names.

A checkpoint is a sorted table `PREFIX.index`, which says of each variable where in the files
`PREFIX.data-?????-of-?????` it lies. Only variables are read, nothing is executed.
"""

import json
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import InputError
from pipeline.shards.tokenizer import MODEL_FILE
from pipeline.storage.digests import sha256_file
from pipeline.training.export import MODEL_FILE as WEIGHTS_FILE
from pipeline.training.export import read_weights, write_weights
from stages.xlnet.checkpoint import Shape, read_shape, write_shape
from stages.xlnet.config import ModelConfig
from stages.xlnet.names import shared_biases, weights_back, weights_there
from stages.xlnet.transformers_folder import SPIECE_FILE, import_tokenizer

CONFIG_FILE = "xlnet_config.json"
_MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
_FOOTER_BYTES = 48
_DTYPES: Mapping[int, str] = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}
"""TensorFlow's number of a type -> numpy's name; others no XLNet has."""
_SKIPPED = ("/adam_m", "/adam_v", "/Adam", "/Adam_1", "global_step", "beta1_power", "beta2_power")


class _TheirConfig(BaseModel):
    """xlnet_config.json."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    d_model: int = Field(gt=0)
    d_inner: int = Field(gt=0)
    n_head: int = Field(gt=0)
    n_layer: int = Field(gt=0)
    n_token: int = Field(gt=0)
    untie_r: bool
    ff_activation: str = "gelu"

    def shape(self) -> ModelConfig:
        return ModelConfig.model_validate(
            {
                "num_layers": self.n_layer,
                "d_model": self.d_model,
                "num_heads": self.n_head,
                "d_inner": self.d_inner,
                "untie_r": self.untie_r,
                # What is called gelu there is computed with tanh.
                "activation": {"gelu": "gelu_tanh"}.get(self.ff_activation, self.ff_activation),
            }
        )


def import_released(prefix: Path, checkpoint: Path, tokenizer: Path) -> Shape:
    """Makes a CHECKPOINT(xlnet) and a TOKENIZER of a released model.

    Args:
        prefix: FOLDER/xlnet_model.ckpt, what comes before .index; or an .npz file with the same
            names. xlnet_config.json and spiece.model lie beside it.
        checkpoint: folder for the weights; there.
        tokenizer: folder for the tokenizer; there.

    Raises:
        InputError: something is missing or damaged, or has a name that no XLNet has.
    """
    config = _read_config(prefix.with_name(CONFIG_FILE))
    model = config.shape()
    variables = _read_npz(prefix) if prefix.suffix == ".npz" else read_variables(prefix)
    tensors = {
        name: torch.from_numpy(array)
        for name, array in variables.items()
        if not name.endswith(_SKIPPED)
    }
    ours = weights_back(tensors, model, "tensorflow")
    size = import_tokenizer(prefix.with_name(SPIECE_FILE), tokenizer)
    if not size == config.n_token == len(ours.get("backbone.embed.weight", ())):
        msg = f"{prefix}: {config.n_token} embeddings for {size} pieces of {SPIECE_FILE}"
        raise InputError(msg)
    shape = Shape(
        model=model, vocab_size=size, tokenizer=sha256_file(tokenizer / MODEL_FILE), classes=None
    )
    write_weights(checkpoint / WEIGHTS_FILE, ours, shared_biases(model))
    write_shape(checkpoint, shape)
    return shape


def export_variables(checkpoint: Path, file: Path) -> None:
    """Writes a checkpoint's weights under the released names, as an .npz file.

    Raises:
        InputError: the checkpoint is damaged.
    """
    shape = read_shape(checkpoint)
    there = weights_there(read_weights(checkpoint / WEIGHTS_FILE), shape.model, "tensorflow")
    temporary = file.with_name(f".{file.name}.tmp")
    with temporary.open("wb") as out:
        np.savez(out, allow_pickle=False, **{name: t.numpy() for name, t in there.items()})
    temporary.replace(file)


def read_variables(prefix: Path) -> dict[str, NDArray[Any]]:
    """Every variable of a checkpoint in TensorFlow's second format.

    Raises:
        InputError: a file is missing, cut short or of another format.
    """
    index = prefix.with_name(f"{prefix.name}.index")
    try:
        entries = dict(_table(index.read_bytes()))
        num_shards = _number(_message(entries.pop(b"")), 1)
        found = {}
        for key, value in entries.items():
            entry = _Entry.parse(value)
            data = prefix.with_name(f"{prefix.name}.data-{entry.shard:05d}-of-{num_shards:05d}")
            found[key.decode()] = entry.read(data)
    except (OSError, ValueError, KeyError, IndexError, struct.error) as exc:
        msg = f"{index}: no readable checkpoint of TensorFlow: {exc!r}"
        raise InputError(msg) from exc
    return found


@dataclass(frozen=True)
class _Entry:
    """Where a variable lies."""

    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int

    @classmethod
    def parse(cls, raw: bytes) -> "_Entry":
        fields = _message(raw)
        shape = _message(fields.get(2, [b""])[0])
        return cls(
            dtype=_DTYPES[_number(fields, 1)],
            shape=tuple(_number(_message(dim), 1) for dim in shape.get(2, [])),
            shard=_number(fields, 3),
            offset=_number(fields, 4),
            size=_number(fields, 5),
        )

    def read(self, path: Path) -> NDArray[Any]:
        with path.open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        array = np.frombuffer(data, self.dtype)
        if array.size != int(np.prod(self.shape)):
            msg = f"{path} holds {array.size} numbers of a variable of shape {self.shape}"
            raise ValueError(msg)
        return array.reshape(self.shape).copy()


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a sorted string table, as LevelDB writes them."""
    footer = data[-_FOOTER_BYTES:]
    if footer[-8:] != _MAGIC:
        msg = "not a sorted string table"
        raise ValueError(msg)
    _, place = _varint(footer, 0)  # the meta index is not needed
    _, place = _varint(footer, place)
    offset, place = _varint(footer, place)
    size, _ = _varint(footer, place)
    for _, handle in _block(data, offset, size):
        begin, place = _varint(handle, 0)
        yield from _block(data, begin, _varint(handle, place)[0])


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    if data[offset + size]:
        msg = f"a block is compressed in a way ({data[offset + size]}) that is not read here"
        raise ValueError(msg)
    block = data[offset : offset + size]
    (num_restarts,) = struct.unpack_from("<I", block, size - 4)
    end = size - 4 * (num_restarts + 1)
    place, key = 0, b""
    while place < end:
        shared, place = _varint(block, place)
        own, place = _varint(block, place)
        length, place = _varint(block, place)
        key = key[:shared] + block[place : place + own]
        place += own
        yield key, block[place : place + length]
        place += length


def _message(raw: bytes) -> dict[int, list[Any]]:
    """Fields of a protocol buffer by number: integers, or bytes of what has a length."""
    fields: dict[int, list[Any]] = {}
    place = 0
    while place < len(raw):
        tag, place = _varint(raw, place)
        kind = tag & 7
        value: int | bytes
        if kind == 0:
            value, place = _varint(raw, place)
        elif kind == 2:
            length, place = _varint(raw, place)
            value, place = raw[place : place + length], place + length
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
            value, place = raw[place : place + length], place + length
        else:
            msg = f"field of kind {kind}"
            raise ValueError(msg)
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _number(fields: Mapping[int, list[Any]], field: int) -> int:
    return int(fields.get(field, [0])[-1])


def _varint(raw: bytes, place: int) -> tuple[int, int]:
    """(value, next place)."""
    value = shift = 0
    while True:
        byte = raw[place]
        value |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return value, place
        shift += 7


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as exc:
        msg = f"{path}: no readable .npz of arrays: {exc}"
        raise InputError(msg) from exc


def _read_config(path: Path) -> _TheirConfig:
    try:
        return _TheirConfig.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError, ValidationError) as exc:
        msg = f"{path}: no configuration of a released XLNet: {exc}"
        raise InputError(msg) from exc
