"""A desk to plan at: DAG files as text, and results recorded as a run would leave them."""

from collections.abc import Mapping
from pathlib import Path

from pipeline.cache import Artifacts, Result, Results
from pipeline.planner.keys import content_key
from pipeline.planner.make_plan import make_plan
from pipeline.planner.plan import Action, Plan, PlannedStage
from pipeline.planner.selection import Selection
from pipeline.storage import Store
from tests.builders import load

COMMAND = "{uses: command, with: {argv: [%s], outputs: {o: folder}}}"
"""A stage without inputs; the word in it is its only setting."""
READER = "{uses: command, with: {argv: [%s], inputs: {i: folder}, outputs: {o: folder}}, inputs: {i: %s.o}}"
"""A stage that reads another."""


def chain(*words: str) -> str:
    """A DAG of stages a, b, c, ... each reading the one before; the words are their settings."""
    stages, before = [], ""
    for name, word in zip("abcdefgh", words, strict=False):
        block = READER % (word, before) if before else COMMAND % word
        stages.append(f"  {name}: {block}\n")
        before = name
    return "name: chain\nstages:\n" + "".join(stages)


class Desk:
    """Plans DAGs of one folder against one store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "store")
        self.results = Results(self.store)

    def plan(self, text: str, selection: Selection | None = None, *sets: str) -> Plan:
        """The plan of a DAG file with this text."""
        dag = load(self.folder, text, sets=sets)
        return make_plan(dag, self.store, selection or Selection(), workdir=self.folder / "work")

    def build(self, plan: Plan, says: Mapping[str, str] | None = None) -> None:
        """Records a result for every stage that is to run, as the runner does.

        Args:
            plan: what to build.
            says: address -> what its outputs hold; by default, every key gives another content.
        """
        have: dict[str, Mapping[str, str]] = {}
        for address, planned in plan.stages.items():
            if planned.action is Action.RUN:
                have[address] = self._commit(planned, (says or {}).get(address, planned.plan_key))
                self._record(plan, planned, have)
            else:
                have[address] = planned.artifacts

    def _commit(self, planned: PlannedStage, text: str) -> dict[str, str]:
        artifacts = Artifacts(self.store)
        _, ports = planned.stage.spec.ports(planned.stage.config)
        for port in ports:
            folder = artifacts.staging(planned.plan_key, "attempt", port)
            (folder / "said").write_text(text)
        artifacts.write_part(planned.plan_key, "attempt", ports)
        return artifacts.commit(planned.plan_key, "attempt", ports, lease_token="")

    def _record(
        self, plan: Plan, planned: PlannedStage, have: Mapping[str, Mapping[str, str]]
    ) -> None:
        ports, _ = planned.stage.spec.ports(planned.stage.config)
        inputs: dict[str, str | list[str]] = {}
        for port, connections in planned.stage.inputs.items():
            digests = [have[one.stage][one.port] for one in connections]
            inputs[port] = digests if ports[port].many else digests[0]
        key = content_key(planned, inputs)
        result = Result(
            artifacts=dict(have[planned.stage.address]),
            plan_key=planned.plan_key,
            content_key=key,
            stage=planned.stage.address,
            kind=planned.stage.kind,
            run="run",
            attempt_id="attempt",
            key_parts=dict(planned.key_parts),
        )
        self.results.record((planned.plan_key, key), result)
        self.results.set_latest(plan.dag.name, planned.stage.address, planned.plan_key)


def actions(plan: Plan) -> dict[str, str]:
    """Address -> action."""
    return {address: planned.action.value for address, planned in plan.stages.items()}


def reasons(plan: Plan, address: str) -> list[str]:
    """Why a stage is planned so."""
    return list(plan.stages[address].reasons)
