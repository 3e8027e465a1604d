"""Planning, validation and status need no torch: everything on that path loads with it blocked."""

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline

BLOCKED = ("torch", "torchvision", "torchaudio", "deepspeed", "webdataset", "transformers")
NEEDS_TORCH = ("pipeline.training", "pipeline.node")
"""Beside the methods' own code; `pipeline.training.config` is read when a DAG is."""
LIGHT = ("pydantic", "rich", "fsspec", "numpy", "ruamel", "pipeline.spec", "pipeline.runner")
"""What `--help` does not load either."""

BLOCKER = f"""
import importlib.abc, json, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocker())
"""
ROOT = Path(__file__).parents[2]
TINY = sorted(ROOT.glob("stages/*/dags/tiny.yaml"))


def _python(code: str, *arguments: str, folder: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKER + code, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _modules() -> list[str]:
    found = pkgutil.walk_packages(pipeline.__path__, "pipeline.", onerror=lambda _: None)
    names = [module.name for module in found]
    return [name for name in names if not name.startswith(NEEDS_TORCH)]


def test_framework_outside_training_and_node_imports_without_torch() -> None:
    names = [*_modules(), "pipeline.training.config"]
    assert "pipeline.cli.main" in names
    assert "pipeline.shards.reader" in names
    code = "import importlib\nfor name in json.loads(sys.argv[1]): importlib.import_module(name)"
    _python(code, json.dumps(names))


def test_every_installed_kind_loads_without_torch() -> None:
    code = (
        "from pathlib import Path\n"
        "from pipeline.spec.kinds import kind_names, resolve_kind\n"
        "print(json.dumps([resolve_kind(name, Path('/')).name for name in kind_names()]))"
    )
    assert {"command", "check", "data_prep.text", "xlnet.pretrain"} <= set(
        json.loads(_python(code))
    )


@pytest.mark.parametrize("command", ["validate", "plan", "graph"])
def test_command_reads_a_training_dag_without_torch(tmp_path: Path, command: str) -> None:
    assert TINY
    for file in TINY:
        _command(tmp_path, command, str(file))


@pytest.mark.parametrize("command", ["stages", "list", "schema", "version"])
def test_command_works_without_torch(tmp_path: Path, command: str) -> None:
    _command(tmp_path, command)


def _command(folder: Path, *arguments: str) -> None:
    _python("from pipeline.cli.main import main\nmain()", *arguments, folder=folder)


def test_help_loads_nothing_that_it_does_not_need() -> None:
    code = "import pipeline.cli.main\nprint(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(_python(code))
    heavy = [name for name in loaded if name.startswith(LIGHT)]
    assert heavy == []


def test_list_of_blocked_packages_is_of_packages_that_exist() -> None:
    for name in BLOCKED:
        assert importlib.util.find_spec(name) is not None, name
