"""The files of a checkpoint: one a rank, and a manifest written last that says what they must be.

    step-00000120/rank-00000-of-00002.safetensors ...
    step-00000120/manifest.json

A folder without a manifest, or with a file that is not what the manifest says, is no checkpoint:
so a kill at any moment, also between two attempts of different size, leaves the older ones valid.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline.errors import ConfigError, InputError
from pipeline.storage.digests import sha256_file
from pipeline.storage.files import replace_file
from pipeline.training.engine import ParameterState
from pipeline.training.tensor_file import save_tensors

MANIFEST = "manifest.json"

_FOLDER = re.compile(r"step-(\d{8,})")
_STRICT = ConfigDict(frozen=True, extra="forbid")


class FileRecord(BaseModel):
    """What one rank wrote."""

    model_config = _STRICT

    name: str = Field(pattern=r"^rank-\d{5,}-of-\d{5,}\.safetensors$")
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    rows: dict[str, int] = Field(default={}, description="rows of each per-row tensor in it")


class Manifest(BaseModel):
    """What a checkpoint is.

    Attributes:
        step: steps done.
        num_updates: optimizer updates done; fp16 may have skipped some steps.
        scaler: the loss scaler's numbers; empty unless fp16.
        files: by rank.
        parameters: trainable parameter -> index into `files`.
    """

    model_config = _STRICT

    format: Literal[1] = 1
    step: int = Field(ge=0)
    num_updates: int = Field(ge=0)
    scaler: dict[str, float]
    files: Annotated[tuple[FileRecord, ...], Field(min_length=1)]
    parameters: dict[str, Annotated[int, Field(ge=0)]]


def folder_name(step: int) -> str:
    """The folder of a step's checkpoint; names sort as steps do up to 10^8."""
    return f"step-{step:08d}"


def steps_in(state: Path) -> list[int]:
    """Steps of the folders that have a manifest, newest first; not verified."""
    return [step for step in folders_in(state) if (state / folder_name(step) / MANIFEST).is_file()]


def folders_in(state: Path) -> list[int]:
    """Steps of all checkpoint folders, finished or not, newest first."""
    names = (_FOLDER.fullmatch(path.name) for path in state.iterdir())
    return sorted((int(match[1]) for match in names if match), reverse=True)


def write_tensors(
    folder: Path, tensors: Mapping[str, Tensor], *, rank: int, size: int, rows: dict[str, int]
) -> FileRecord:
    """Writes a rank's file whole or not at all; whoever publishes it makes it durable.

    Raises:
        OSError, StoreError: the disk refused; nothing of the name has changed.
    """
    name = f"rank-{rank:05d}-of-{size:05d}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    save_tensors(path, tensors, durable=False)
    return FileRecord(name=name, size=path.stat().st_size, sha256=sha256_file(path), rows=rows)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Makes the folder a checkpoint."""
    replace_file(folder / MANIFEST, manifest.model_dump_json(indent=1).encode())


def read_manifest(folder: Path) -> Manifest:
    """Reads, but does not compare with the files.

    Raises:
        InputError: it is not there or not what `write_manifest` writes.
    """
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError) as exc:
        msg = f"{folder / MANIFEST}: no readable manifest: {exc}"
        raise InputError(msg) from exc
    if folder_name(manifest.step) != folder.name:
        msg = f"{folder / MANIFEST}: is that of step {manifest.step}"
        raise InputError(msg)
    return manifest


def verify_file(folder: Path, record: FileRecord) -> None:
    """Compares size and digest.

    Raises:
        InputError: the file differs or cannot be read.
    """
    path = folder / record.name
    try:
        size = path.stat().st_size
        matches = size == record.size and sha256_file(path) == record.sha256
    except OSError as exc:
        msg = f"{path}: cannot be read: {exc}"
        raise InputError(msg) from exc
    if not matches:
        msg = f"{path}: is not what its manifest says ({size} bytes, {record.size} recorded)"
        raise InputError(msg)


class Contents:
    """Tensors of a verified checkpoint, read when asked for."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Raises InputError when a file is none that `write_tensors` wrote."""
        self._folder = folder
        self._manifest = manifest
        # Any: the library has no annotations.
        self._files: list[Any] = []
        try:
            for record in manifest.files:
                self._files.append(safe_open(folder / record.name, framework="pt"))
        except (OSError, SafetensorError) as exc:
            msg = f"{folder}: its files match the manifest but are no safetensors: {exc}"
            raise InputError(msg) from exc
        self._keys = [frozenset(file.keys()) for file in self._files]

    def state(self, name: str, *, averages: bool) -> ParameterState:
        """A trainable parameter's state, with its average where the run keeps `averages`.

        Raises:
            ConfigError: the checkpoint is that of another model.
        """
        place = self._manifest.parameters[name]
        return ParameterState(
            weight=self._get(place, f"weight/{name}"),
            exp_avg=self._get(place, f"exp_avg/{name}"),
            exp_avg_sq=self._get(place, f"exp_avg_sq/{name}"),
            average=self._get(place, f"average/{name}") if averages else None,
        )

    def shared(self, kind: str) -> Iterator[tuple[str, Tensor]]:
        """All tensors of a kind that rank 0 wrote: "buffer" or "method"."""
        for key in sorted(self._keys[0]):
            if key.startswith(f"{kind}/"):
                yield key.partition("/")[2], self._get(0, key)

    def rows(self, *, rank: int, size: int) -> Iterator[tuple[str, Tensor]]:
        """Every per-row tensor, cut for one rank of a world that may have another size.

        Raises:
            ConfigError: the rows do not divide among `size` ranks.
        """
        for name in sorted(self._manifest.files[0].rows):
            counts = [record.rows.get(name, 0) for record in self._manifest.files]
            per_rank, rest = divmod(sum(counts), size)
            if rest:
                msg = f"{self._folder}: {sum(counts)} rows of {name!r} for {size} ranks"
                raise ConfigError(msg)
            yield name, self._cut(name, counts, rank * per_rank, (rank + 1) * per_rank)

    def _cut(self, name: str, counts: Sequence[int], start: int, stop: int) -> Tensor:
        pieces = []
        first = 0
        for place, count in enumerate(counts):
            low, high = max(start, first), min(stop, first + count)
            if low < high:
                pieces.append(self._get(place, f"row/{name}")[low - first : high - first])
            first += count
        return torch.cat(pieces)

    def _get(self, place: int, key: str) -> Tensor:
        if place >= len(self._keys) or key not in self._keys[place]:
            msg = f"{self._folder}: holds no {key!r}; it is that of another model"
            raise ConfigError(msg)
        tensor: Tensor = self._files[place].get_tensor(key)
        return tensor
