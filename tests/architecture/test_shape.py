"""The shape of the tree: import directions, sizes, and what the text may speak of."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.spec.kinds import list_kinds

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipeline", "stages", "data_prep")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60


def _sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def test_imports_point_one_way() -> None:
    run = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout


def test_methods_import_no_stage_part_of_another_method() -> None:
    parts = {spec.run.partition(":")[0] for spec in list_kinds() if spec.run.startswith("stages.")}
    parts |= {f"stages.{path.parent.name}.stage" for path in (ROOT / "stages").glob("*/stage.py")}
    assert "stages.xlnet.stage" in parts
    assert len(parts) > 2
    found = []
    for path in _sources():
        method = ".".join(path.relative_to(ROOT).parts[:2])
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                names = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
                found += [f"{path}: {n}" for n in names & parts if not n.startswith(f"{method}.")]
    assert found == []


def test_no_file_is_longer_than_one_sitting() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in _sources()
    }
    assert {name: n for name, n in lengths.items() if n > MAX_FILE_LINES} == {}


def test_no_function_is_longer_than_one_screen() -> None:
    long = []
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = (node.end_lineno or 0) - node.body[0].lineno + 1
                if body > MAX_FUNCTION_LINES:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} {body}")
    assert long == []


@pytest.mark.parametrize("name", ["utils", "helpers", "misc", "common_utils"])
def test_no_module_is_named_for_nothing(name: str) -> None:
    assert [path for path in _sources() if path.stem == name] == []


def test_package_init_files_only_reexport() -> None:
    allowed = (ast.Import, ast.ImportFrom, ast.Expr, ast.Assign)
    for path in _sources():
        if path.name == "__init__.py":
            kinds = [
                node for node in ast.parse(path.read_text()).body if not isinstance(node, allowed)
            ]
            assert kinds == [], path


@pytest.mark.parametrize(
    ("library", "files"),
    [("sentencepiece", ["data_prep/tokenizer.py", "pipeline/shards/tokenizer.py"])],
)
def test_foreign_library_is_imported_by_its_own_files_alone(library: str, files: list[str]) -> None:
    pattern = re.compile(rf"^\s*(?:import|from) {library}\b", re.MULTILINE)
    found = [path for path in _sources() if pattern.search(path.read_text())]
    assert sorted(str(path.relative_to(ROOT)) for path in found) == files


def test_unfinished_work_is_not_committed() -> None:
    pattern = re.compile(r"NotImplementedError|\b(?:TODO|FIXME|XXX|HACK)\b")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in _sources()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []
