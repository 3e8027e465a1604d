"""What an artifact consists of: the manifest, its digest, and how files become one."""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from pipeline.errors import InputError, OutputError
from pipeline.spec.ports import Port, PortKind
from pipeline.storage.digests import Json, canonical_json, digest_of, sha256_file
from pipeline.storage.files import sync_folder, sync_tree
from pipeline.storage.keys import check_key

FileName = Annotated[str, AfterValidator(check_key)]
"""A relative name that stays inside its folder; manifests may come from anywhere."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_STRICT = ConfigDict(frozen=True, extra="forbid")


class FileEntry(BaseModel):
    """One file: its size in bytes and its hex SHA-256."""

    model_config = _STRICT

    size: int = Field(ge=0)
    sha256: Sha256


Files = Mapping[FileName, FileEntry]


class Manifest(BaseModel):
    """Type and content of an artifact.

    Attributes:
        format: of this file; readers refuse other numbers.
        kind, schema_name: of the port that the artifact came out of; "schema" in the file.
        files: name -> size and digest.
        meta: where it came from; for people, in no digest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    format: int = Field(1, ge=1, le=1)
    kind: PortKind
    schema_name: str | None = Field(None, alias="schema")
    files: dict[FileName, FileEntry]
    meta: dict[str, JsonValue] = {}

    @property
    def digest(self) -> str:
        """Hex; names the artifact. A function of type, names and content alone."""
        files: list[Json] = [
            [name, entry.size, entry.sha256] for name, entry in sorted(self.files.items())
        ]
        return digest_of("artifact", [str(self.kind), self.schema_name, files])

    @property
    def port(self) -> Port:
        """The port type the artifact fits."""
        return Port(self.kind, self.schema_name)

    @property
    def num_bytes(self) -> int:
        """Size of all files."""
        return sum(entry.size for entry in self.files.values())

    def to_bytes(self) -> bytes:
        """The content of manifest.json."""
        return canonical_json(self.model_dump(mode="json", by_alias=True)) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, digest: str) -> "Manifest":
        """Reads manifest.json of the artifact `digest`.

        Raises:
            ValueError: it is damaged, or its files are not those that the digest names.
        """
        try:
            manifest = cls.model_validate_json(data)
        except ValidationError as exc:
            problem = exc.errors(include_url=False)[0]
            place = ".".join(str(part) for part in problem["loc"])
            msg = f"its manifest is damaged: {place or 'content'}: {problem['msg']}"
            raise ValueError(msg) from None
        if manifest.digest != digest:
            msg = f"its manifest describes {manifest.digest}, not {digest}"
            raise ValueError(msg)
        return manifest


class Part(BaseModel):
    """What one process of an attempt wrote: port -> files."""

    model_config = _STRICT

    rank: int = Field(ge=0)
    ports: dict[str, dict[FileName, FileEntry]]


def take_files(folder: Path) -> dict[str, FileEntry]:
    """Hashes every file below a folder that its writer is done with, and makes the tree durable.

    Empty folders are removed (no object store has any), and files become read-only, so that a
    stage that writes into its input fails instead of changing what others read.

    Raises:
        OutputError: something below is neither a file nor a folder, or a name fits no store.
        OSError: the disk failed.
    """
    files: dict[str, FileEntry] = {}
    for path in plain_files(folder):
        name = path.relative_to(folder).as_posix()
        try:
            check_key(name)
        except ValueError as exc:
            msg = f"output {folder}: {exc}"
            raise OutputError(msg) from None
        files[name] = _take_file(path)
    _settle_folders(folder)
    return files


def check_files(folder: Path, manifest: Manifest) -> None:
    """Compares sizes and digests of a local copy with its manifest.

    Raises:
        InputError: a file is missing or differs; names it.
        OSError: the disk failed.
    """
    for name, entry in manifest.files.items():
        check_file(folder / name, entry)


def check_file(path: Path, entry: FileEntry, *, shown: str | None = None) -> None:
    """Compares one file with its entry; `shown` is what the error calls it.

    Raises:
        InputError: the file is missing or differs.
        OSError: the disk failed.
    """
    shown = shown or str(path)
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        msg = f"{shown}: is missing"
        raise InputError(msg) from None
    if size != entry.size:
        msg = f"{shown}: has {size} bytes, its manifest says {entry.size}"
        raise InputError(msg)
    digest = sha256_file(path)
    if digest != entry.sha256:
        msg = f"{shown}: content has digest {digest}, its manifest says {entry.sha256}"
        raise InputError(msg)


def plain_files(folder: Path) -> Iterator[Path]:
    """Every file below a folder, in order.

    Raises:
        OutputError: it is no folder, or something below is neither a file nor a folder.
        OSError: the folder cannot be read.
    """
    if not stat.S_ISDIR(folder.lstat().st_mode):
        msg = f"output {folder}: is no folder any more. Write files into the folder that was given."
        raise OutputError(msg)
    for path in sorted(folder.iterdir()):
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            yield from plain_files(path)
        elif stat.S_ISREG(mode):
            yield path
        else:
            kind = "a link" if stat.S_ISLNK(mode) else "a special file"
            msg = f"output {path}: is {kind}. Write a plain file: artifacts hold no others."
            raise OutputError(msg)


def hash_file(path: Path) -> FileEntry:
    """Size and digest of a file.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(size=os.fstat(file.fileno()).st_size, sha256=digest)


def _take_file(path: Path) -> FileEntry:
    entry = hash_file(path)
    path.chmod(0o444)
    sync_tree(path)
    return entry


def _settle_folders(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            _settle_folders(path)
            if not any(path.iterdir()):
                path.rmdir()
    sync_folder(folder)
