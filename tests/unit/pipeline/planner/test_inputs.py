"""From connections to artifacts."""

import pytest

from pipeline.errors import InputError
from pipeline.planner.inputs import Inputs, inputs_of
from pipeline.spec.config import StageConfig
from pipeline.spec.dag import Connection, Stage
from pipeline.spec.ports import Port, PortKind
from pipeline.spec.resources import EngineConfig, Resources, Retry
from pipeline.spec.stage import StageSpec

MADE = {"a": {"x": "digest-x"}, "b": {"x": "digest-b", "y": "digest-y"}}


def _inputs(port: Port, *connections: tuple[str, str]) -> Inputs:
    stage = Stage(
        address="s",
        name="s",
        matrix={},
        kind="k",
        spec=StageSpec(name="k", config=StageConfig, run="m:f", inputs={"i": port}),
        config=StageConfig(),
        inputs={"i": tuple(Connection(*one) for one in connections)},
        resources=Resources(),
        engine=EngineConfig(),
        retry=Retry(),
        seed=0,
    )
    assert stage.upstream == list(dict.fromkeys(address for address, _ in connections))
    return inputs_of(stage, MADE.__getitem__)


def test_inputs_single_port_is_one_digest() -> None:
    assert _inputs(Port(PortKind.FOLDER), ("a", "x")) == {"i": "digest-x"}


def test_inputs_many_port_keeps_the_order_of_its_connections() -> None:
    many = Port(PortKind.FOLDER, many=True)
    found = _inputs(many, ("b", "y"), ("a", "x"), ("b", "x"))
    assert found == {"i": ["digest-y", "digest-x", "digest-b"]}


def test_inputs_optional_port_without_its_artifact_is_absent() -> None:
    assert _inputs(Port(PortKind.FOLDER, optional=True), ("a", "y")) == {}


def test_inputs_required_port_without_its_artifact_is_refused() -> None:
    with pytest.raises(InputError, match=r"input i: a\.y was not written, and i is required"):
        _inputs(Port(PortKind.FOLDER), ("a", "y"))
