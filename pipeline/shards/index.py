"""The index beside the shards: which member lies where, how long it is and what it hashes to."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import DataError

SPLIT_NAME = re.compile(r"[a-z][a-z0-9_]*")
"""What a split may be called; it begins the name of its shard files."""

_SHARD_FILE = r"^[a-z][a-z0-9_]*-\d{5,}\.tar$"
_SHA256 = r"^[0-9a-f]{64}$"
_Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Member(_Part):
    """One file inside a shard: a one-dimensional array in numpy's .npy format.

    Attributes:
        offset: where the member's data begins, in bytes from the start of the shard.
        size: bytes of the member's data, the .npy header included.
        crc32: checksum of those bytes; tells which member of a damaged shard is at fault.
        dtype: element type.
        count: number of elements; they are the last bytes of the member.
    """

    offset: _Count
    size: _Count
    crc32: _Count
    dtype: Literal["uint16", "int32", "int64"]
    count: _Count

    @property
    def payload(self) -> int:
        """Where the elements begin, in bytes from the start of the shard."""
        return self.offset + self.size - self.count * np.dtype(self.dtype).itemsize

    @model_validator(mode="after")
    def _elements_fit(self) -> Self:
        if self.payload < self.offset:
            msg = f"{self.count} elements of {self.dtype} do not fit into {self.size} bytes"
            raise ValueError(msg)
        return self


class Sample(_Part):
    """The members with one key, by extension ("ids.npy"); webdataset calls this a sample too."""

    key: str
    members: dict[str, Member]


class Shard(_Part):
    """One tar file."""

    file: str = Field(pattern=_SHARD_FILE)
    split: str
    size: _Count
    sha256: str = Field(pattern=_SHA256)
    samples: list[Sample]

    @model_validator(mode="after")
    def _members_lie_inside(self) -> Self:
        for sample in self.samples:
            for extension, member in sample.members.items():
                if member.offset + member.size > self.size:
                    msg = f"{sample.key}.{extension} ends after the {self.size} bytes of the shard"
                    raise ValueError(msg)
        return self


class UnitIndex(_Part):
    """What the index files of all schemas say.

    Attributes:
        common: fields that are the same in all index files of an artifact.
        format: version of this layout.
        sample_schema: the schema of the artifact.
        unit, num_units: which unit of work this is, and of how many; all must be there.
        class_names: label -> name; empty unless the samples have labels.
    """

    common: ClassVar[tuple[str, ...]] = ("sample_schema", "num_units", "class_names")

    format: Literal[1] = 1
    sample_schema: str
    unit: _Count
    num_units: int = Field(gt=0)
    class_names: list[str]


class Index(UnitIndex):
    """What one unit of work wrote of token shards: the content of an index file.

    Attributes:
        vocab_size: every token id is below it.
        tokenizer: sha256 of the tokenizer.model whose ids these are.
        shards: the unit's tar files, at most one a split.
    """

    common = ("sample_schema", "num_units", "vocab_size", "tokenizer", "class_names")

    sample_schema: Literal["tokens", "classified"]
    vocab_size: int = Field(gt=0)
    tokenizer: str = Field(pattern=_SHA256)
    shards: list[Shard]


_IndexT = TypeVar("_IndexT", bound=UnitIndex)


def id_dtype(vocab_size: int) -> np.dtype[np.integer[Any]]:
    """What ids below `vocab_size` are stored as: uint16 where it is enough, else int32."""
    return np.dtype(np.uint16) if vocab_size <= 1 << 16 else np.dtype(np.int32)


def index_file(unit: int) -> str:
    """Name of a unit's index file."""
    return f"index-{unit:05d}.json"


def shard_file(split: str, unit: int) -> str:
    """Name of a unit's shard of one split."""
    return f"{split}-{unit:05d}.tar"


def read_indexes(folder: Path) -> list[Index]:
    """The index files of token shards, as `read_unit_indexes` gives them."""
    return read_unit_indexes(folder, Index)


def schema_of(folder: Path) -> str:
    """The schema that an artifact's first index names: "tokens", "classified" or "images".

    Raises:
        DataError: there is no readable index.
    """
    first = _read(min(_index_paths(folder), default=folder / index_file(0)), _AnyIndex)
    return first.sample_schema


def read_unit_indexes(folder: Path, model: type[_IndexT]) -> list[_IndexT]:
    """All index files of an artifact in the order of their units, checked against one another.

    Args:
        folder: the artifact.
        model: how its schema's index files look.

    Raises:
        DataError: none is there, one is damaged or missing, or they do not belong together.
    """
    indexes = sorted(
        (_read(path, model) for path in _index_paths(folder)), key=lambda index: index.unit
    )
    if not indexes:
        msg = f"{folder}: no index-*.json, so this is no folder of shards"
        raise DataError(msg)
    first = indexes[0]
    for index in indexes:
        for name in model.common:
            if getattr(index, name) != getattr(first, name):
                msg = (
                    f"{folder / index_file(index.unit)}: {name} is {getattr(index, name)!r}, but "
                    f"{getattr(first, name)!r} in {index_file(first.unit)}"
                )
                raise DataError(msg)
    units = {index.unit for index in indexes}
    missing = next((unit for unit in range(first.num_units) if unit not in units), None)
    if missing is not None or len(indexes) != first.num_units:
        what = f"{index_file(missing)} is missing" if missing is not None else "one is too much"
        msg = f"{folder}: {len(indexes)} index files for {first.num_units} units; {what}"
        raise DataError(msg)
    return indexes


def _index_paths(folder: Path) -> Iterator[Path]:
    return folder.glob("index-*.json")


class _AnyIndex(UnitIndex):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


def _read(path: Path, model: type[_IndexT]) -> _IndexT:
    try:
        index = model.model_validate_json(path.read_bytes())
    except OSError as exc:
        msg = f"{path}: not readable: {exc.strerror}"
        raise DataError(msg) from exc
    except ValidationError as exc:
        error = exc.errors(include_url=False)[0]
        where = ".".join(str(part) for part in error["loc"])
        msg = f"{path}: damaged index: {where or 'file'}: {error['msg']}"
        raise DataError(msg) from exc
    if path.name != index_file(index.unit):
        msg = f"{path}: says it is the index of unit {index.unit}"
        raise DataError(msg)
    return index
