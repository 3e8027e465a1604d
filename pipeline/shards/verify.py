"""Reads every byte of an artifact of shards and compares it with what the index says."""

import mmap
import zlib
from pathlib import Path

import numpy as np

from pipeline.errors import DataError
from pipeline.shards.images import ImageIndex, ImageShards
from pipeline.shards.index import Shard, read_indexes, read_unit_indexes, schema_of
from pipeline.shards.reader import TokenShards
from pipeline.storage.digests import sha256_file


def verify(folder: Path) -> None:
    """Checks the digests of all shards, and that ids, ends and labels are in range.

    Raises:
        DataError: something differs; names the file, and the offset where a member is damaged.
    """
    if schema_of(folder) == "images":
        _verify_images(folder)
        return
    indexes = read_indexes(folder)
    splits = sorted({shard.split for index in indexes for shard in index.shards})
    for index in indexes:
        for shard in index.shards:
            path = folder / shard.file
            if not path.is_file() or path.stat().st_size != shard.size:
                break  # opening the split below says what is wrong with it
            if sha256_file(path) != shard.sha256:
                raise DataError(_damage(path, shard))
    for split in splits:
        _check_values(TokenShards(folder, split))


def _verify_images(folder: Path) -> None:
    indexes = read_unit_indexes(folder, ImageIndex)
    for split in sorted({shard.split for index in indexes for shard in index.shards}):
        ImageShards(folder, split).check()
    for index in indexes:
        for shard in index.shards:
            path = folder / shard.file
            if sha256_file(path) != shard.sha256:
                msg = f"{path}: a label, a header or padding is not what was written"
                raise DataError(msg)


def _damage(path: Path, shard: Shard) -> str:
    """Which member of a shard with the wrong digest is at fault."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for sample in shard.samples:
            for extension, member in sample.members.items():
                stop = member.offset + member.size
                if zlib.crc32(data[member.offset : stop]) != member.crc32:
                    return (
                        f"{path}: offset {member.offset}: {sample.key}.{extension} "
                        f"({member.size} bytes) is not what was written"
                    )
    return f"{path}: a header or padding between the members is not what was written"


def _check_values(shards: TokenShards) -> None:
    """Walks the ids member by member; reading the ends and labels checks them."""
    step = 1 << 22
    for start in range(0, shards.num_tokens, step):
        ids = shards.tokens(start, min(start + step, shards.num_tokens))
        if int(ids.max()) >= shards.vocab_size or int(ids.min()) < 0:
            bad = int(np.flatnonzero((ids >= shards.vocab_size) | (ids < 0))[0])
            msg = (
                f"{shards.folder}: split {shards.split}: token {start + bad} has id {ids[bad]}, "
                f"but vocab_size is {shards.vocab_size}"
            )
            raise DataError(msg)
    for name, ends in (("document", shards.document_ends), ("sentence", shards.sentence_ends)):
        last = int(ends[-1]) if len(ends) else 0
        if last != shards.num_tokens:
            msg = (
                f"{shards.folder}: split {shards.split}: the last {name} ends at token {last}, "
                f"but there are {shards.num_tokens}"
            )
            raise DataError(msg)
    if shards.sample_schema == "classified" and not len(shards.labels):
        msg = f"{shards.folder}: split {shards.split}: no labels"
        raise DataError(msg)
