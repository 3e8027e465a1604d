"""Writes tar files whose bytes depend on their members alone, and says where each member lies."""

import hashlib
import io
import tarfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.index import Member, Sample, Shard
from pipeline.storage.files import place


class TarWriter:
    """A tar being written under a temporary name; it appears when `finish` returns.

    Owner, mode and time are the same for every member, so equal members give equal files.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        self._file = self._partial.open("wb")
        self._sha256 = hashlib.sha256()
        self._size = 0

    def write_member(self, name: str, data: bytes | memoryview) -> int:
        """Adds a file; returns where its data begins, in bytes from the start of the tar."""
        info = tarfile.TarInfo(name)
        info.size = len(data)
        info.mode = 0o444
        self._write(info.tobuf(tarfile.USTAR_FORMAT))
        offset = self._size
        self._write(data)
        self._write(bytes(-info.size % tarfile.BLOCKSIZE))
        return offset

    def finish(self) -> tuple[int, str]:
        """Finishes the file and gives it its name; returns (size in bytes, sha256)."""
        self._write(bytes(2 * tarfile.BLOCKSIZE))  # what ends a tar
        self._file.close()
        # Durable is what the commit makes of the whole artifact; a name must not lie before that.
        place(self._partial, self._path, durable=False)
        return self._size, self._sha256.hexdigest()

    def discard(self) -> None:
        """Removes what was written so far."""
        with suppress(OSError):  # a full disk refuses what is still buffered; nobody wants it
            self._file.close()
        self._partial.unlink(missing_ok=True)

    def _write(self, data: bytes | memoryview) -> None:
        self._sha256.update(data)
        self._size += len(data)
        self._file.write(data)


class ShardFile(TarWriter):
    """A tar of samples that are arrays, and what the index says of them."""

    def __init__(self, path: Path, split: str) -> None:
        super().__init__(path)
        self._split = split
        self._samples: list[Sample] = []

    def add(self, key: str, arrays: dict[str, NDArray[np.generic]]) -> None:
        """Writes the arrays of one sample as members `<key>.<name>.npy`, in the given order."""
        members = {}
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
            data = buffer.getbuffer()
            members[f"{name}.npy"] = Member.model_validate(
                {
                    "offset": self.write_member(f"{key}.{name}.npy", data),
                    "size": len(data),
                    "crc32": zlib.crc32(data),
                    "dtype": array.dtype.name,
                    "count": array.size,
                }
            )
        self._samples.append(Sample(key=key, members=members))

    def close(self) -> Shard:
        """Finishes the file and gives it its name."""
        size, sha256 = self.finish()
        return Shard(
            file=self._path.name,
            split=self._split,
            size=size,
            sha256=sha256,
            samples=self._samples,
        )
