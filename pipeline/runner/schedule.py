"""What may start: stages whose inputs are there, within the machine, in the DAG's order."""

import heapq
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipeline.errors import Problem, UserError
from pipeline.executors.base import Capacity
from pipeline.planner.plan import Action, Plan
from pipeline.spec.dag import Stage
from pipeline.spec.resources import num_bytes
from pipeline.spec.stage import Launch

SleeperT = TypeVar("SleeperT")


@dataclass(frozen=True)
class Demand:
    """Processes of an attempt and what they take of the machine."""

    nodes: int
    processes_per_node: int
    cpus: int
    memory_bytes: int
    gpus: int


def demand(stage: Stage, capacity: Capacity, *, nodes: int | None = None) -> Demand:
    """What an attempt at this stage takes.

    An elastic gang takes as many nodes as fit, and of `nodes`, where that is known. The workers of a `workers` stage are independent
    and their number changes no output, so no more are started than the machine has room for.
    """
    resources, launch = stage.resources, stage.spec.launch
    if launch is Launch.GANG:
        most = resources.max_nodes if nodes is None else min(nodes, resources.max_nodes)
        sizes = range(max(most, resources.min_nodes), resources.min_nodes - 1, -1)
        wanted = [_demand(stage, size, resources.ranks_per_node) for size in sizes]
    elif launch is Launch.WORKERS:
        wanted = [_demand(stage, 1, workers) for workers in range(resources.workers, 0, -1)]
    else:
        wanted = [_demand(stage, 1, 1)]
    return next((one for one in wanted if not shortage(one, capacity)), wanted[-1])


def _demand(stage: Stage, nodes: int, processes_per_node: int) -> Demand:
    resources, processes = stage.resources, nodes * processes_per_node
    return Demand(
        nodes=nodes,
        processes_per_node=processes_per_node,
        cpus=processes * resources.cpus_per_process,
        memory_bytes=processes * num_bytes(resources.memory) if resources.memory else 0,
        gpus=nodes * resources.gpus_per_node,
    )


def shortage(wanted: Demand, capacity: Capacity) -> str:
    """What the machine lacks even when it is idle, for a person; "" when the demand fits."""
    for amount, limit, what in (
        (wanted.cpus, capacity.cpus, "CPUs"),
        (wanted.memory_bytes, capacity.memory_bytes, "bytes of memory"),
        (wanted.gpus, capacity.gpus, "GPUs"),
    ):
        if limit is not None and amount > limit:
            return f"needs {amount} {what}, this machine has {limit}"
    return ""


def check_fits(plan: Plan, capacity: Capacity) -> None:
    """Refuses a plan with a stage that can never start here.

    Raises:
        UserError: naming every such stage, with its place in the DAG file.
    """
    problems = []
    for address, planned in plan.stages.items():
        stage = planned.stage
        if planned.action is not Action.RUN or stage.spec.launch is Launch.DRIVER:
            continue
        wanted = demand(stage, capacity)
        lack = shortage(wanted, capacity)
        if lack:
            processes = wanted.nodes * wanted.processes_per_node
            place = stage.origins.get(f"stages.{stage.name}.resources")
            problems.append(
                Problem(
                    file=place.file if place else str(plan.dag.file),
                    line=place.line if place else 0,
                    column=place.column if place else 0,
                    path=f"stages.{address}.resources",
                    message=f"{processes} processes: {lack}.",
                    fix="Lower nodes, processes_per_node, cpus_per_process, memory or "
                    "gpus_per_node, perhaps in a profile.",
                )
            )
    if problems:
        raise UserError(problems)


class Slots:
    """What is taken of the machine right now."""

    def __init__(self, capacity: Capacity, jobs: int | None) -> None:
        """`jobs` limits the attempts at one time; None is no limit."""
        self._capacity = capacity
        self._jobs = jobs
        self._taken: dict[str, tuple[Demand, str]] = {}
        self._cells: dict[str, int] = {}
        self._sums = [0, 0, 0]

    @property
    def full(self) -> bool:
        """True when not even the smallest attempt can start: saves looking at what waits."""
        if self._jobs is not None and len(self._taken) >= self._jobs:
            return True
        return self._capacity.cpus is not None and self._sums[0] >= self._capacity.cpus

    def take(self, address: str, stage: Stage, wanted: Demand) -> bool:
        """Takes what the attempt needs, or nothing and False."""
        if self.full:
            return False
        if stage.max_parallel and self._cells.get(stage.name, 0) >= stage.max_parallel:
            return False
        amounts = (wanted.cpus, wanted.memory_bytes, wanted.gpus)
        limits = (self._capacity.cpus, self._capacity.memory_bytes, self._capacity.gpus)
        for amount, taken, limit in zip(amounts, self._sums, limits, strict=True):
            if limit is not None and taken + amount > limit:
                return False
        self._taken[address] = (wanted, stage.name)
        self._cells[stage.name] = self._cells.get(stage.name, 0) + 1
        self._sums = [taken + amount for taken, amount in zip(self._sums, amounts, strict=True)]
        return True

    def release(self, address: str) -> None:
        """Gives back what `take` gave."""
        wanted, name = self._taken.pop(address)
        self._cells[name] -= 1
        amounts = (wanted.cpus, wanted.memory_bytes, wanted.gpus)
        self._sums = [taken - amount for taken, amount in zip(self._sums, amounts, strict=True)]


