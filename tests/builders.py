"""Builds DAGs from text in a folder of the test, with the kinds of `tests/toys.py` beside them."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.errors import UserError
from pipeline.spec.dag import Dag
from pipeline.spec.load import load_dag

TOYS = Path(__file__).with_name("toys.py")


def write_dag(folder: Path, text: str) -> Path:
    """`dag.yaml` with this text; `uses: ./toys.py:TRAIN` finds the toy kinds."""
    shutil.copy(TOYS, folder / "toys.py")
    file = folder / "dag.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def load(
    folder: Path,
    text: str,
    *,
    profile: str | None = None,
    values: Mapping[str, str] | None = None,
    sets: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Dag:
    """The DAG of a text under its layers; `values` is name -> content of a file."""
    file = write_dag(folder, text)
    files = []
    for name, content in (values or {}).items():
        files.append(folder / name)
        files[-1].write_text(content, encoding="utf-8")
    return load_dag(file, profile=profile, values=files, sets=sets, environ=environ or {})


def problems(folder: Path, text: str, **layers: object) -> list[str]:
    """What is wrong with a text, as printed, with paths relative to the folder; [] when nothing."""
    try:
        load(folder, text, **layers)  # type: ignore[arg-type]  # the layers of `load`
    except UserError as error:
        return [str(problem).replace(f"{folder}/", "") for problem in error.problems]
    return []
