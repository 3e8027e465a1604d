"""`pipeline graph`: the DAG as Mermaid text."""

from __future__ import annotations

from typing import TYPE_CHECKING

# Not for type checking alone: typer reads the annotations of a command when it registers it.
from pipeline.cli.loading import load
from pipeline.cli.options import DagFile, ProfileName, SetValues, ValuesFiles

if TYPE_CHECKING:
    from pipeline.spec.dag import Dag


def graph(
    dag: DagFile,
    profile: ProfileName = None,
    values: ValuesFiles = None,
    set_: SetValues = None,
) -> None:
    """Prints the DAG as a Mermaid flowchart, an edge for each connected port."""
    print(mermaid(load(dag, profile=profile, values=values, sets=set_)))


def mermaid(dag: Dag) -> str:
    """A Mermaid flowchart of the stages and their connections, stable from call to call."""
    ids = {address: f"s{number}" for number, address in enumerate(dag.stages)}
    lines = ["flowchart LR"]
    for address, stage in dag.stages.items():
        lines.append(f'  {ids[address]}["{_escape(address)}<br/>{_escape(stage.spec.name)}"]')
    for address, stage in dag.stages.items():
        for port, connections in stage.inputs.items():
            for connection in connections:
                label = f"{connection.port} → {port}" if connection.port != port else port
                lines.append(f"  {ids[connection.stage]} -->|{_escape(label)}| {ids[address]}")
    return "\n".join(lines)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