class Ready:
    """Which stages have all their inputs; every edge is looked at once."""

    def __init__(self, upstream: Mapping[str, Iterable[str]]) -> None:
        """`upstream`: address -> the addresses it waits for; only those that will settle."""
        self._missing: dict[str, int] = {}
        self._below: dict[str, list[str]] = {}
        self._fresh: list[str] = []
        for address, above in upstream.items():
            self.add(address, above)

    def add(self, address: str, missing: Iterable[str]) -> None:
        """Takes in a further stage that waits for `missing`, which have not succeeded yet."""
        above = set(missing)
        self._missing[address] = len(above)
        for one in above:
            self._below.setdefault(one, []).append(address)
        if not above:
            self._fresh.append(address)

    def __bool__(self) -> bool:
        """Whether `take` has something to give."""
        return bool(self._fresh)

    def take(self) -> list[str]:
        """The stages that got their last input since the last call, in the DAG's order."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def succeeded(self, address: str) -> None:
        """Lets those below it come nearer to their start."""
        for below in self._below.get(address, ()):
            self._missing[below] -= 1
            if self._missing[below] == 0:
                self._fresh.append(below)

    def below(self, address: str) -> list[str]:
        """Everything downstream of a stage, each once."""
        found: dict[str, None] = {}
        stack = [address]
        while stack:
            for one in self._below.get(stack.pop(), ()):
                if one not in found:
                    found[one] = None
                    stack.append(one)
        return list(found)


class Sleepers(Generic[SleeperT]):
    """What waits for a moment rather than for an input: a retry, a look at another's lease."""

    def __init__(self) -> None:
        """Nobody sleeps."""
        self._alarms: list[tuple[float, str]] = []
        self._asleep: dict[str, SleeperT] = {}

    def __iter__(self) -> Iterator[str]:
        """The names of those who sleep."""
        return iter(tuple(self._asleep))

    def __len__(self) -> int:
        """How many sleep."""
        return len(self._asleep)

    def add(self, name: str, sleeper: SleeperT, seconds: float) -> None:
        """Lets one sleep from now on."""
        self._asleep[name] = sleeper
        heapq.heappush(self._alarms, (time.monotonic() + seconds, name))

    def pop(self, name: str) -> SleeperT | None:
        """Takes one out before its time; None when it does not sleep."""
        return self._asleep.pop(name, None)

    def wake(self) -> list[SleeperT]:
        """Those whose time has come."""
        woken: list[SleeperT] = []
        while self._alarms and self._alarms[0][0] <= time.monotonic():
            sleeper = self.pop(heapq.heappop(self._alarms)[1])
            if sleeper is not None:
                woken.append(sleeper)
        return woken

    def pause(self, longest: float) -> float:
        """Seconds until the next one wakes, within `longest`."""
        if not self._alarms:
            return longest
        return min(longest, max(0.0, self._alarms[0][0] - time.monotonic()))


_FIRST_POLL_SECONDS = 0.05
_LAST_POLL_SECONDS = 2.0


class Polls:
    """Pauses between looks at something another runner holds; they double up to a longest."""

    def __init__(self) -> None:
        self._pauses: dict[str, float] = {}

    def is_first(self, key: str) -> bool:
        """Whether it was not waited for yet."""
        return key not in self._pauses

    def next_pause(self, key: str) -> float:
        """Seconds until the next look."""
        pause = max(2 * self._pauses.get(key, 0.0), _FIRST_POLL_SECONDS)
        self._pauses[key] = min(pause, _LAST_POLL_SECONDS)
        return self._pauses[key]

    def forget(self, key: str) -> None:
        """It is waited for no more."""
        self._pauses.pop(key, None)
