"""What is in a key, and that it says it in one way only."""

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from pipeline.planner.digests import Digests
from pipeline.planner.keys import content_key, key_parts, planned_stage
from pipeline.planner.plan import PlannedStage
from pipeline.spec.config import Source, StageConfig, Unkeyed
from pipeline.spec.dag import Connection, Stage
from pipeline.spec.ports import FOLDER
from pipeline.spec.resources import EngineConfig, Resources, Retry
from pipeline.spec.stage import Launch, StageSpec
from tests.builders import load


class Colour(Enum):
    RED = "red"


class Free(StageConfig):
    value: Any = None


class Sets(StageConfig):
    words: frozenset[str] = frozenset()
    sources: frozenset[Source] = frozenset()


class Named(BaseModel):
    sources: dict[str, list[Source]] = {}


class Nested(StageConfig):
    inner: Named = Named()
    path: Path = Path("x")
    colour: Colour = Colour.RED


class Pace(BaseModel):
    steps: int = 1
    log_every: Annotated[int | None, Unkeyed()] = 10


class Paced(StageConfig):
    pace: Pace = Pace()


SPEC = StageSpec(name="toy", config=Free, run="pipeline.node.builtins.check:run")


def _stage(config: StageConfig, spec: StageSpec = SPEC, **fields: Any) -> Stage:
    stage = Stage(
        address="a",
        name="a",
        matrix={},
        kind="toy",
        spec=spec,
        config=config,
        inputs={},
        resources=Resources(),
        engine=EngineConfig(),
        retry=Retry(),
        seed=3,
    )
    return replace(stage, **fields)


@pytest.fixture
def digests(tmp_path: Path) -> Digests:
    return Digests(tmp_path)


def _plan(digests: Digests, stage: Stage, keys: Mapping[str, str] | None = None) -> PlannedStage:
    return planned_stage(stage, keys or {}, digests)


def _with(digests: Digests, config: StageConfig) -> dict[str, Any]:
    parts = key_parts(_stage(config), {}, digests)
    return {name: value for name, value in parts.items() if name.startswith("with")}


def test_key_parts_of_nested_values_are_paths(digests: Digests) -> None:
    value = {"model": {"layers": [4, {"a.b": True}]}, "none": None}
    assert _with(digests, Free(value=value)) == {
        "with.value.model.layers[0]": 4,
        'with.value.model.layers[1]."a.b"': True,
        "with.value.none": None,
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": {"b": 1}}, {"a.b": 1}),
        ([1], {"0": 1}),
        ({"a": []}, {"a": {}}),
        ({"a": {}}, {"a": "{}"}),
        ({"a": {}}, {"a{}": None}),
        ([], None),
        ("1", 1),
        (1, 1.0),
        (True, 1),
        (None, "null"),
        (["a", "b"], ["b", "a"]),
        ({'a"': 1}, {"a": 1}),
        (float("nan"), float("inf")),
        ([[1], [2]], [[1, 2]]),
    ],
    ids=str,
)
def test_plan_key_of_values_that_only_look_alike_differs(
    digests: Digests, one: Any, other: Any
) -> None:
    keys = {_plan(digests, _stage(Free(value=value))).plan_key for value in (one, other)}
    assert len(keys) == 2


def test_plan_key_does_not_depend_on_the_order_of_mappings(digests: Digests) -> None:
    keys = {
        _plan(digests, _stage(Free(value=value))).plan_key
        for value in ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    }
    assert len(keys) == 1


def test_key_parts_of_a_set_are_sorted(digests: Digests) -> None:
    words = [f"w{n}" for n in range(20)]
    found = _with(digests, Sets(words=frozenset(words)))
    assert [found[f"with.words[{n}]"] for n in range(20)] == sorted(words)


def test_key_parts_of_rich_types_are_what_they_write_themselves_as(digests: Digests) -> None:
    assert _with(digests, Nested()) == {
        "with.colour": "red",
        "with.inner.sources{}": None,
        "with.path": "x",
    }


def test_key_parts_of_sources_anywhere_are_digests_of_content(
    digests: Digests, tmp_path: Path
) -> None:
    (tmp_path / "x.txt").write_text("x")
    file = str(tmp_path / "x.txt")
    nested = Nested.model_validate({"inner": {"sources": {"raw": [file]}}})
    in_set = Sets.model_validate({"sources": [file]})
    parts = key_parts(_stage(nested), {}, digests)
    digest = parts["source.inner.sources.raw[0]"]
    assert digest == digests.source(file)
    assert key_parts(_stage(in_set), {}, digests)["source.sources[0]"] == digest
    assert file not in parts.values()


