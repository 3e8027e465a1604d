"""Programs that share a store and take turns at single operations, in an order a test decides."""

import threading
from collections.abc import Callable, Sequence

from pipeline.storage import Store
from tests.stores import before_each_operation

Program = Callable[[Store], None]


class Interleaving:
    """Runs programs in threads of which one at a time makes one store operation."""

    def __init__(self, store: Store, programs: Sequence[Program]) -> None:
        self._go = [threading.Semaphore(0) for _ in programs]
        self._arrived = [threading.Semaphore(0) for _ in programs]
        self._running = set(range(len(programs)))
        self._errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(number, store, program), daemon=True)
            for number, program in enumerate(programs)
        ]

    def follow(self, schedule: Sequence[int]) -> None:
        """One operation for each number of the schedule, then the rest in turn."""
        for number, thread in enumerate(self._threads):
            thread.start()
            self._arrived[number].acquire()
        for number in schedule:
            self._step(number)
        while self._running:
            for number in sorted(self._running):
                self._step(number)
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _step(self, number: int) -> None:
        if number in self._running:
            self._go[number].release()
            self._arrived[number].acquire()

    def _run(self, number: int, store: Store, program: Program) -> None:
        def wait_for_turn(_: str) -> None:
            self._arrived[number].release()
            self._go[number].acquire()

        try:
            program(before_each_operation(store, wait_for_turn))
        except BaseException as exc:  # noqa: BLE001 - raised again in the test's own thread
            self._errors.append(exc)
        self._running.discard(number)
        self._arrived[number].release()
