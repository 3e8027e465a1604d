"""Writes tensors as one safetensors file: whole or not at all, the same tensors as the same bytes."""

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from pipeline.errors import StoreError


def save_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    *,
    metadata: Mapping[str, str] | None = None,
    durable: bool = True,
) -> None:
    """Writes a file beside `path`, then puts it in its place.

    Args:
        path: the file; replaced as a whole.
        tensors: contiguous, by name.
        metadata: for the file's header.
        durable: whether the content is on the disk on return; not where whoever publishes the
            file sees to that.

    Raises:
        StoreError: the disk refused; `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        save_file(dict(tensors), temporary, metadata=None if metadata is None else dict(metadata))
        with temporary.open("r+b") as file:
            if metadata:
                _sort_metadata(file)
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as exc:
        # The library wraps what the disk said.
        msg = f"{path}: could not be written: {exc}. Free space and run again"
        raise StoreError(msg) from exc
    finally:
        temporary.unlink(missing_ok=True)


def _sort_metadata(file: BinaryIO) -> None:
    """Puts the metadata in order: safetensors writes it in one that no two files share.

    The same weights must be the same bytes, since their digest is what later stages are keyed by.
    """
    (length,) = struct.unpack("<Q", file.read(8))
    header = json.loads(file.read(length))
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
    # The same characters in another order; a longer text would run into the tensors.
    assert len(text) == length
    file.seek(8)
    file.write(text)
    file.flush()
