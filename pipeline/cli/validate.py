"""`pipeline validate`: every problem of a DAG file at once."""

from pipeline.cli.loading import load
from pipeline.cli.options import DagFile, ProfileName, SetValues, ValuesFiles


def validate(
    dag: DagFile,
    profile: ProfileName = None,
    values: ValuesFiles = None,
    set_: SetValues = None,
) -> None:
    """Checks a DAG file; prints each problem as file:line:col and ends with 2 if there is one."""
    loaded = load(dag, profile=profile, values=values, sets=set_)
    print(f"{dag}: {loaded.name} is valid: {len(loaded.stages)} stages")
