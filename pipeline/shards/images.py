"""Image shards: encoded pictures in tars, read one by one through their index; decodes nothing."""

import mmap
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.errors import DataError
from pipeline.shards.index import UnitIndex, read_unit_indexes
from pipeline.shards.mapping import map_shard

IMAGE_SUFFIXES = ("jpg", "png", "webp")
"""How a sample's picture may be encoded; it is the member's extension in the tar."""

_OPEN_FILES = 256
"""Mapped shards at a time: a file descriptor each, and ImageNet has over a thousand shards."""

_Count = Annotated[int, Field(ge=0)]


class ImageShard(BaseModel):
    """One tar of pictures; a picture is one place in each list.

    Attributes:
        offsets, sizes, crc32s: the bytes of each picture in the tar.
        labels: number of each picture's class; empty where there are no classes.
        names: what each picture was called in its source.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    file: str = Field(pattern=r"^[a-z][a-z0-9_]*-\d{5,}\.tar$")
    split: str
    size: _Count
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    offsets: list[_Count]
    sizes: list[_Count]
    crc32s: list[_Count]
    labels: list[_Count]
    names: list[str]

    @model_validator(mode="after")
    def _lists_fit(self) -> Self:
        count = len(self.offsets)
        for name in ("sizes", "crc32s", "names", "labels"):
            length = len(getattr(self, name))
            if length != count and not (name == "labels" and length == 0):
                msg = f"{length} {name} for {count} pictures of {self.file}"
                raise ValueError(msg)
        for offset, size, name in zip(self.offsets, self.sizes, self.names, strict=True):
            if offset + size > self.size:
                msg = f"{name} ends after the {self.size} bytes of {self.file}"
                raise ValueError(msg)
        return self


class ImageIndex(UnitIndex):
    """What one unit of work wrote: the content of an index file.

    Attributes:
        skipped: names of sources that were no readable picture and were left out.
        shards: the unit's tar files, at most one a split.
    """

    sample_schema: Literal["images"] = "images"
    skipped: list[str] = Field(default_factory=list)
    shards: list[ImageShard]

    @model_validator(mode="after")
    def _labels_name_classes(self) -> Self:
        for shard in self.shards:
            if bool(self.class_names) != bool(shard.labels) and shard.offsets:
                msg = f"{shard.file}: labels go with class_names"
                raise ValueError(msg)
            if max(shard.labels, default=-1) >= len(self.class_names):
                msg = f"{shard.file}: label {max(shard.labels)} names no class"
                raise ValueError(msg)
        return self


class ImageShards:
    """The pictures of one split in the order of the units that wrote them.

    Opening reads the index alone; a shard is mapped when a picture of it is first asked for. Safe
    for several threads.

    Attributes:
        folder: the artifact.
        split: the split that is read.
        splits: all splits of the artifact, sorted.
        class_names: label -> name; empty where there are no labels.

    Raises:
        DataError: an index is damaged or missing, or there is no such split.
    """

    def __init__(self, folder: Path, split: str = "train") -> None:
        indexes = read_unit_indexes(folder, ImageIndex)
        self.folder = folder
        self.split = split
        self.splits = tuple(sorted({s.split for index in indexes for s in index.shards}))
        self.class_names = tuple(indexes[0].class_names)
        if split not in self.splits:
            msg = f"{folder}: no split {split!r}; it has {', '.join(self.splits) or 'none'}"
            raise DataError(msg)
        self._shards = [s for index in indexes for s in index.shards if s.split == split]
        ends = np.cumsum([len(shard.offsets) for shard in self._shards])
        self._starts: list[int] = [0, *ends[:-1].tolist()]
        self._length = int(ends[-1])
        self._maps: OrderedDict[int, mmap.mmap] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return self._length

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(pictures,) index into `class_names`.

        Raises:
            DataError: the shards have no labels.
        """
        if not self.class_names:
            msg = f"{self.folder}: these pictures have no labels; set label: in data_prep.images"
            raise DataError(msg)
        return np.concatenate([np.array(shard.labels, np.int64) for shard in self._shards])

    @cached_property
    def names(self) -> Sequence[str]:
        """What each picture was called in its source."""
        return [name for shard in self._shards for name in shard.names]

    def encoded(self, i: int) -> memoryview:
        """The file of picture `i`, 0 <= i < len(self): a view of the mapped shard.

        Raises:
            DataError: the shard is missing or cut off.
        """
        number, place = self._place(i)
        shard = self._shards[number]
        offset = shard.offsets[place]
        return memoryview(self._map(number))[offset : offset + shard.sizes[place]]

    def broken(self, i: int, why: str) -> DataError:
        """The error for a picture that cannot be decoded: names shard, offset and source."""
        number, place = self._place(i)
        shard = self._shards[number]
        intact = zlib.crc32(self.encoded(i)) == shard.crc32s[place]
        what = why if intact else f"not what was written ({why})"
        path = self.folder / shard.file
        return DataError(f"{path}: offset {shard.offsets[place]}: {shard.names[place]}: {what}")

    def check(self) -> None:
        """Compares the bytes of every picture with the index.

        Raises:
            DataError: one differs; names shard, offset and source.
        """
        for i in range(len(self)):
            number, place = self._place(i)
            if zlib.crc32(self.encoded(i)) != self._shards[number].crc32s[place]:
                raise self.broken(i, "its checksum differs")

    def _place(self, i: int) -> tuple[int, int]:
        if not 0 <= i < self._length:
            msg = f"picture {i} of {self._length}"
            raise IndexError(msg)
        number = bisect_right(self._starts, i) - 1
        while not self._shards[number].offsets:  # units without a picture of this split
            number -= 1
        return number, i - self._starts[number]

    def _map(self, number: int) -> mmap.mmap:
        with self._lock:
            data = self._maps.get(number)
            if data is None:
                shard = self._shards[number]
                data = map_shard(self.folder / shard.file, shard.size)
                self._maps[number] = data
                if len(self._maps) > _OPEN_FILES:
                    # Whoever still reads from it holds a view, which keeps the mapping alive.
                    self._maps.popitem(last=False)
            return data
