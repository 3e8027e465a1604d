"""Reads batches ahead of the step that needs them, on a thread of its own."""

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import torch

from pipeline.training.method import Batch, Method
from pipeline.training.streams import Streams

_STOP_CHECK_SECONDS = 0.1


@dataclass(frozen=True)
class StepData:
    """What one step of this rank trains on.

    Attributes:
        step: counts from 0.
        micro_batches: host tensors, pinned where the device is an accelerator.
        weight: sum of the weights of the micro-batches.
        wait_seconds: how long the step waited for it.
    """

    step: int
    micro_batches: Sequence[Batch]
    weight: float
    wait_seconds: float = 0.0


class Loader:
    """Steps start, start + 1, ... stop - 1 in order, at most `depth` read ahead.

    A context manager: leaving it ends the thread, also in the middle of a run. What `Method.batch`
    raises is raised where the step is taken.
    """

    def __init__(
        self, method: Method, streams: Streams, *, start: int, stop: int, pin: bool, depth: int = 2
    ) -> None:
        self._method = method
        self._streams = streams
        self._steps = range(start, stop)
        self._pin = pin
        self._queue: queue.Queue[StepData | BaseException] = queue.Queue(maxsize=depth)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._fill, name="loader", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._thread.join()

    def take(self) -> StepData:
        """The next step's data; blocks until it is read."""
        begin = time.perf_counter()
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return StepData(item.step, item.micro_batches, item.weight, time.perf_counter() - begin)

    def _fill(self) -> None:
        try:
            for step in self._steps:
                if not self._put(self._read(step)):
                    return
        except BaseException as error:  # noqa: BLE001 - handed to the thread that takes the step
            self._put(error)

    def _read(self, step: int) -> StepData:
        batches: list[Batch] = []
        weight = 0.0
        for picks in self._streams.picks(step):
            batch = self._method.batch(picks)
            weight += float(self._method.weight(batch))
            batches.append(_pinned(batch) if self._pin else batch)
        return StepData(step, batches, weight)

    def _put(self, item: StepData | BaseException) -> bool:
        while not self._closing.is_set():
            try:
                self._queue.put(item, timeout=_STOP_CHECK_SECONDS)
            except queue.Full:
                continue
            return True
        return False


def _pinned(batch: Batch) -> dict[str, torch.Tensor]:
    return {name: tensor.pin_memory() for name, tensor in batch.items()}
