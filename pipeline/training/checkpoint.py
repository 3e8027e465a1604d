"""Saves a run so that any world size and ZeRO stage can go on from it, and finds the newest save."""

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pipeline.errors import ConfigError, InputError, StoreError
from pipeline.spec.context import State, World
from pipeline.training.checkpoint_files import (
    MANIFEST,
    Contents,
    FileRecord,
    Manifest,
    folder_name,
    folders_in,
    read_manifest,
    steps_in,
    verify_file,
    write_manifest,
    write_tensors,
)
from pipeline.training.engine import Engine, ParameterState, host_copy
from pipeline.training.method import Method
from pipeline.training.world import TrainingWorld

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Saved:
    """A checkpoint that stands."""

    step: int
    size_bytes: int
    seconds: float


class Checkpoints:
    """The checkpoints of one stage. Every method is called by all ranks."""

    def __init__(self, state: State, place: World, world: TrainingWorld, *, keep: int) -> None:
        """Keeps the `keep` newest in `state`; `place` tells which ranks share a disk."""
        self._state = state
        self._place = place
        self._world = world
        self._keep = keep

    def save(
        self,
        step: int,
        *,
        engine: Engine,
        method: Method,
        buffers: Mapping[str, Tensor],
    ) -> Saved:
        """Saves the run after `step` steps, then removes what is older than the newest few.

        Raises:
            StoreError: on every rank, when a disk or the store refused one of them; the older
                checkpoints are as they were.
        """
        begin = time.perf_counter()
        name = folder_name(step)
        owners = _owners(engine.parameter_sizes, self._world.size)
        tensors, rows = self._collect(engine, method, buffers, owners)
        record = self._write(name, tensors, rows)
        del tensors
        records = self._agree(record)
        manifest = Manifest(
            step=step,
            num_updates=engine.num_updates(),
            scaler=engine.scaler_state(),
            files=tuple(records),
            parameters=owners,
        )
        self._agree(self._seal(name, manifest))
        self._remove_old(step)
        size = sum(record.size for record in records)
        return Saved(step, size, time.perf_counter() - begin)

    def restore(self, engine: Engine, method: Method, buffers: Mapping[str, Tensor]) -> int:
        """Continues from the newest checkpoint that verifies on all ranks.

        Returns:
            The step it was saved after; 0 when there is none, and nothing was changed.

        Raises:
            ConfigError: it verifies, but belongs to another model.
        """
        for step in self._common_steps():
            folder = self._state.path / folder_name(step)
            problem = self._problem(folder)
            if self._world.sum([float(problem is not None)])[0] == 0:
                self._load(folder, engine, method, buffers)
                return step
            if problem is not None:
                logger.warning("checkpoint of step %d is damaged and ignored: %s", step, problem)
        return 0

    def _collect(
        self,
        engine: Engine,
        method: Method,
        buffers: Mapping[str, Tensor],
        owners: Mapping[str, int],
    ) -> tuple[dict[str, Tensor], dict[str, int]]:
        """This rank's part of everything, on the host."""
        tensors: dict[str, Tensor] = {}
        rows: dict[str, int] = {}
        for name, owner in owners.items():
            state = engine.read(name)
            if owner == self._world.rank:
                tensors |= {f"{kind}/{name}": host_copy(t) for kind, t in state.tensors()}
        for name, entry in method.state_dict().items():
            tensor = entry.tensor.detach().to("cpu", copy=True).contiguous()
            if entry.kind == "per_row":
                tensors[f"row/{name}"] = tensor
                rows[name] = len(tensor)
            elif self._world.rank == 0:
                tensors[f"method/{name}"] = tensor
        if self._world.rank == 0:
            for name, buffer in buffers.items():
                tensors[f"buffer/{name}"] = buffer.detach().to("cpu", copy=True).contiguous()
        return tensors, rows

    def _write(
        self, name: str, tensors: Mapping[str, Tensor], rows: dict[str, int]
    ) -> FileRecord | str:
        """What this rank wrote, or why it could not."""
        try:
            record = write_tensors(
                self._state.path / name,
                tensors,
                rank=self._world.rank,
                size=self._world.size,
                rows=rows,
            )
            self._state.publish(f"{name}/{record.name}")
        except (OSError, StoreError) as exc:
            return f"rank {self._world.rank}: {exc}"
        return record

    def _seal(self, name: str, manifest: Manifest) -> FileRecord | str:
        """Rank 0 writes the manifest; until then nothing counts."""
        if self._world.rank == 0:
            try:
                write_manifest(self._state.path / name, manifest)
                self._state.publish(f"{name}/{MANIFEST}")
            except (OSError, StoreError) as exc:
                return f"rank 0: {exc}"
        return manifest.files[self._world.rank]

    def _agree(self, mine: FileRecord | str) -> list[FileRecord]:
        """Every rank's record; where one has none, all say why."""
        is_bad = isinstance(mine, str)
        payload = mine.encode() if isinstance(mine, str) else mine.model_dump_json().encode()
        bad = self._world.gather([float(is_bad)])[:, 0]
        everyone = self._world.gather_bytes(payload)
        problems = [text.decode() for text, failed in zip(everyone, bad, strict=True) if failed]
        if problems:
            msg = f"checkpoint not saved in {self._state.path}: {'; '.join(problems)}"
            raise StoreError(msg)
        return [FileRecord.model_validate_json(text) for text in everyone]

    def _remove_old(self, newest: int) -> None:
        """Removes all but the newest few, and older folders that a killed attempt left unfinished.

        Rank 0 first: it owns the store. Then one rank of every other node, whose disk may hold a
        copy of its own.
        """
        kept = [step for step in steps_in(self._state.path) if step <= newest][: self._keep]
        old = [step for step in folders_in(self._state.path) if step < newest and step not in kept]
        if self._world.rank == 0:
            self._remove(old)
        self._world.barrier()
        if self._place.node > 0 and self._place.local_rank == 0:
            self._remove([step for step in old if (self._state.path / folder_name(step)).exists()])

    def _remove(self, steps: Sequence[int]) -> None:
        for step in steps:
            name = folder_name(step)
            try:
                if (self._state.path / name / MANIFEST).exists():
                    # First: half a checkpoint must not look like a whole one.
                    self._state.remove(f"{name}/{MANIFEST}")
                self._state.remove(name)
            except StoreError as exc:
                logger.warning("checkpoint of step %d could not be removed: %s", step, exc)

    def _common_steps(self) -> list[int]:
        """Steps whose manifest every rank sees, newest first."""
        mine = steps_in(self._state.path)
        everyone = self._world.gather_bytes(json.dumps(mine).encode())
        return sorted(set[int].intersection(*(set(json.loads(s)) for s in everyone)), reverse=True)

    def _problem(self, folder: Path) -> str | None:
        """What is wrong with a checkpoint; the ranks of a node share the work of reading it."""
        try:
            manifest = read_manifest(folder)
            for record in manifest.files[self._place.local_rank :: self._place.local_size]:
                verify_file(folder, record)
        except InputError as exc:
            return str(exc)
        return None

    def _load(
        self, folder: Path, engine: Engine, method: Method, buffers: Mapping[str, Tensor]
    ) -> None:
        manifest = read_manifest(folder)
        contents = Contents(folder, manifest)
        names = engine.parameter_sizes.keys()
        if names != manifest.parameters.keys():
            odd = sorted(names ^ manifest.parameters.keys())
            msg = (
                f"{folder}: is that of another model; parameters of only one: {', '.join(odd[:5])}"
            )
            raise ConfigError(msg)
        engine.restore(
            _states(contents, engine.parameter_sizes, averages=engine.averages),
            step=manifest.step,
            num_updates=manifest.num_updates,
            scaler=manifest.scaler,
        )
        for name, tensor in contents.shared("buffer"):
            buffers[name].copy_(tensor)
        state = dict(contents.shared("method"))
        state |= contents.rows(rank=self._world.rank, size=self._world.size)
        method.load_state_dict(state)


def _states(
    contents: Contents, sizes: Mapping[str, int], *, averages: bool
) -> Iterator[tuple[str, ParameterState]]:
    for name, numel in sizes.items():
        state = contents.state(name, averages=averages)
        if any(tensor.numel() != numel for _, tensor in state.tensors()):
            # Copying would spread a single value over a whole parameter without a word.
            msg = f"checkpoint holds {state.weight.numel()} elements of {name!r}, the model {numel}"
            raise ConfigError(msg)
        yield name, state


def _owners(sizes: Mapping[str, int], num_ranks: int) -> dict[str, int]:
    """Trainable parameter -> the rank that writes it, so that all write about equally much."""
    loads = [0] * num_ranks
    owners = {}
    for name, numel in sizes.items():
        owners[name] = loads.index(min(loads))
        loads[owners[name]] += numel
    return owners
