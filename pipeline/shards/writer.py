"""Writes token shards: packed ids with the ends of documents and sentences, one tar a split."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.shards.index import SPLIT_NAME, Index, Shard, id_dtype, index_file, shard_file
from pipeline.shards.tar import ShardFile
from pipeline.storage.files import replace_file

MEMBER_TOKENS = 1 << 22
"""Tokens after which a member is written: 8 or 16 MB, so memory stays small for any corpus."""


@dataclass
class _Split:
    """What of one split is not yet in its file; ends count from the first pending token."""

    file: ShardFile
    ids: list[NDArray[np.generic]] = field(default_factory=list)
    document_ends: list[NDArray[np.int64]] = field(default_factory=list)
    sentence_ends: list[NDArray[np.int64]] = field(default_factory=list)
    labels: list[NDArray[np.int32]] = field(default_factory=list)
    num_pending: int = 0
    num_members: int = 0


def joined_ends(*ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """The ends in any of some rising arrays, rising, each once, without an end at 0."""
    last = max((int(array[-1]) for array in ends if len(array)), default=0)
    # Marks in a row of tokens: a tenth of the time that sorting them takes.
    is_end = np.zeros(last + 1, bool)
    for array in ends:
        is_end[array] = True
    is_end[0] = False
    return np.flatnonzero(is_end)


class TokenShardWriter:
    """Writes what one unit of work yields, and its index last.

    The bytes depend on the documents alone, not on how they were grouped into calls. An exception
    inside the `with` block leaves no file behind.

        with TokenShardWriter(folder, vocab_size=100, tokenizer=sha256) as writer:
            writer.add("train", [5, 6, 7, 8], sentence_ends=[2])

    Args:
        folder: where the files go; must exist.
        vocab_size: ids are below it; up to 65,536 they take two bytes, above four.
        tokenizer: sha256 of the tokenizer.model whose ids they are.
        class_names: label -> name; given, the schema is "classified" and each document has a label.
        unit, num_units: which of how many units of work this is; they name the files.
    """

    def __init__(
        self,
        folder: Path,
        *,
        vocab_size: int,
        tokenizer: str,
        class_names: Sequence[str] | None = None,
        unit: int = 0,
        num_units: int = 1,
    ) -> None:
        self._folder = folder
        self._vocab_size = vocab_size
        self._tokenizer = tokenizer
        self._class_names = None if class_names is None else list(class_names)
        self._unit = unit
        self._num_units = num_units
        self._dtype = id_dtype(vocab_size)
        self._splits: dict[str, _Split] = {}

    def add(
        self,
        split: str,
        ids: ArrayLike,
        *,
        sentence_ends: ArrayLike = (),
        label: int | None = None,
    ) -> None:
        """Adds one document: (tokens,) ids, and where its sentences end, counted from its start."""
        array = np.asarray(ids)
        self.add_packed(
            split,
            array,
            document_ends=np.array([len(array)], np.int64),
            sentence_ends=np.asarray(sentence_ends, np.int64),
            labels=None if label is None else np.array([label], np.int32),
        )

    def add_packed(
        self,
        split: str,
        ids: NDArray[np.generic],
        *,
        document_ends: NDArray[np.int64],
        sentence_ends: NDArray[np.int64],
        labels: NDArray[np.int32] | None = None,
    ) -> None:
        """Adds many documents at once, or a piece of a long one.

        Args:
            split: where they belong, e.g. "train".
            ids: (tokens,) integer ids of all documents, one after the other.
            document_ends: (documents,) index into `ids` after each document's last token; tokens
                after the last end belong to a document that a later call goes on with.
            sentence_ends: (sentences,) the same for sentences, strictly rising; the end of a
                document is the end of a sentence too and need not be named.
            labels: (documents,) class of each document that ends here.

        Raises:
            ValueError: an id is not below `vocab_size`, a label names no class, or ends do not
                rise or lie outside.
        """
        self._check(ids, document_ends, sentence_ends, labels)
        pending = self._pending(split)
        pending.ids.append(ids.astype(self._dtype))
        pending.document_ends.append(document_ends + pending.num_pending)
        pending.sentence_ends.append(sentence_ends + pending.num_pending)
        if labels is not None:
            pending.labels.append(labels.astype(np.int32))
        pending.num_pending += len(ids)
        while pending.num_pending > MEMBER_TOKENS:
            self._write_member(pending, MEMBER_TOKENS)

    def close(self) -> Index:
        """Writes what is pending, finishes the tars and writes the index last.

        Raises:
            ValueError: the last document of a split has no end.
        """
        shards: list[Shard] = []
        for name, split in sorted(self._splits.items()):
            ends = [int(ends[-1]) for ends in split.document_ends if len(ends)]
            if split.num_pending != (ends[-1] if ends else 0):
                msg = f"unit {self._unit}: the last document of split {name!r} has no end"
                raise ValueError(msg)
            if split.num_pending or any(len(ends) for ends in split.document_ends):
                self._write_member(split, split.num_pending)
            shards.append(split.file.close())
        index = Index(
            sample_schema="tokens" if self._class_names is None else "classified",
            unit=self._unit,
            num_units=self._num_units,
            vocab_size=self._vocab_size,
            tokenizer=self._tokenizer,
            class_names=self._class_names or [],
            shards=shards,
        )
        replace_file(
            self._folder / index_file(self._unit), index.model_dump_json().encode(), durable=False
        )
        return index

    def discard(self) -> None:
        """Removes the unfinished files."""
        for split in self._splits.values():
            split.file.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self.discard()
            return
        try:
            self.close()
        except BaseException:
            self.discard()
            raise

    def _pending(self, split: str) -> _Split:
        if split not in self._splits:
            if not SPLIT_NAME.fullmatch(split):
                msg = f"split {split!r}: a split is called like train or test_2"
                raise ValueError(msg)
            path = self._folder / shard_file(split, self._unit)
            self._splits[split] = _Split(ShardFile(path, split))
        return self._splits[split]

    def _write_member(self, split: _Split, num_tokens: int) -> None:
        """Writes the first `num_tokens` pending tokens with all ends that lie within them.

        An end exactly at the cut belongs to this member. Members are written once a token after
        the cut is there, so all ends at the cut are known, however the calls were grouped.
        """
        ids = np.concatenate(split.ids)
        document_ends = np.concatenate(split.document_ends)
        sentence_ends = joined_ends(np.concatenate(split.sentence_ends), document_ends)
        num_documents = int(np.searchsorted(document_ends, num_tokens, side="right"))
        num_sentences = int(np.searchsorted(sentence_ends, num_tokens, side="right"))
        arrays: dict[str, NDArray[np.generic]] = {
            "ids": ids[:num_tokens],
            "document_ends": document_ends[:num_documents],
            "sentence_ends": sentence_ends[:num_sentences],
        }
        if self._class_names is not None:
            labels = np.concatenate(split.labels)
            arrays["labels"] = labels[:num_documents]
            split.labels = [labels[num_documents:]]
        split.file.add(f"{self._unit:05d}-{split.num_members:06d}", arrays)
        split.ids = [ids[num_tokens:]]
        split.document_ends = [document_ends[num_documents:] - num_tokens]
        split.sentence_ends = [sentence_ends[num_sentences:] - num_tokens]
        split.num_pending -= num_tokens
        split.num_members += 1

    def _check(
        self,
        ids: NDArray[np.generic],
        document_ends: NDArray[np.int64],
        sentence_ends: NDArray[np.int64],
        labels: NDArray[np.int32] | None,
    ) -> None:
        if ids.ndim != 1 or (len(ids) and ids.dtype.kind not in "iu"):
            msg = (
                f"ids are a {ids.ndim}-dimensional array of {ids.dtype}; one row of integers is due"
            )
            raise ValueError(msg)
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < self._vocab_size:
            msg = f"ids {ids.min()}..{ids.max()} are outside 0..{self._vocab_size - 1}"
            raise ValueError(msg)
        for name, ends, least in (("document", document_ends, 0), ("sentence", sentence_ends, 1)):
            if len(ends) and (
                ends[0] < least or ends[-1] > len(ids) or (np.diff(ends) < least).any()
            ):
                msg = f"{name} ends must rise from {least} to at most {len(ids)}"
                raise ValueError(msg)
        if (labels is None) != (self._class_names is None):
            msg = "labels go with class_names: give both or neither"
            raise ValueError(msg)
        if labels is not None:
            bad = (labels < 0) | (labels >= len(self._class_names or ()))
            if len(labels) != len(document_ends) or bad.any():
                msg = f"{len(labels)} labels for {len(document_ends)} documents of {self._class_names}"
                raise ValueError(msg)
