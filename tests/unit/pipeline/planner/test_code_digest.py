"""Which code is behind a stage kind, and which changes of it count."""

import os
import sys
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.planner.code_digest import CodeDigests
from pipeline.planner.memo import Memo
from pipeline.spec.config import StageConfig
from pipeline.spec.stage import StageSpec

RUN = '''
"""Doc."""
from . import near
import json


def run(ctx):
    """Runs."""
    return 1  # one
'''


@pytest.fixture
def memo(tmp_path: Path) -> Iterator[Memo]:
    memo = Memo(tmp_path / "memo.db")
    yield memo
    memo.close()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package of somebody else: method/{stage, near}, and other/lib."""
    root = tmp_path / "site" / f"acme_{uuid.uuid4().hex}"
    monkeypatch.syspath_prepend(root.parent)
    _write(root / "__init__.py", "")
    _write(root / "method" / "__init__.py", "")
    _write(root / "method" / "stage.py", RUN)
    _write(root / "method" / "near.py", f"from {root.name}.other.lib import f\n")
    _write(root / "method" / "unread.py", "x = 1\n")
    _write(root / "other" / "__init__.py", "")
    _write(root / "other" / "lib.py", "def f(): return 1\n")
    _write(root / "other" / "unrelated.py", "y = 1\n")
    return root


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))


def _of(memo: Memo, run: str, kind: str = "k") -> dict[str, str]:
    spec = StageSpec(name="k", config=StageConfig, run=run)
    return CodeDigests(memo).of(spec, kind)


def _run_of(package: Path) -> str:
    return f"{package.name}.method.stage:run"


def test_code_is_the_entry_package_and_what_it_imports_of_the_project(
    memo: Memo, package: Path
) -> None:
    found = _of(memo, _run_of(package))
    top = package.name
    assert list(found) == [
        top,
        f"{top}.method",
        f"{top}.method.near",
        f"{top}.method.stage",
        f"{top}.method.unread",
        f"{top}.other",
        f"{top}.other.lib",
    ]
    assert not any(name.startswith(top) for name in sys.modules)


@pytest.mark.parametrize(
    "text",
    [
        RUN.replace("# one", "# another comment"),
        RUN.replace("Runs.", "Runs, with other words."),
        RUN.replace("Doc.", "Other doc."),
        RUN.replace("return 1", "\n\n    return (\n        1\n    )"),
        RUN.replace("return 1", "'a string that stands alone'\n    return 1"),
    ],
    ids=["comment", "docstring", "module", "format", "string"],
)
def test_change_without_meaning_leaves_the_digest(memo: Memo, package: Path, text: str) -> None:
    before = _of(memo, _run_of(package))
    _write(package / "method" / "stage.py", text)
    assert _of(memo, _run_of(package)) == before


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("method/stage.py", RUN.replace("return 1", "return 2")),
        ("method/stage.py", RUN.replace("return 1", "return 1.0")),
        ("method/stage.py", RUN.replace("return 1", "return '1'")),
        ("method/unread.py", "x = 2\n"),
        ("method/new.py", ""),
        ("other/lib.py", "def f(): return 2\n"),
        ("other/__init__.py", "import os\n"),
    ],
)
def test_change_of_code_changes_the_digest(memo: Memo, package: Path, file: str, text: str) -> None:
    before = _of(memo, _run_of(package))
    _write(package / file, text)
    assert _of(memo, _run_of(package)) != before


def test_change_of_an_unrelated_module_leaves_the_digest(memo: Memo, package: Path) -> None:
    before = _of(memo, _run_of(package))
    _write(package / "other" / "unrelated.py", "y = 2\n")
    assert _of(memo, _run_of(package)) == before


DIALECTS = '''"""What releases of Python write, print or parse in their own way."""
X = f"{c['k']:>{len(f'{c!r}')}}" f"" "tail {x}" u"old"


@c
class T(b):
    y: int = 1_0
    z = 1e3, ..., b'x', -0j
'''


def test_digest_of_a_file_is_the_same_under_every_python(memo: Memo, package: Path) -> None:
    _write(package / "method" / "unread.py", DIALECTS)
    digest = _of(memo, _run_of(package))[f"{package.name}.method.unread"]
    # As CPython 3.11.7, 3.12.1 and 3.13.0 gave it.
    assert digest == "e24551e87e9aec88466b4a7c6522d93131f033c9ecbafea0e96695814a000e03"


def test_remembered_digest_is_that_of_the_file(memo: Memo, package: Path) -> None:
    file = package / "method" / "stage.py"
    os.utime(file, (1e9, 1e9))
    first = _of(memo, _run_of(package))
    _write(file, RUN.replace("return 1", "return 2"))
    os.utime(file, (1e9, 1e9))
    # Same time and size: nobody looks inside. Another time: it is read.
    assert _of(memo, _run_of(package)) == first
    os.utime(file, (1e9 + 1, 1e9 + 1))
    assert _of(memo, _run_of(package)) != first


def test_code_that_does_not_parse_has_a_digest(memo: Memo, package: Path) -> None:
    _write(package / "method" / "stage.py", "def (")
    one = _of(memo, _run_of(package))
    _write(package / "method" / "stage.py", "def ((")
    assert _of(memo, _run_of(package)) != one


def test_file_of_ones_own_counts_with_what_it_imports_from_its_folder(
    memo: Memo, tmp_path: Path
) -> None:
    _write(tmp_path / "mine.py", "import helper\nfrom lib import deep\nimport json\n")
    _write(tmp_path / "helper.py", "import mine\n")
    _write(tmp_path / "lib" / "__init__.py", "")
    _write(tmp_path / "lib" / "deep.py", "from . import deeper\n")
    _write(tmp_path / "lib" / "deeper.py", "")
    _write(tmp_path / "unrelated.py", "")
    kind = f"{tmp_path}/mine.py:SPEC"
    found = _of(memo, "mine:run", kind)
    assert list(found) == ["helper", "lib", "lib.deep", "lib.deeper", "mine"]
    _write(tmp_path / "helper.py", "import mine\nx = 1\n")
    assert _of(memo, "mine:run", kind) != found


def test_file_of_ones_own_that_names_code_elsewhere_counts_both(
    memo: Memo, package: Path, tmp_path: Path
) -> None:
    _write(tmp_path / "mine.py", "x = 1\n")
    found = _of(memo, _run_of(package), f"{tmp_path}/mine.py:SPEC")
    assert {"mine", f"{package.name}.method.stage"} <= found.keys()


def test_framework_counts_where_it_decides_results(memo: Memo) -> None:
    found = _of(memo, "pipeline.node.builtins.command:run")
    assert "pipeline.node.builtins.command" in found
    assert all(name.startswith("pipeline.node.builtins") for name in found)
    data = _of(memo, "data_prep.text:run")
    assert "pipeline.shards.writer" in data
    assert "data_prep.encode" in data
    wrong = ("pipeline.cli", "pipeline.runner", "pipeline.storage", "pipeline.spec", "stages")
    assert not [name for name in data if name.startswith(wrong)]


def test_entry_that_does_not_exist_has_no_code(memo: Memo) -> None:
    assert _of(memo, "no_such_package.stage:run") == {}
