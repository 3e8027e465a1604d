"""Which artifacts a stage's inputs are, once the stages upstream have theirs."""

from collections.abc import Callable, Mapping

from pipeline.errors import InputError
from pipeline.spec.dag import Stage

Inputs = Mapping[str, str | list[str]]
"""Port -> artifact digest, or the list of a `many` port; an optional port may be absent."""


def inputs_of(
    stage: Stage, artifacts_of: Callable[[str], Mapping[str, str]]
) -> dict[str, str | list[str]]:
    """The artifacts behind a stage's inputs.

    Args:
        stage: whose.
        artifacts_of: gives for the address of a stage upstream its output ports -> digests.

    Raises:
        InputError: a required input is connected to an optional output that was not written.
    """
    ports, _ = stage.spec.ports(stage.config)
    inputs: dict[str, str | list[str]] = {}
    for name, connections in stage.inputs.items():
        digests = []
        for connection in connections:
            digest = artifacts_of(connection.stage).get(connection.port)
            if digest is not None:
                digests.append(digest)
            elif not ports[name].optional:
                msg = f"input {name}: {connection} was not written, and {name} is required"
                raise InputError(msg)
        if ports[name].many:
            inputs[name] = digests
        elif digests:
            inputs[name] = digests[0]
    return inputs
