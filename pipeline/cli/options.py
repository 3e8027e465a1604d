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
    Path, typer.Argument(help="The DAG file.", metavar="DAG.YAML", show_default=False)
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
