"""Making the plan: a key for every stage, a look at what is there, a decision with its reasons."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.cache.results import Lookup, Result, Results
from pipeline.errors import InputError
from pipeline.planner.changes import Change, changes, reasons
from pipeline.planner.digests import Digests
from pipeline.planner.inputs import Inputs, inputs_of
from pipeline.planner.keys import content_key, planned_stage
from pipeline.planner.plan import Action, Plan, PlannedStage
from pipeline.planner.selection import Chosen, Selection, choose
from pipeline.spec.dag import Dag, Stage
from pipeline.spec.job import content_key_of
from pipeline.spec.stage import Launch
from pipeline.storage import Store

_REMOTE_THREADS = 16
"""Look-ups at one time: on an object store each takes a few requests, each tens of milliseconds."""


def make_plan(dag: Dag, store: Store, selection: Selection, *, workdir: Path) -> Plan:
    """Decides for every stage of a DAG; changes nothing but the memo of digests.

    Args:
        dag: as read and checked.
        store: where results are looked up.
        selection: which stages are meant.
        workdir: local folder; `digests.db` in it remembers what files hash to.

    Raises:
        UserError: the selection names what is no stage.
        StoreError: the store or a source cannot be read.
    """
    chosen = choose(dag, selection)
    keys: dict[str, str] = {}
    keyed: list[PlannedStage] = []
    with Digests(workdir) as digests:
        for address, stage in dag.stages.items():
            keyed.append(planned_stage(stage, keys, digests))
            keys[address] = keyed[-1].plan_key
    planner = _Planner(Results(store), chosen)
    seen = _look_up(store, dag.name, keyed)
    stages = {one.stage.address: planner.decide(one, seen[one.stage.address]) for one in keyed}
    return Plan(dag, _narrow(stages, chosen))


@dataclass(frozen=True)
class _Seen:
    """What the store has for a stage.

    Attributes:
        found: under its plan key.
        latest: plan key of the last result at this place in the DAG; looked up for a miss only.
        before: that result, whether or not its artifacts still are there.
    """

    found: Lookup
    latest: str | None = None
    before: Result | None = None


def _look_up(store: Store, dag: str, stages: Sequence[PlannedStage]) -> dict[str, _Seen]:
    """Address -> what the store has."""
    results = Results(store)

    def look(planned: PlannedStage) -> _Seen:
        found = results.find(planned.plan_key)
        if found.result is not None:
            return _Seen(found)
        latest = results.latest(dag, planned.stage.address)
        return _Seen(found, latest, results.read(latest).result if latest else None)

    addresses = [planned.stage.address for planned in stages]
    if store.local_path() is not None:
        return dict(zip(addresses, map(look, stages), strict=True))
    with ThreadPoolExecutor(_REMOTE_THREADS) as pool:
        return dict(zip(addresses, pool.map(look, stages), strict=True))


class _Planner:
    """Decides stages in the DAG's order."""

    def __init__(self, results: Results, chosen: Chosen) -> None:
        self._results = results
        self._chosen = chosen
        self._planned: dict[str, PlannedStage] = {}

    def decide(self, planned: PlannedStage, seen: _Seen) -> PlannedStage:
        """The decision for one stage, its upstream decided already."""
        decided = self._decide(planned, seen)
        self._planned[planned.stage.address] = decided
        return decided

    def _decide(self, planned: PlannedStage, seen: _Seen) -> PlannedStage:
        if (unseen := self._without_a_look(planned)) is not None:
            return unseen
        inputs = self._known_inputs(planned.stage)
        key = None if inputs is None else content_key(planned, inputs)
        result = seen.found.result
        if result is not None and key in (None, result.content_key):
            return _reused(planned, result, "same configuration, code and inputs")
        if key is not None and (same := self._results.lookup(key)) is not None:
            reused = _reused(planned, same, "the inputs hold the same as before")
            return replace(reused, same_content=True)
        if result is not None:
            # Upstream was forced and came out different: the same stages, other bytes.
            reason = "miss: the inputs hold something else than when its result was made"
            return replace(planned, reasons=(reason,), by_content=True)
        return self._missed(planned, seen)

    def _without_a_look(self, planned: PlannedStage) -> PlannedStage | None:
        """The decision for what is not looked up under its plan key, None for all else."""
        if planned.stage.address in self._chosen.forced:
            return replace(planned, reasons=("forced",), forced=True)
        for name in planned.stage.upstream:
            above = self._planned[name]
            if above.forced or above.by_content or _is_driver(above):
                anew = "asked again" if _is_driver(above) else "made anew"
                reason = f"{name} is {anew}; kept if that gives the same"
                return replace(planned, reasons=(reason,), by_content=True)
        if _is_driver(planned):
            # Its key says nothing of the code, seeds and sources of the cells it will ask for.
            return replace(planned, reasons=("asked again; its cells are looked up one by one",))
        return None

    def _missed(self, planned: PlannedStage, seen: _Seen) -> PlannedStage:
        """Why there is no result under the key: beside the last one at this place in the DAG."""
        if seen.latest is None:
            return replace(planned, reasons=("miss: no earlier result",))
        if seen.latest == planned.plan_key:
            return replace(planned, reasons=(f"miss: {seen.found.reason}",))
        if seen.before is None:
            return replace(planned, reasons=("miss: the earlier result is gone",))
        found = changes(seen.before.key_parts, planned)
        if planned.stage.address in self._chosen.accepted:
            return self._accepted(planned, seen.before, found)
        return replace(planned, reasons=reasons(found, "miss"))

    def _accepted(
        self, planned: PlannedStage, before: Result, found: Sequence[Change]
    ) -> PlannedStage:
        """Keeps the earlier result when all but the code is as it was."""
        if not self._is_only_code(found, before, planned.stage):
            return replace(planned, reasons=reasons(found, "more than code changed"))
        kept = self._results.find(before.plan_key)
        if kept.result is None:
            return replace(planned, reasons=(f"nothing to accept: {kept.reason}",))
        return replace(_reused(planned, kept.result, *reasons(found, "accepted")), accepted=True)

    def _is_only_code(self, found: Sequence[Change], before: Result, stage: Stage) -> bool:
        """Whether the inputs hold what they held, and all but the code is as it was."""
        kinds = {change.name.partition(".")[0] for change in found}
        if "input" in kinds:
            # Upstream has other keys, for its code was accepted too; what it gives may be the same.
            inputs = self._known_inputs(stage)
            if inputs is None or content_key_of(before.key_parts, inputs) != before.content_key:
                return False
        return kinds <= {"code", "input"}

    def _known_inputs(self, stage: Stage) -> Inputs | None:
        """Input digests when everything upstream is reused, else None."""
        if any(self._planned[name].action is not Action.REUSE for name in stage.upstream):
            return None
        try:
            return inputs_of(stage, lambda name: self._planned[name].artifacts)
        except InputError:  # the run will say so, of this stage alone
            return None


