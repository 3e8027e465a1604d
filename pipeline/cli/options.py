"""Arguments and options that several subcommands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Output(StrEnum):
    """How a command prints: for a person, or one JSON document for a program."""

    TEXT = "text"
    JSON = "json"


DagFile = Annotated[
    Path, typer.Argument(help="The DAG file.", metavar="DAG_FILE", show_default=False)
]
ProfileName = Annotated[
    str | None, typer.Option("--profile", "-p", help="A profile of the DAG file.")
]
ValuesFiles = Annotated[
    list[Path] | None,
    typer.Option("--values", help="A YAML file of values laid over the DAG; may be repeated."),
]
SetValues = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Lays one value over the DAG; repeatable."),
]
OutputFormat = Annotated[Output, typer.Option("--output", "-o", help="How to print.")]
Targets = Annotated[
    list[str] | None,
    typer.Argument(metavar="STAGE", help="Only these stages and what they need."),
]
Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="STAGE", help="Nothing but this stage, whatever is upstream."),
]
From = Annotated[
    list[str] | None,
    typer.Option("--from", metavar="STAGE", help="This stage, anew, and all that depends on it."),
]
Until = Annotated[
    list[str] | None,
    typer.Option("--until", metavar="STAGE", help="This stage and what it needs."),
]
Force = Annotated[
    list[str] | None,
    typer.Option("--force", metavar="STAGE", help="Runs this stage although a result is there."),
]
AcceptCode = Annotated[
    list[str] | None,
    typer.Option(
        "--accept-code",
        metavar="STAGE",
        help="Keeps this stage's result although its code changed; recorded in the run.",
    ),
]
On = Annotated[
    str | None,
    typer.Option("--on", metavar="EXECUTOR", help="Where to run; default what the DAG says."),
]
StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        envvar="PIPELINE_STORE",
        help="The store; default the DAG's, else where the last run of this folder went",
    ),
]
RunId = Annotated[
    str | None,
    typer.Argument(metavar="RUN", help="A run's id, its start or end, or `latest`, the default."),
]
