"""Which stages of a DAG a command means."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from pipeline.errors import Problem, UserError
from pipeline.spec.dag import Dag
from pipeline.spec.suggest import did_you_mean


@dataclass(frozen=True)
class Selection:
    """Names of stages as typed: an address, or a stage's name for all cells of its matrix.

    Attributes:
        targets, until: these, and what they need.
        only: these and nothing else; what they need must be there.
        from_: these are run anew, with all that depends on them, and with what they need.
        force: run although a result is there; does not narrow the selection.
        accept_code: keep a result whose code has changed; does not narrow the selection.
        finished: addresses that a resumed run has done already: not forced a second time.
    """

    targets: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    from_: tuple[str, ...] = ()
    until: tuple[str, ...] = ()
    force: tuple[str, ...] = ()
    accept_code: tuple[str, ...] = ()
    finished: tuple[str, ...] = ()

    @classmethod
    def of(cls, **names: Iterable[str] | None) -> Self:
        """From options of a command line; None is one that was not given."""
        return cls(**{field: tuple(given or ()) for field, given in names.items()})

    def as_record(self) -> dict[str, Any]:
        """For run.json; `from_record` reads it."""
        return {name: list(names) for name, names in asdict(self).items() if names}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The selection that `as_record` wrote."""
        return cls(**{name: tuple(map(str, names)) for name, names in record.items()})

    def after(self, finished: Collection[str]) -> Self:
        """The same selection for a resumed run in which `finished` are done."""
        return replace(self, finished=tuple(finished))

    def narrowed_to(self, names: Iterable[str]) -> Self:
        """The same selection for some of its stages: still forced, still nothing but `only`."""
        if self.only:
            return replace(self, only=tuple(names))
        return replace(self, targets=tuple(names), until=())


@dataclass(frozen=True)
class Chosen:
    """A selection resolved to addresses.

    Attributes:
        wanted: must have a result when the run is over.
        runnable: may be run to get there.
        forced: run in any case.
        accepted: keep results of older code.
    """

    wanted: frozenset[str]
    runnable: frozenset[str]
    forced: frozenset[str]
    accepted: frozenset[str]


def choose(dag: Dag, selection: Selection) -> Chosen:
    """Resolves names and follows connections.

    Raises:
        UserError: names that are no stage, all at once.
    """
    resolved = _resolve(dag, selection)
    everything = frozenset(dag.stages)
    anew = descendants(dag, resolved["from_"])
    narrowed = resolved["targets"] | resolved["until"] | anew
    wanted: Collection[str]
    runnable: Collection[str]
    if selection.only:
        wanted = resolved["only"]
        runnable = wanted
    elif narrowed:
        wanted = narrowed
        runnable = ancestors(dag, narrowed)
    else:
        wanted = runnable = everything
    forced = (resolved["force"] | anew) & set(runnable)
    return Chosen(
        wanted=frozenset(wanted),
        runnable=frozenset(runnable),
        forced=frozenset(forced) - frozenset(selection.finished),
        accepted=frozenset(resolved["accept_code"]),
    )


def ancestors(dag: Dag, addresses: Iterable[str]) -> set[str]:
    """The stages and all that they need, directly or not."""
    found: set[str] = set()
    stack = list(addresses)
    while stack:
        address = stack.pop()
        if address not in found:
            found.add(address)
            stack.extend(dag.stages[address].upstream)
    return found


def descendants(dag: Dag, addresses: Iterable[str]) -> set[str]:
    """The stages and all that depend on them, directly or not."""
    found = set(addresses)
    for address, stage in dag.stages.items():  # upstream before downstream
        if not found.isdisjoint(stage.upstream):
            found.add(address)
    return found


def _resolve(dag: Dag, selection: Selection) -> dict[str, set[str]]:
    by_name: dict[str, list[str]] = {}
    for address, stage in dag.stages.items():
        by_name.setdefault(stage.name, []).append(address)
    resolved: dict[str, set[str]] = {}
    problems = []
    for field, names in asdict(selection).items():
        if field == "finished":
            continue
        resolved[field] = set()
        for name in names:
            found = [name] if name in dag.stages else by_name.get(name, [])
            resolved[field].update(found)
            if not found:
                fix = did_you_mean(name, [*by_name, *dag.stages], "Stages")
                problems.append(Problem(str(dag.file), 0, 0, "", f"no stage {name!r}", fix))
    if problems:
        raise UserError(problems)
    return resolved
