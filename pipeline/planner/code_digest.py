"""The code behind a stage kind: which files it is, found without importing any, and their digests.

Comments, docstrings, formatting and line numbers do not count: what is hashed is the syntax tree.
"""

import ast
import importlib.util
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.planner.memo import Memo, Stamp
from pipeline.spec.stage import StageSpec
from pipeline.storage.digests import sha256_bytes

_FRAMEWORK = ("pipeline.training", "pipeline.shards", "pipeline.node.builtins")
"""What of the framework decides results; the rest decides where, when and how they are kept."""


@dataclass(frozen=True)
class _File:
    """One parsed file: digest of its tree and the modules it may import, absolute names."""

    digest: str
    imports: tuple[str, ...]


class CodeDigests:
    """Digests of the code of stage kinds; parses each file once."""

    def __init__(self, memo: Memo) -> None:
        """`memo` spares parsing what has not changed since."""
        self._memo = memo
        self._files: dict[Path, _File] = {}
        self._kinds: dict[tuple[str, str], dict[str, str]] = {}

    def of(self, spec: StageSpec, kind: str) -> dict[str, str]:
        """File name -> digest: the entry point's package and the project code it imports.

        The whole package counts, not only what the entry point imports: it may load the rest in
        ways that no reader of the source sees.
        """
        key = (spec.run, kind)
        if key not in self._kinds:
            self._kinds[key] = self._collect(spec, kind)
        return self._kinds[key]

    def _collect(self, spec: StageSpec, kind: str) -> dict[str, str]:
        module = spec.run.partition(":")[0]
        own = module.partition(".")[0]
        file, _, _ = kind.rpartition(":")
        path = Path(file) if file.endswith(".py") else None
        found: dict[str, Path] = {}
        queue: list[str] = []
        if path is not None:
            found[path.name] = path
            queue += self._parse(path).imports
        if path is None or path.stem != module:
            package = module.rpartition(".")[0] or module
            folder = _folder_of(package)
            queue += [module, *(_modules_below(package, folder) if folder else ())]
        seen: set[str] = set()
        while queue:
            name = queue.pop()
            if name in seen or not _counts(name, own):
                continue
            seen.add(name)
            if (source := _module_file(name)) is None:
                continue
            found[name] = source
            queue += self._parse(source).imports
            queue.append(name.rpartition(".")[0])
        return {name: self._parse(path).digest for name, path in sorted(found.items())}

    def _parse(self, path: Path) -> _File:
        if path not in self._files:
            status = path.stat()
            stamp = Stamp(status.st_size, status.st_mtime_ns, status.st_ino)
            kept = self._memo.get({f"code:{path}": stamp}).get(f"code:{path}")
            parsed = _from_text(kept) if kept else None
            if parsed is None:
                parsed = _parse_file(path)
                text = json.dumps([parsed.digest, parsed.imports])
                self._memo.put([(f"code:{path}", stamp, text)])
            self._files[path] = parsed
        return self._files[path]


def _counts(name: str, own: str) -> bool:
    """Whether a module is project code: of the stage's own distribution, or of the framework."""
    if not name:
        return False
    if name.partition(".")[0] == "pipeline":
        return any(name == part or name.startswith(f"{part}.") for part in _FRAMEWORK)
    return name.partition(".")[0] in {own, "stages", "data_prep"}


def _from_text(text: str) -> _File | None:
    try:
        digest, imports = json.loads(text)
        return _File(str(digest), tuple(map(str, imports)))
    except (ValueError, TypeError):
        return None


def _parse_file(path: Path) -> _File:
    source = path.read_bytes()
    try:
        tree = ast.parse(source, str(path))
    except (SyntaxError, ValueError):
        # It cannot run either; its bytes tell one broken state from the next.
        return _File(sha256_bytes(source), ())
    imports = tuple(sorted(set(_imports(tree, path))))
    _strip_docstrings(tree)
    return _File(sha256_bytes(ast.dump(tree, include_attributes=False).encode()), imports)


def _imports(tree: ast.AST, path: Path) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = _absolute(path, node.level, base)
            yield base
            # `from a import b` may import the module a.b.
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _absolute(path: Path, level: int, name: str) -> str:
    """The absolute name of a relative import, from where packages lie on disk."""
    folder = path.parent
    for _ in range(level - 1):
        folder = folder.parent
    parts: list[str] = []
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join([*parts, *([name] if name else [])])


def _strip_docstrings(tree: ast.AST) -> None:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if not isinstance(node, documented) or not node.body:
            continue
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]


@lru_cache(maxsize=256)
def _root(package: str) -> Path | None:
    """The folder of a top-level package, or of a top-level module's file; nothing is imported."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None


def _folder_of(package: str) -> Path | None:
    top, *rest = package.split(".")
    root = _root(top)
    if root is None or root.is_file():
        return None
    folder = root.joinpath(*rest)
    return folder if folder.is_dir() else None


def _module_file(name: str) -> Path | None:
    top, *rest = name.split(".")
    root = _root(top)
    if root is None:
        return None
    if root.is_file():
        return root if not rest else None
    base = root.joinpath(*rest)
    for path in (base / "__init__.py", base.with_suffix(".py") if rest else None):
        if path is not None and path.is_file():
            return path
    return None


def _modules_below(package: str, folder: Path) -> Iterator[str]:
    for base, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if one != "__pycache__")
        inner = Path(base).relative_to(folder).parts
        for file in sorted(files):
            if file.endswith(".py"):
                stem = [] if file == "__init__.py" else [file[:-3]]
                yield ".".join([package, *inner, *stem])
