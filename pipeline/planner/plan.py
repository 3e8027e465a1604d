"""The plan: what happens to each stage of a DAG, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pipeline.spec.dag import Dag, Stage


class Action(StrEnum):
    """What the runner does with a stage."""

    RUN = "run"
    REUSE = "reuse"
    BLOCKED = "blocked"
    """Left out by the selection while its result is needed, or downstream of such a stage."""
    SKIP = "skip"
    """Left out by the selection."""


@dataclass(frozen=True)
class PlannedStage:
    """One stage with its key and the decision.

    Attributes:
        key_parts: flat name -> value, e.g. "with.model.seq_len": 512; the plan key is the digest
            of its canonical JSON. Inputs stand in it as `input.shards` or `input.scores[0]`: plan key of the
            stage they come from plus "/port".
        plan_key: hex; names results, staging and lease (state has its inputs in its name too).
        code_digest: digest of the "code.*" parts alone.
        reasons: one line each: "miss: with.model.seq_len 512 -> 256", "same configuration, code and inputs".
        artifacts: port -> artifact digest when the action is REUSE; empty otherwise.
        forced: RUN although a result may exist (`--force`): the runner looks nothing up.
        by_content: RUN unless there is a result under the content key: one under the plan key was
            made of inputs that held, or may have held, something else.
        same_content: REUSE of a result that was found under the content key: the runner records it
            under the plan key too.
        accepted: REUSE of a result of other code (`--accept-code`): the runner records it under
            this stage's keys and journals the decision.
    """

    stage: Stage
    key_parts: Mapping[str, str | int | float | bool | None]
    plan_key: str
    code_digest: str
    action: Action
    reasons: tuple[str, ...]
    artifacts: Mapping[str, str]
    forced: bool = False
    by_content: bool = False
    same_content: bool = False
    accepted: bool = False


@dataclass(frozen=True)
class Plan:
    """Every stage of the DAG, in the DAG's order."""

    dag: Dag
    stages: Mapping[str, PlannedStage]
