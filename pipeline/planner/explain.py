"""What the key of a stage is made of, and what changed since its last result."""

from dataclasses import dataclass
from typing import Any

from pipeline.cache.results import Results
from pipeline.errors import UserError
from pipeline.planner.changes import Change, changes
from pipeline.planner.plan import Plan, PlannedStage
from pipeline.spec.suggest import did_you_mean
from pipeline.storage import Store


@dataclass(frozen=True)
class Explanation:
    """A planned stage beside its last result.

    Attributes:
        planned: the stage as planned now.
        latest: plan key of the last result at this place in the DAG, None when there is none.
        changed: parts that differ from it.
    """

    planned: PlannedStage
    latest: str | None
    changed: tuple[Change, ...]

    def as_text(self, *, verbose: bool = False) -> str:
        """For a person: settings and inputs first; the modules of its code when `verbose`."""
        stage = self.planned.stage
        lines = [f"{stage.address} ({stage.kind}): {self.planned.action}"]
        lines += [f"  {reason}" for reason in self.planned.reasons]
        lines += [f"plan key  {self.planned.plan_key}", f"last      {self.latest or 'never'}"]
        if self.changed:
            lines.append("changed since then:")
            lines += [f"  {change.text}" for change in self.changed]
        lines.append("the key is made of:")
        parts = self.planned.key_parts
        code = sorted(name for name in parts if name.startswith("code."))
        named = sorted(parts.keys() - set(code), key=lambda name: (_rank(name), name))
        lines += [f"  {name} = {parts[name]}" for name in named]
        if verbose:
            lines += [f"  {name} = {parts[name]}" for name in code]
        elif code:
            lines.append(f"  the code of {len(code)} modules; -v lists them")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return {
            "stage": self.planned.stage.address,
            "action": self.planned.action.value,
            "reasons": list(self.planned.reasons),
            "plan_key": self.planned.plan_key,
            "latest": self.latest,
            "changed": [vars(change) for change in self.changed],
            "key_parts": dict(self.planned.key_parts),
        }


def _rank(part: str) -> int:
    """What the DAG file says comes before what the machine says."""
    group = part.partition(".")[0]
    return _FIRST.index(group) if group in _FIRST else len(_FIRST)


_FIRST = ("kind", "with", "seed", "input", "source")


def explain(plan: Plan, address: str, store: Store) -> Explanation:
    """Compares a planned stage with the last result at the same place in the DAG.

    Raises:
        UserError: there is no such stage.
        StoreError: the store failed.
    """
    if address not in plan.stages:
        msg = f"no stage {address!r}. {did_you_mean(address, plan.stages, 'Stages')}"
        raise UserError(msg)
    planned = plan.stages[address]
    results = Results(store)
    latest = results.latest(plan.dag.name, address)
    before = results.read(latest).result if latest else None
    changed = changes(before.key_parts, planned) if before else []
    return Explanation(planned, latest, tuple(changed))
