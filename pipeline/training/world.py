"""The processes that train together: what they add up, agree on and wait for."""

import atexit
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed
from typing_extensions import override

from pipeline.errors import UsageError
from pipeline.spec.context import World

logger = logging.getLogger(__name__)

_PLACE_VARIABLES = ("MASTER_ADDR", "MASTER_PORT")


class TrainingWorld(Protocol):
    """This rank among its peers. Every method but the properties is called by all ranks."""

    @property
    def rank(self) -> int:
        """This process's global rank."""

    @property
    def size(self) -> int:
        """Ranks in all."""

    @property
    def device(self) -> torch.device:
        """Where this rank computes."""

    def sum(self, values: Sequence[float]) -> list[float]:
        """Element-wise sums over the ranks, in float64 on the host."""

    def gather(self, values: Sequence[float]) -> NDArray[np.float64]:
        """Every rank's values, (rank, value) float64; all ranks give equally many."""

    def gather_bytes(self, payload: bytes) -> list[bytes]:
        """Every rank's bytes, by rank."""

    def broadcast(self, tensor: Tensor) -> None:
        """Overwrites the tensor, of equal shape and type everywhere, with that of rank 0."""

    def barrier(self) -> None:
        """Returns once every rank has called it."""


class SingleProcessWorld(TrainingWorld):
    """One rank alone; needs no process group."""

    def __init__(self, device: torch.device | None = None) -> None:
        self._device = device or torch.device("cpu")

    @property
    @override
    def rank(self) -> int:
        return 0

    @property
    @override
    def size(self) -> int:
        return 1

    @property
    @override
    def device(self) -> torch.device:
        return self._device

    @override
    def sum(self, values: Sequence[float]) -> list[float]:
        return list(values)

    @override
    def gather(self, values: Sequence[float]) -> NDArray[np.float64]:
        return np.asarray([values], dtype=np.float64)

    @override
    def gather_bytes(self, payload: bytes) -> list[bytes]:
        return [payload]

    @override
    def broadcast(self, tensor: Tensor) -> None:
        return

    @override
    def barrier(self) -> None:
        return


class ProcessGroupWorld(TrainingWorld):
    """Ranks joined by torch.distributed: gloo between hosts, NCCL between accelerators.

    Small numbers go through gloo, so that agreeing on a step never waits for a device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @property
    @override
    def rank(self) -> int:
        return distributed.get_rank()

    @property
    @override
    def size(self) -> int:
        return distributed.get_world_size()

    @property
    @override
    def device(self) -> torch.device:
        return self._device

    @override
    def sum(self, values: Sequence[float]) -> list[float]:
        tensor = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(tensor)
        return tensor.tolist()

    @override
    def gather(self, values: Sequence[float]) -> NDArray[np.float64]:
        mine = torch.tensor(values, dtype=torch.float64)
        everyone = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(everyone, mine)
        return torch.stack(everyone).numpy()

    @override
    def gather_bytes(self, payload: bytes) -> list[bytes]:
        lengths = self.gather([float(len(payload))])[:, 0].astype(int)
        mine = torch.zeros(int(lengths.max()), dtype=torch.uint8)
        mine[: len(payload)] = torch.frombuffer(bytearray(payload), dtype=torch.uint8)
        everyone = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(everyone, mine)
        return [
            padded[:length].numpy().tobytes()
            for padded, length in zip(everyone, lengths, strict=True)
        ]

    @override
    def broadcast(self, tensor: Tensor) -> None:
        distributed.broadcast(tensor, src=0)

    @override
    def barrier(self) -> None:
        # An all-reduce on the host: NCCL's own barrier would first have to pick a device.
        self.sum([0.0])


def broadcast_together(world: TrainingWorld, tensors: Iterable[Tensor]) -> None:
    """Overwrites many small tensors with those of rank 0, in one exchange for each type."""
    if world.size == 1:
        return
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        by_type.setdefault(tensor.dtype, []).append(tensor)
    for same in by_type.values():
        flat = torch.cat([tensor.flatten() for tensor in same])
        world.broadcast(flat)
        for tensor, value in zip(same, torch.split(flat, [t.numel() for t in same]), strict=True):
            tensor.copy_(value.view_as(tensor))


@contextmanager
def open_world(world: World, *, threads: int, grouped: bool = False) -> Iterator[TrainingWorld]:
    """Joins this process to its peers.

    The ranks meet at MASTER_ADDR:MASTER_PORT, which the agent sets anew for each attempt. They
    stay together until the process ends, for DeepSpeed cannot join twice; a process that opens a
    world again finds its peers where they were.

    Args:
        world: this process's place.
        threads: threads torch computes with; fixed, for bitwise equal results.
        grouped: join a process group also when alone, for an engine that cannot do without.

    Raises:
        UsageError: the variables that name the meeting place are missing, or the process is in a
            world of another size.
    """
    torch.set_num_threads(threads)
    device = _device(world)
    if not distributed.is_initialized():
        if world.size == 1 and not grouped:
            yield SingleProcessWorld(device)
            return
        _join(world, device)
    if distributed.get_world_size() != world.size:
        msg = f"{world.size} ranks wanted, but the process is one of {distributed.get_world_size()}"
        raise UsageError(msg)
    try:
        yield ProcessGroupWorld(device)
    except BaseException:
        # The peers may be stuck in an exchange with this rank; a farewell would wait for them.
        atexit.unregister(distributed.destroy_process_group)
        raise


def _join(world: World, device: torch.device) -> None:
    if world.size > 1:
        missing = [name for name in _PLACE_VARIABLES if name not in os.environ]
        if missing:
            msg = f"{world.size} ranks cannot meet: {', '.join(missing)} not set by an agent"
            raise UsageError(msg)
    distributed.init_process_group(
        "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl",
        rank=world.rank,
        world_size=world.size,
        # Alone there is nobody to meet, and no port to find.
        store=distributed.HashStore() if world.size == 1 else None,  # type: ignore[attr-defined]
        device_id=device if device.type == "cuda" else None,
    )
    atexit.register(distributed.destroy_process_group)


def _device(world: World) -> torch.device:
    """This rank's own accelerator; the CPU unless every rank of the node has one."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if torch.cuda.device_count() < world.local_size:
        logger.warning(
            "%d ranks share %d accelerators on this node: computing on the CPU",
            world.local_size,
            torch.cuda.device_count(),
        )
        return torch.device("cpu")
    device = torch.device("cuda", world.local_rank)
    torch.cuda.set_device(device)
    return device
