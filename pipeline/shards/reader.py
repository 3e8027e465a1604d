"""Reads token shards through their index: a slice of a mapped file, never a walk over a tar."""

import mmap
from bisect import bisect_right
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.shards.index import Member, Sample, id_dtype, read_indexes
from pipeline.shards.mapping import map_shard

TokenArray = NDArray[np.integer[Any]]
"""uint16 or int32 ids."""

_ScalarT = TypeVar("_ScalarT", bound=np.generic)


class TokenShards:
    """The tokens of one split as one long row, in the order of the units that wrote them.

    Opening checks the index and the size of every shard, not its content (`verify` does that).
    Arrays that lie in one member are views of the mapped file: read-only, and not copied.

    Attributes:
        folder: the artifact.
        split: the split that is read.
        splits: all splits of the artifact, sorted.
        sample_schema: "tokens" or "classified".
        vocab_size: every id is below it.
        tokenizer: sha256 of the tokenizer.model whose ids these are.
        class_names: label -> name; empty unless classified.
        num_tokens: length of the row.
        dtype: uint16 or int32.

    Raises:
        DataError: an index or shard is damaged, missing or too short; names file and offset.
    """

    def __init__(self, folder: Path, split: str = "train") -> None:
        indexes = read_indexes(folder)
        self.folder = folder
        self.split = split
        self.splits = tuple(sorted({s.split for index in indexes for s in index.shards}))
        self.sample_schema = indexes[0].sample_schema
        self.vocab_size = indexes[0].vocab_size
        self.tokenizer = indexes[0].tokenizer
        self.class_names = tuple(indexes[0].class_names)
        self.dtype = id_dtype(self.vocab_size)
        if split not in self.splits:
            msg = f"{folder}: no split {split!r}; it has {', '.join(self.splits) or 'none'}"
            raise DataError(msg)
        shards = [s for index in indexes for s in index.shards if s.split == split]
        self._samples = [
            _MappedSample(folder / shard.file, data, sample)
            for shard in shards
            for data in [map_shard(folder / shard.file, shard.size)]
            for sample in shard.samples
        ]
        self._ids: list[TokenArray] = [sample.array("ids", self.dtype) for sample in self._samples]
        self._memory = [ids.data.cast("B") for ids in self._ids]
        # Where each member begins in the row, and where the last one ends.
        self._bounds = np.cumsum([0, *(len(ids) for ids in self._ids)], dtype=np.int64)
        self._starts: list[int] = self._bounds[:-1].tolist()
        self.num_tokens = int(self._bounds[-1])

    @property
    def num_documents(self) -> int:
        """How many documents end in this split; a document may be empty."""
        return len(self.document_ends)

    @cached_property
    def document_ends(self) -> NDArray[np.int64]:
        """(documents,) index after the last token of each document, not falling."""
        return self._ends("document_ends", least_rise=0)

    @cached_property
    def sentence_ends(self) -> NDArray[np.int64]:
        """(sentences,) index after the last token of each sentence, rising."""
        return self._ends("sentence_ends", least_rise=1)

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """(documents,) index into `class_names`; only classified shards have labels.

        Raises:
            DataError: the shards have none, or too few, or one that names no class.
        """
        if self.sample_schema != "classified":
            msg = f"{self.folder}: shards of schema {self.sample_schema!r} have no labels"
            raise DataError(msg)
        parts = [sample.array("labels", np.dtype(np.int32)) for sample in self._samples]
        labels = np.concatenate(parts)
        if len(labels) != self.num_documents:
            msg = f"{self.folder}: {len(labels)} labels for {self.num_documents} documents"
            raise DataError(msg)
        for sample, part in zip(self._samples, parts, strict=True):
            bad = np.flatnonzero((part < 0) | (part >= len(self.class_names)))
            if len(bad):
                raise sample.error("labels", int(bad[0]), f"label {part[bad[0]]} names no class")
        return labels

    def tokens(self, start: int, stop: int) -> TokenArray:
        """(stop - start,) ids; a read-only view when they lie in one member.

        Raises:
            IndexError: not 0 <= start <= stop <= num_tokens.
        """
        if not 0 <= start <= stop <= self.num_tokens:
            msg = f"tokens {start}..{stop} of {self.num_tokens}"
            raise IndexError(msg)
        first = max(bisect_right(self._starts, start) - 1, 0)
        offset = self._starts[first] if self._starts else 0
        if not self._ids:
            return np.empty(0, self.dtype)
        ids = self._ids[first]
        if stop - offset <= len(ids):
            return ids[start - offset : stop - offset]
        parts = []
        for member in range(first, bisect_right(self._starts, stop - 1)):
            offset = self._starts[member]
            parts.append(self._ids[member][max(start - offset, 0) : stop - offset])
        return np.concatenate(parts)

    def document(self, i: int) -> TokenArray:
        """(tokens,) ids of document `i`, 0 <= i < num_documents."""
        start = int(self.document_ends[i - 1]) if i else 0
        return self.tokens(start, int(self.document_ends[i]))

    def rows(self, starts: NDArray[np.int64], length: int) -> TokenArray:
        """(len(starts), length) ids: for each start the next `length` tokens; always a copy.

        Raises:
            IndexError: a row begins before the first or ends after the last token.
        """
        if not len(starts) or not length:
            return np.empty((len(starts), length), self.dtype)
        itemsize = self.dtype.itemsize
        members = np.searchsorted(self._bounds[:-1], starts, side="right") - 1
        begins = ((starts - self._bounds[members]) * itemsize).tolist()
        size = length * itemsize
        memory = self._memory
        # Slices of memory joined at once: numpy's own slicing and concatenation take twice as
        # long, fancy indexing a member at a time more still, as a batch lies in many members.
        parts = [
            memory[member][begin : begin + size]
            for member, begin in zip(members.tolist(), begins, strict=True)
        ]
        ends = starts + length
        beyond = ends > self._bounds[members + 1]
        if members.min() < 0 or beyond.any():
            for row in np.flatnonzero(beyond | (members < 0)).tolist():
                parts[row] = self.tokens(int(starts[row]), int(ends[row])).data
        return np.frombuffer(bytearray().join(parts), self.dtype).reshape(len(starts), length)

    def _ends(self, name: str, *, least_rise: int) -> NDArray[np.int64]:
        parts = []
        for sample, start, ids in zip(self._samples, self._starts, self._ids, strict=True):
            ends = sample.array(name, np.dtype(np.int64))
            steps = np.diff(ends, prepend=0)
            bad = np.flatnonzero((steps < least_rise) | (ends > len(ids)))
            if len(bad):
                raise sample.error(name, int(bad[0]), f"{ends[bad[0]]} is out of order or range")
            parts.append(ends + start)
        return np.concatenate(parts) if parts else np.empty(0, np.int64)


class _MappedSample:
    """The members of one sample in a mapped shard."""

    def __init__(self, path: Path, data: mmap.mmap, sample: Sample) -> None:
        self._path = path
        self._data = data
        self._sample = sample

    def array(self, name: str, dtype: np.dtype[_ScalarT]) -> NDArray[_ScalarT]:
        member = self._member(name)
        if member.dtype != dtype.name:
            raise self.error(name, 0, f"elements are {member.dtype}, not {dtype.name}")
        return np.frombuffer(self._data, dtype, member.count, member.payload)

    def error(self, name: str, element: int, what: str) -> DataError:
        member = self._member(name)
        offset = member.payload + element * np.dtype(member.dtype).itemsize
        return DataError(f"{self._path}: offset {offset}: {self._sample.key}.{name}.npy: {what}")

    def _member(self, name: str) -> Member:
        member = self._sample.members.get(f"{name}.npy")
        if member is None:
            msg = f"{self._path}: the index has no {name}.npy of {self._sample.key}"
            raise DataError(msg)
        return member
