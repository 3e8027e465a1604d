"""Making the plan: a key for every stage, a look at what is there, a decision with its reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.cache.results import Result, Results
from pipeline.planner.changes import Change, changes, reasons
from pipeline.planner.digests import Digests
from pipeline.planner.keys import content_key, content_key_of, planned_stage
from pipeline.planner.plan import Action, Plan, PlannedStage
from pipeline.planner.selection import Chosen, Selection, choose, upstream_of
from pipeline.spec.dag import Dag, Stage
from pipeline.storage import Store


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
    with Digests(workdir) as digests:
        planner = _Planner(dag, store, chosen, digests)
        stages = {address: planner.plan(stage) for address, stage in dag.stages.items()}
    return Plan(dag, _narrow(stages, chosen))


class _Planner:
    """Plans stages in the DAG's order."""

    def __init__(self, dag: Dag, store: Store, chosen: Chosen, digests: Digests) -> None:
        self._dag = dag
        self._results = Results(store)
        self._chosen = chosen
        self._digests = digests
        self._planned: dict[str, PlannedStage] = {}
        self._keys: dict[str, str] = {}

    def plan(self, stage: Stage) -> PlannedStage:
        """The decision for one stage, its upstream decided already."""
        planned = planned_stage(stage, self._keys, self._digests)
        self._keys[stage.address] = planned.plan_key
        self._planned[stage.address] = self._decide(planned)
        return self._planned[stage.address]

    def _decide(self, planned: PlannedStage) -> PlannedStage:
        address = planned.stage.address
        if address in self._chosen.forced:
            return replace(planned, reasons=("forced",), forced=True)
        found = self._results.find(planned.plan_key)
        if found.result is not None:
            return _reused(planned, found.result, "hit: plan key")
        if (inputs := self._known_inputs(planned.stage)) is not None:
            same = self._results.lookup(content_key(planned, inputs))
            if same is not None:
                return _reused(planned, same, "hit: content key, the inputs hold the same")
        return self._missed(planned, found.reason)

    def _missed(self, planned: PlannedStage, reason: str) -> PlannedStage:
        """Why there is no result under the key: beside the last one at this place in the DAG."""
        address = planned.stage.address
        latest = self._results.latest(self._dag.name, address)
        if latest is None:
            return replace(planned, reasons=("miss: no earlier result",))
        if latest == planned.plan_key:
            return replace(planned, reasons=(f"miss: {reason}",))
        before = self._results.read(latest).result
        if before is None:
            return replace(planned, reasons=("miss: the earlier result is gone",))
        found = changes(before.key_parts, planned)
        if address in self._chosen.accepted:
            return self._accepted(planned, before, found)
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

    def _known_inputs(self, stage: Stage) -> Mapping[str, str | list[str]] | None:
        """Input digests when everything upstream is reused, else None."""
        ports, _ = stage.spec.ports(stage.config)
        inputs: dict[str, str | list[str]] = {}
        for port, connections in stage.inputs.items():
            digests = []
            for one in connections:
                upstream = self._planned[one.stage]
                if upstream.action is not Action.REUSE:
                    return None
                if one.port in upstream.artifacts:
                    digests.append(upstream.artifacts[one.port])
            if ports[port].many:
                inputs[port] = digests
            elif digests:
                inputs[port] = digests[0]
        return inputs


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
                needed.update(upstream_of(planned.stage))
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
        return replace(planned, action=Action.BLOCKED, reasons=(fix,))
    blockers = [one for one in upstream_of(planned.stage) if before[one].action is Action.BLOCKED]
    if blockers:
        return replace(planned, action=Action.BLOCKED, reasons=(f"needs {blockers[0]}",))
    return planned
