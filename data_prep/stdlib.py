"""The prose that every Python carries: docstrings of the standard library and help topics.

Sources are parsed, never imported: importing all of the standard library opens windows and ports.
"""

import ast
import hashlib
import inspect
import platform
import sysconfig
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from data_prep.documents import Document
from pipeline.errors import DataError
from pipeline.storage.sources import SourceFile

_NOT_PROSE = frozenset(
    {"__pycache__", "site-packages", "dist-packages", "test", "tests", "idle_test", "lib-dynload"}
)
_TOPICS = "pydoc_data/topics.py"
_HAS_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def stdlib_files() -> list[SourceFile]:
    """The Python files of the standard library without its tests, sorted by name.

    Raises:
        DataError: this Python keeps its library in no folder (an embedded one).
    """
    root = Path(sysconfig.get_path("stdlib"))
    files = []
    for path in root.rglob("*.py"):
        relative = path.relative_to(root)
        # How this Python was built is no prose, and differs from build to build.
        is_of_build = path.name.startswith("_sysconfigdata")
        if not is_of_build and _NOT_PROSE.isdisjoint(relative.parts[:-1]):
            files.append(SourceFile(relative.as_posix(), str(path), path.stat().st_size))
    if not files:
        msg = f"{root}: no Python files, so this Python has no prose to read"
        raise DataError(msg)
    return sorted(files, key=lambda file: file.name)


@cache
def stdlib_version() -> str:
    """Python's version, and a digest of the files: distributions leave out and patch some.

    Raises:
        DataError: this Python keeps its library in no folder (an embedded one).
    """
    digest = hashlib.sha256()
    for file in stdlib_files():
        content = Path(file.path).read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode() + content)
    return f"{platform.python_version()}-{digest.hexdigest()[:12]}"


@cache  # 4 MB in all, and read twice where the classes are counted first
def docstrings(file: SourceFile) -> tuple[Document, ...]:
    """The docstrings of a file in the order of the text, each labelled with its top-level package.

    Raises:
        DataError: the file is no Python that this Python can read.
    """
    label = file.name.split("/")[0].removesuffix(".py")
    try:
        with warnings.catch_warnings():
            # Old escapes in the library's strings warn; they are not ours to mend.
            warnings.simplefilter("ignore")
            tree = ast.parse(Path(file.path).read_bytes())
    except (SyntaxError, ValueError) as exc:
        msg = f"{file.path}: not readable as Python: {exc}"
        raise DataError(msg) from exc
    texts = _topics(tree) if file.name == _TOPICS else _docstrings(tree)
    return tuple(Document(text, label) for text in texts if text)


def _docstrings(tree: ast.Module) -> Iterator[str]:
    found = []
    # Statements only: expressions are nine tenths of a tree and hold no docstring.
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, _HAS_DOCSTRING) and (text := ast.get_docstring(node)):
            found.append((node.body[0].lineno, text))
        for name in ("body", "handlers", "orelse", "finalbody", "cases"):
            pending += getattr(node, name, ())
    return (text for _, text in sorted(found))


def _topics(tree: ast.Module) -> Iterator[str]:
    """The values of the one dictionary literal in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for value in node.values:
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield inspect.cleandoc(value.value)