def _is_driver(planned: PlannedStage) -> bool:
    return planned.stage.spec.launch is Launch.DRIVER


def _reused(planned: PlannedStage, result: Result, *reasons: str) -> PlannedStage:
    artifacts = dict(result.artifacts)
    return replace(planned, action=Action.REUSE, reasons=reasons, artifacts=artifacts)


def _narrow(stages: Mapping[str, PlannedStage], chosen: Chosen) -> dict[str, PlannedStage]:
    """Leaves out what the selection does not need; blocks what needs what is left out."""
    needed: set[str] = set()
    for address in reversed(list(stages)):
        planned = stages[address]
        if address in chosen.wanted or address in needed:
            needed.add(address)
            if planned.action is Action.RUN:
                needed.update(planned.stage.upstream)
    narrowed: dict[str, PlannedStage] = {}
    for address, planned in stages.items():
        narrowed[address] = _placed(planned, chosen, narrowed, needed=address in needed)
    return narrowed


def _placed(
    planned: PlannedStage, chosen: Chosen, before: Mapping[str, PlannedStage], *, needed: bool
) -> PlannedStage:
    address = planned.stage.address
    if not needed:
        return replace(planned, action=Action.SKIP, reasons=("not selected",), artifacts={})
    if planned.action is not Action.RUN:
        return planned
    if address not in chosen.runnable:
        fix = f"{address} has no result for its present settings: run it first, or use --until"
        if _is_driver(planned):
            fix = f"{address} is asked again whenever it is needed: name it too, or use --until"
        return replace(planned, action=Action.BLOCKED, reasons=(fix,))
    blockers = [one for one in planned.stage.upstream if before[one].action is Action.BLOCKED]
    if blockers:
        return replace(planned, action=Action.BLOCKED, reasons=(f"needs {blockers[0]}",))
    return planned
