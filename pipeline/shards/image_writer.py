"""Writes image shards: a tar a split that webdataset reads too, and the index last."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.shards.images import IMAGE_SUFFIXES, ImageIndex, ImageShard
from pipeline.shards.index import SPLIT_NAME, index_file, shard_file
from pipeline.shards.tar import TarWriter
from pipeline.storage.files import replace_file


@dataclass
class _Split:
    """A tar that is being written, and the columns of its index."""

    file: TarWriter
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    crc32s: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


class ImageShardWriter:
    """Writes what one unit of work yields; an exception inside `with` leaves no file behind.

    A sample of the tar is `<key>.<suffix>` and, with classes, `<key>.cls`: the class's number in
    digits, as webdataset expects it.

    Args:
        folder: where the files go; must exist.
        class_names: label -> name; empty for pictures without labels.
        unit, num_units: which of how many units of work this is; they name the files.
    """

    def __init__(
        self, folder: Path, *, class_names: Sequence[str] = (), unit: int = 0, num_units: int = 1
    ) -> None:
        self._folder = folder
        self._class_names = list(class_names)
        self._unit = unit
        self._num_units = num_units
        self._skipped: list[str] = []
        self._splits: dict[str, _Split] = {}

    def add(
        self,
        split: str,
        data: bytes | memoryview,
        *,
        suffix: str,
        name: str,
        label: int | None = None,
    ) -> None:
        """Adds one encoded picture.

        Args:
            split: where it belongs, e.g. "train".
            data: the file's bytes.
            suffix: one of `IMAGE_SUFFIXES`, how they are encoded.
            name: of its source, for errors and predictions.
            label: number of its class; None exactly where there are no classes.

        Raises:
            ValueError: the split, suffix or label is none that there is.
        """
        if suffix not in IMAGE_SUFFIXES:
            msg = f"{name}: suffix {suffix!r} is none of {', '.join(IMAGE_SUFFIXES)}"
            raise ValueError(msg)
        num_classes = len(self._class_names)
        if (label is None) != (num_classes == 0) or not 0 <= (label or 0) < max(num_classes, 1):
            msg = f"{name}: label {label} with {num_classes} classes"
            raise ValueError(msg)
        target = self._split(split)
        key = f"{self._unit:05d}-{len(target.names):06d}"
        target.offsets.append(target.file.write_member(f"{key}.{suffix}", data))
        target.sizes.append(len(data))
        target.crc32s.append(zlib.crc32(data))
        target.names.append(name)
        if label is not None:
            target.file.write_member(f"{key}.cls", str(label).encode())
            target.labels.append(label)

    def skip(self, name: str) -> None:
        """Notes a source that was left out because it is no readable picture."""
        self._skipped.append(name)

    def close(self) -> ImageIndex:
        """Finishes the tars and writes the index last."""
        shards = []
        for name, split in sorted(self._splits.items()):
            size, sha256 = split.file.finish()
            shards.append(
                ImageShard(
                    file=shard_file(name, self._unit),
                    split=name,
                    size=size,
                    sha256=sha256,
                    offsets=split.offsets,
                    sizes=split.sizes,
                    crc32s=split.crc32s,
                    labels=split.labels,
                    names=split.names,
                )
            )
        index = ImageIndex(
            unit=self._unit,
            num_units=self._num_units,
            class_names=self._class_names,
            skipped=self._skipped,
            shards=shards,
        )
        content = index.model_dump_json().encode()
        replace_file(self._folder / index_file(self._unit), content, durable=False)
        return index

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._discard()
            return
        try:
            self.close()
        except BaseException:
            self._discard()
            raise

    def _discard(self) -> None:
        for split in self._splits.values():
            split.file.discard()

    def _split(self, split: str) -> _Split:
        if split not in self._splits:
            if not SPLIT_NAME.fullmatch(split):
                msg = f"split {split!r}: a split is called like train or test_2"
                raise ValueError(msg)
            path = self._folder / shard_file(split, self._unit)
            self._splits[split] = _Split(TarWriter(path))
        return self._splits[split]