def test_key_parts_hold_seed_precision_device_and_libraries_only_where_declared(
    digests: Digests,
) -> None:
    plain = key_parts(_stage(Free()), {}, digests)
    assert not {"seed", "precision", "device"} & plain.keys()
    spec = replace(
        SPEC,
        launch=Launch.GANG,
        uses_seed=True,
        device_matters=True,
        libraries=("numpy", "no-such-library"),
    )
    parts = key_parts(_stage(Free(), spec, engine=EngineConfig(precision="bf16")), {}, digests)
    assert (parts["seed"], parts["precision"]) == (3, "bf16")
    assert parts["device"]
    assert parts["library.numpy"] == metadata.version("numpy")
    assert parts["library.no-such-library"] == "not installed"


def test_plan_key_leaves_placement_out(digests: Digests) -> None:
    moved = _stage(
        Free(),
        address="elsewhere",
        name="elsewhere",
        resources=Resources(nodes=4, gpus_per_node=8, workers=3),
        engine=EngineConfig(zero_stage=2, engine="deepspeed", micro_batch_size=2),
        retry=Retry(max_attempts=9),
        timeout_seconds=5.0,
        max_parallel=2,
    )
    assert _plan(digests, moved).plan_key == _plan(digests, _stage(Free())).plan_key


def test_plan_key_names_upstream_keys_and_ports_in_order(digests: Digests) -> None:
    spec = replace(SPEC, inputs={"one": FOLDER, "all": replace(FOLDER, many=True)})
    connections = {
        "one": (Connection("u", "o"),),
        "all": (Connection("u", "o"), Connection("v", "p")),
    }
    stage = _stage(Free(), spec, inputs=connections)
    parts = key_parts(stage, {"u": "1", "v": "2"}, digests)
    found = {name: value for name, value in parts.items() if name.startswith("input.")}
    assert found == {"input.one": "1/o", "input.all[0]": "1/o", "input.all[1]": "2/p"}
    keys = {"u": "1", "v": "2"}
    turned = replace(stage, inputs={**connections, "all": connections["all"][::-1]})
    assert _plan(digests, turned, keys).plan_key != _plan(digests, stage, keys).plan_key


def test_content_key_depends_on_content_and_not_on_upstream_keys(digests: Digests) -> None:
    spec = replace(SPEC, inputs={"i": FOLDER})
    stage = _stage(Free(), spec, inputs={"i": (Connection("u", "o"),)})
    one, other = (_plan(digests, stage, {"u": key}) for key in ("1", "2"))
    assert one.plan_key != other.plan_key
    assert content_key(one, {"i": "d"}) == content_key(other, {"i": "d"})
    assert content_key(one, {"i": "d"}) != content_key(one, {"i": "e"})
    assert content_key(one, {"i": "d"}) != content_key(one, {"i": ["d"]})
    assert content_key(one, {}) != one.plan_key


def test_key_parts_leave_out_what_only_says_when_to_tell(digests: Digests) -> None:
    parts = [
        key_parts(_stage(Paced(pace=Pace(log_every=every))), {}, digests) for every in (1, None)
    ]
    assert parts[0] == parts[1]
    assert parts[0]["with.pace.steps"] == 1


def test_key_parts_hide_what_came_from_the_environment(tmp_path: Path) -> None:
    text = """
name: toy
stages:
  make:
    uses: command
    with:
      argv: [sh, "${env.TOKEN}"]
      env: {KEY: "${env.TOKEN}", "A.B": "${env.TOKEN}"}
      outputs: {out: folder}
"""
    keys = set()
    for token in ("secret-1", "secret-2"):
        stage = load(tmp_path, text, environ={"TOKEN": token}).stages["make"]
        with Digests(tmp_path) as digests:
            planned = planned_stage(stage, {}, digests)
        assert token not in str(dict(planned.key_parts))
        assert str(planned.key_parts["with.env.KEY"]).startswith("${env.TOKEN}#")
        keys.add(planned.plan_key)
    assert len(keys) == 2


@pytest.mark.parametrize(("argument", "expected"), [("{seed}", 2), ("x", 1)])
def test_plan_key_of_a_command_has_the_seed_where_it_is_used(
    argument: str, expected: int, tmp_path: Path
) -> None:
    text = f"""
name: toy
stages:
  make:
    uses: command
    with: {{argv: [sh, "{argument}"], outputs: {{out: folder}}}}
"""
    with Digests(tmp_path) as digests:
        keys = {
            planned_stage(
                load(tmp_path, text, sets=[f"seed={seed}"]).stages["make"], {}, digests
            ).plan_key
            for seed in (1, 2)
        }
    assert len(keys) == expected
