"""The `import` kind copies, unpacks safely and checks what it was given."""

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import DataError, InputError
from pipeline.node.builtins.import_artifact import run
from pipeline.spec.builtins import ImportConfig
from tests.contexts import stage_context


def _import(tmp_path: Path, source: Path | str, kind: str = "folder", **config: Any) -> list[str]:
    values = {"source": str(source), "kind": kind, **config}
    run(stage_context(ImportConfig.model_validate(values), tmp_path, output="out"))
    out = tmp_path / "out"
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())


def _archive(path: Path, name: str) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.size = 2
        tar.addfile(member, io.BytesIO(b"hi"))
    return path


def test_import_keeps_the_names_below_a_folder(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "a.txt").write_text("a")
    (tmp_path / "in" / "b.txt").write_text("b")
    assert _import(tmp_path, tmp_path / "in") == ["b.txt", "deep/a.txt"]
    assert (tmp_path / "out" / "deep" / "a.txt").read_text() == "a"


def test_import_unpacks_a_single_archive(tmp_path: Path) -> None:
    source = _archive(tmp_path / "x.tar.gz", "deep/a.txt")
    assert _import(tmp_path, source) == ["deep/a.txt"]


def test_import_of_shards_keeps_the_tars(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    _archive(tmp_path / "in" / "train-00000.tar", "a.txt")
    (tmp_path / "in" / "index-00000.json").write_text("{}")
    names = _import(tmp_path, tmp_path / "in", "shards(tokens)")
    assert names == ["index-00000.json", "train-00000.tar"]


def test_import_of_an_archive_that_leaves_its_folder_is_refused(tmp_path: Path) -> None:
    source = _archive(tmp_path / "x.tar.gz", "../escaped.txt")
    with pytest.raises(DataError, match=r"\.\./escaped\.txt"):
        _import(tmp_path, source)
    assert list(tmp_path.rglob("escaped.txt")) == []


def test_import_with_the_right_digest_passes_and_with_another_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "weights.safetensors"
    source.write_bytes(b"w")
    right = hashlib.sha256(b"w").hexdigest()
    names = _import(tmp_path, source, "checkpoint(xlnet)", sha256=right)
    assert names == ["weights.safetensors"]
    with pytest.raises(InputError, match=f"its sha256 is {right}, not {'0' * 64}"):
        _import(tmp_path / "again", source, "checkpoint(xlnet)", sha256="0" * 64)


def test_import_of_what_is_not_the_kind_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(b"pickle")
    with pytest.raises(DataError, match=r"no \*\.safetensors in it, so it is no checkpoint"):
        _import(tmp_path, source, "checkpoint(xlnet)")


def test_import_of_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        _import(tmp_path, tmp_path / "absent")
