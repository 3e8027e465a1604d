"""The digest of raw input: the names and the content of the files behind a Source."""

import hashlib
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from pipeline.errors import UserError
from pipeline.planner.memo import Memo, is_settled
from pipeline.storage.failures import redact
from pipeline.storage.sources import (
    SourceFile,
    failures,
    open_source,
    source_failure,
    source_files,
)

_BLOCK = 1 << 20
_BATCH = 256  # files a task: a task each costs more than a small file
_THREADS = 8
_HEX = re.compile("[0-9a-f]{64}")


def source_digest(source: str, memo: Memo) -> str:
    """SHA-256 over the sorted (name, content digest) pairs of a Source's files.

    Where it lies is not part of it: a copy has the same digest.

    Args:
        source: absolute path, glob or URL.
        memo: spares reading what has not changed since; asked for the source as a whole first, so
            that 100,000 unchanged files cost their listing and one row.

    Raises:
        UserError: there is no file; two empty sources would look alike.
        StoreError: a file cannot be listed or read.
    """
    now = time.time_ns()
    files = source_files(source)
    if not files:
        msg = (
            f"source {redact(source)}: there is no file. The plan needs to read it to know its key"
        )
        raise UserError(msg)
    name, listing = f"source:{source}", _listing(files)
    known = memo.get({name: listing}).get(name, "")
    if _HEX.fullmatch(known):
        return known
    digests = _digests(source, files, memo, now)
    digest = _digest_of_pairs((file.name, digests[file.path]) for file in files)
    if all(_is_memorable(file, now) for file in files):
        memo.put([(name, listing, digest)])
    return digest


def _listing(files: Sequence[SourceFile]) -> str:
    return _digest_of_pairs((file.name, file.version) for file in files)


def _digest_of_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    digest = hashlib.sha256(b"source\0")
    for name, value in pairs:
        # No name has a NUL in it; one that is not text is written as its bytes.
        digest.update(f"{name}\0{value}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _digests(source: str, files: Sequence[SourceFile], memo: Memo, now: int) -> dict[str, str]:
    """Path -> digest of content."""
    kept = memo.get({f"file:{file.path}": file.version for file in files if file.version})
    digests = {name[5:]: value for name, value in kept.items() if _HEX.fullmatch(value)}
    missing = [file for file in files if file.path not in digests]
    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            for batch, values in zip(
                _batches(missing), pool.map(_hash, _batches(missing)), strict=True
            ):
                digests |= zip((file.path for file in batch), values, strict=True)
    except failures(source) as exc:
        raise source_failure(source, exc) from exc
    memo.put(
        (f"file:{file.path}", file.version, digests[file.path])
        for file in missing
        if _is_memorable(file, now)
    )
    return digests


def _is_memorable(file: SourceFile, now: int) -> bool:
    return bool(file.version) and is_settled(file.mtime_ns, now)


def _batches(files: Sequence[SourceFile]) -> Iterator[Sequence[SourceFile]]:
    for first in range(0, len(files), _BATCH):
        yield files[first : first + _BATCH]


def _hash(files: Sequence[SourceFile]) -> list[str]:
    return [_hash_file(file.path) for file in files]


def _hash_file(path: str) -> str:
    digest = hashlib.sha256()
    with open_source(path) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
