"""Archives: what is unpacked, and what is refused."""

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from pipeline.errors import DataError
from pipeline.storage.archives import extract_archive

FILES = {"a.txt": b"alpha", "deep/b.bin": bytes(range(256)) * 300}
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor().compress,
}


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def tar_of_files(files: dict[str, bytes]) -> bytes:
    return tar_of(*((tarfile.TarInfo(name), data) for name, data in files.items()))


def zip_of(files: dict[str, bytes], mode: int = stat.S_IFREG | 0o644) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            file.writestr(info, data)
    return buffer.getvalue()


def unpack(tmp_path: Path, data: bytes) -> dict[str, bytes]:
    archive = tmp_path / "archive"
    archive.write_bytes(data)
    names = extract_archive(archive, tmp_path / "out")
    return {name: (tmp_path / "out" / name).read_bytes() for name in names}


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_extract_archive_unpacks_a_tar_told_by_content(tmp_path: Path, compression: str) -> None:
    assert unpack(tmp_path, COMPRESSIONS[compression](tar_of_files(FILES))) == FILES


def test_extract_archive_unpacks_a_zip(tmp_path: Path) -> None:
    assert unpack(tmp_path, zip_of(FILES)) == FILES


def test_extract_archive_takes_members_that_begin_with_dot_slash(tmp_path: Path) -> None:
    folder = tarfile.TarInfo("./")
    folder.type = tarfile.DIRTYPE
    data = tar_of((folder, b""), (tarfile.TarInfo("./a.txt"), b"1"))
    assert list(unpack(tmp_path, data)) == ["a.txt"]


@pytest.mark.parametrize(
    "name", ["../out.txt", "/tmp/out.txt", "a/../../out.txt", "C:/out.txt", "..\\out.txt", "a//b"]
)
@pytest.mark.parametrize("make", [tar_of_files, zip_of])
def test_extract_archive_refuses_a_name_outside_the_folder(
    tmp_path: Path, name: str, make: Callable[[dict[str, bytes]], bytes]
) -> None:
    with pytest.raises(DataError, match=r"archive: member '.*out.txt' is|'a//b' is"):
        unpack(tmp_path, make({"good": b"", name: b"evil"}))
    assert {path.name for path in tmp_path.rglob("*")} == {"archive", "out", "good"}


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_extract_archive_refuses_links_and_devices(tmp_path: Path, kind: bytes) -> None:
    evil = tarfile.TarInfo("evil")
    evil.type = kind
    evil.linkname = "/etc"
    with pytest.raises(DataError, match=r"member 'evil' is a (link|special file)"):
        unpack(tmp_path, tar_of((evil, b""), (tarfile.TarInfo("evil/passwd"), b"x")))
    assert not (tmp_path / "out" / "evil").is_symlink()


def test_extract_archive_refuses_a_link_in_a_zip(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a link or a special file"):
        unpack(tmp_path, zip_of({"evil": b"/etc"}, mode=stat.S_IFLNK | 0o777))


def test_extract_archive_refuses_a_zip_compressed_in_an_unknown_way(tmp_path: Path) -> None:
    data = bytearray(zip_of({"a": b"1" * 100}))
    data[8] = data[data.rindex(b"PK\1\2") + 10] = 99
    with pytest.raises(DataError, match="damaged or not an archive we read"):
        unpack(tmp_path, bytes(data))


def test_extract_archive_refuses_a_name_that_occurs_twice(tmp_path: Path) -> None:
    data = tar_of((tarfile.TarInfo("a"), b"1"), (tarfile.TarInfo("a"), b"2"))
    with pytest.raises(DataError, match="member 'a' occurs twice"):
        unpack(tmp_path, data)


def test_extract_archive_refuses_a_file_that_is_also_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="damaged"):
        unpack(tmp_path, tar_of_files({"a": b"1", "a/b": b"2"}))


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("left", [0.5, 0.9])
def test_extract_archive_notices_that_it_was_cut_off(
    tmp_path: Path, compression: str, left: float
) -> None:
    data = COMPRESSIONS[compression](tar_of_files(FILES | {"c": FILES["deep/b.bin"]}))
    with pytest.raises(DataError, match="archive: "):
        unpack(tmp_path, data[: int(len(data) * left)])


def test_extract_archive_notices_a_cut_between_members(tmp_path: Path) -> None:
    data = tar_of_files({"a": b"1" * 512, "b": b"2" * 512})
    with pytest.raises(DataError, match="cut off"):
        unpack(tmp_path, data[:2048])


def test_extract_archive_refuses_what_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="damaged or not an archive we read"):
        unpack(tmp_path, b"hello, world" * 100)
