"""Compressed streams: whole content, every frame, and no cut that passes for an end."""

import bz2
import gzip
import io
import lzma
from collections.abc import Callable

import pytest
import zstandard
from typing_extensions import override

from pipeline.storage.compression import Compression, compression_of, damage_errors, decompressed

COMPRESS: dict[Compression, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("kind", COMPRESS)
def test_content_comes_back_as_it_was(kind: Compression) -> None:
    text = b"".join(b"line %d\n" % number for number in range(50_000))
    file = io.BytesIO(COMPRESS[kind](text))
    assert compression_of(file) == kind
    with decompressed(file, kind) as stream:
        assert list(stream) == text.splitlines(keepends=True)


def test_plain_content_is_passed_on() -> None:
    file = io.BytesIO(b"hello")
    assert compression_of(file) is None
    assert decompressed(file, None).read() == b"hello"


@pytest.mark.parametrize("kind", COMPRESS)
def test_every_frame_is_read(kind: Compression) -> None:
    parts = (b"one ", b"two ", b"three")
    file = io.BytesIO(b"".join(map(COMPRESS[kind], parts)))
    with decompressed(file, kind) as stream:
        assert stream.read() == b"one two three"


@pytest.mark.parametrize("kind", COMPRESS)
def test_cut_file_is_damaged(kind: Compression) -> None:
    file = io.BytesIO(COMPRESS[kind](bytes(range(256)) * 1000)[:-5])
    with pytest.raises(damage_errors()), decompressed(file, kind) as stream:
        stream.read()


def test_hostile_zst_file_is_taken_in_small_bites() -> None:
    class Counting(io.BytesIO):
        largest = 0

        @override
        def read(self, size: int | None = -1, /) -> bytes:
            self.largest = max(self.largest, -1 if size is None else size)
            return super().read(size)

    file = Counting(COMPRESS["zst"](bytes(1 << 20)))
    with decompressed(file, "zst") as stream:
        stream.read()
        assert 0 < file.largest <= 1 << 12
