"""A shard's file in memory, once its size is what the index says."""

import mmap
from pathlib import Path

from pipeline.errors import DataError


def map_shard(path: Path, size: int) -> mmap.mmap:
    """Maps a shard for reading.

    Args:
        path: the shard.
        size: in bytes, as the index has it.

    Raises:
        DataError: it is missing, or shorter or longer than that.
    """
    try:
        with path.open("rb") as file:
            found = file.seek(0, 2)
            if found != size:
                what = "truncated" if found < size else "longer than when it was written"
                msg = f"{path}: {what}: ends at offset {found}, the index says {size}"
                raise DataError(msg)
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as exc:
        msg = f"{path}: the index names this shard, but it is not there"
        raise DataError(msg) from exc
