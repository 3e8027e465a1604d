"""`pipeline validate`: every problem of a DAG file at once."""

import json

import typer

from pipeline.cli.loading import load
from pipeline.cli.options import (
    DagFile,
    Output,
    OutputFormat,
    ProfileName,
    SetValues,
    ValuesFiles,
)
from pipeline.errors import UserError


def validate(
    dag: DagFile,
    profile: ProfileName = None,
    values: ValuesFiles = None,
    set_: SetValues = None,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Checks a DAG file; prints each problem as file:line:col and ends with 2 if there is one."""
    try:
        loaded = load(dag, profile=profile, values=values, sets=set_)
    except UserError as error:
        if output is Output.TEXT:
            raise
        problems = [vars(problem) for problem in error.problems]
        print(json.dumps({"valid": False, "problems": problems}, indent=2))
        raise typer.Exit(error.exit_code) from error
    if output is Output.JSON:
        print(json.dumps({"valid": True, "problems": [], "stages": list(loaded.stages)}, indent=2))
    else:
        print(f"{dag}: {loaded.name} is valid: {len(loaded.stages)} stages")
