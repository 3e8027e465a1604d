"""Prose of the standard library, read without importing it."""

import ast
import sys
from pathlib import Path

import pytest

from data_prep.stdlib import docstrings, stdlib_files
from pipeline.errors import DataError
from pipeline.storage.sources import SourceFile

CODE = '''"""Module."""
class A:
    """Class."""
    def f(self):
        "Method."
        def inner(): """Inner."""
if True:
    try:
        pass
    except OSError:
        async def g():
            """In a handler."""
    else:
        def h(): "In an else."
        x = "no docstring"
match 1:
    case 1:
        def k(): "In a case."
'''


def _file(folder: Path, name: str, code: str) -> SourceFile:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)
    return SourceFile(name, str(path), len(code))


def test_docstrings_come_in_the_order_of_the_text_with_their_package(tmp_path: Path) -> None:
    documents = docstrings(_file(tmp_path, "package/module.py", CODE))
    assert [document.text for document in documents] == [
        "Module.", "Class.", "Method.", "Inner.", "In a handler.", "In an else.", "In a case.",
    ]  # fmt: skip
    assert {document.label for document in documents} == {"package"}
    every = [ast.get_docstring(node) for node in ast.walk(ast.parse(CODE)) if isinstance(
        node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]  # fmt: skip
    assert {document.text for document in documents} == set(every)


def test_library_is_there_without_its_tests_and_without_packages() -> None:
    names = [file.name for file in stdlib_files()]
    assert {"json/__init__.py", "pydoc_data/topics.py", "textwrap.py"} <= set(names)
    assert not [name for name in names if "/test/" in name or "site-packages" in name]
    assert names == sorted(names)


def test_topics_are_documents() -> None:
    (topics,) = (file for file in stdlib_files() if file.name == "pydoc_data/topics.py")
    before = set(sys.modules)
    documents = docstrings(topics)
    assert set(sys.modules) == before
    assert len(documents) > 50
    assert any("assert" in document.text for document in documents)


def test_file_that_is_no_python_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"bad\.py: not readable as Python"):
        docstrings(_file(tmp_path, "bad.py", "def ("))
