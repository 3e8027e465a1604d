"""Archives read in place: the same bytes as unpacking gives, the same refusals."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipeline.errors import DataError
from pipeline.storage.archives import extract_archive
from pipeline.storage.members import OpenArchive

FILES = {"a/one.bin": b"1" * 700, "a/two.bin": b"", "b.bin": bytes(range(256)) * 9}


def _tar(path: Path, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def _zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in FILES.items():
            file.writestr(name, data)
    return path


@pytest.mark.parametrize("kind", ["plain", "gz", "xz", "zip"])
def test_members_are_what_unpacking_gives(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "zip":
        _zip(path)
    else:
        _tar(path, "w" if kind == "plain" else f"w:{kind}")
    archive = OpenArchive(path, tmp_path)
    found = {member.name: archive.read(member) for member in archive.members}
    extract_archive(path, tmp_path / "unpacked")
    assert found == FILES
    assert found == {name: (tmp_path / "unpacked" / name).read_bytes() for name in FILES}


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\b"])
def test_name_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, b"1")
    with pytest.raises(DataError, match=r"x\.zip: member"):
        OpenArchive(path, tmp_path)


def test_link_in_a_zip_and_a_name_twice_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    link = zipfile.ZipInfo("x")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(link, b"/etc/passwd")
    with pytest.raises(DataError, match="a link"):
        OpenArchive(path, tmp_path)
    twice = tmp_path / "y.tar"
    with tarfile.open(twice, "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("same"))
    with pytest.raises(DataError, match="'same' occurs twice"):
        OpenArchive(twice, tmp_path)


def test_damage_is_named(tmp_path: Path) -> None:
    path = _tar(tmp_path / "x.tar")
    whole = path.read_bytes()
    # The files end at byte 5,632; zeros behind that are the mark of the end.
    for length in range(0, 5632, 700):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"x\.tar"):
            OpenArchive(path, tmp_path)
    packed = _zip(tmp_path / "x.zip")
    data = bytearray(packed.read_bytes())
    data[45] ^= 0xFF
    packed.write_bytes(data)
    archive = OpenArchive(packed, tmp_path)
    with pytest.raises(DataError, match=r"x\.zip: damaged"):
        archive.read(archive.members[0])
