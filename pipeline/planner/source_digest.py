"""The digest of raw input: the names and the content of the files behind a Source."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pipeline.errors import StoreError
from pipeline.planner.memo import Memo, Stamp
from pipeline.storage.digests import canonical_json, sha256_bytes
from pipeline.storage.failures import cause_and_fix, redact
from pipeline.storage.sources import SourceFile, open_source, source_files

_BLOCK = 1 << 20


def source_digest(source: str, memo: Memo) -> str:
    """SHA-256 over the sorted (name, content digest) pairs of a Source's files.

    Args:
        source: absolute path, glob or URL.
        memo: spares hashing what has not changed since.

    Raises:
        StoreError: a file cannot be read.
    """
    files = source_files(source)
    local = [file for file in files if not file.is_remote]
    try:
        stamps = {file.path: _stamp(file.path) for file in local}
        known = memo.get(stamps)
        missing = [file for file in files if file.path not in known]
        with ThreadPoolExecutor(min(8, len(missing) or 1)) as pool:
            digests = dict(zip((f.path for f in missing), pool.map(_hash, missing), strict=True))
    except OSError as exc:
        cause, fix = cause_and_fix(exc)
        msg = f"source {redact(source)}: {cause}. {fix}"
        raise StoreError(msg) from exc
    memo.put((path, stamps[path], digest) for path, digest in digests.items() if path in stamps)
    return _joined(files, {**known, **digests})


def _joined(files: Sequence[SourceFile], digests: dict[str, str]) -> str:
    return sha256_bytes(canonical_json([[file.name, digests[file.path]] for file in files]))


def _stamp(path: str) -> Stamp:
    found = os.stat(path)  # noqa: PTH116 - 100,000 times a plan: Path costs as much as the call
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ino)


def _hash(file: SourceFile) -> str:
    digest = hashlib.sha256()
    with open_source(file.path) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
