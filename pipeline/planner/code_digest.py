"""The code behind a stage kind: which files it is, found without importing any, and their digests.

Comments, docstrings, formatting and line numbers do not count: what is hashed is the syntax tree.
"""

import ast
import json
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from pipeline.planner.memo import Memo, is_settled
from pipeline.planner.modules import Module, Modules
from pipeline.spec.stage import StageSpec
from pipeline.storage.digests import sha256_bytes

_FRAMEWORK = ("pipeline.training", "pipeline.shards", "pipeline.node.builtins")
"""What of the framework decides results; the rest decides where, when and how they are kept."""
_PROJECT = ("stages", "data_prep")
_VERSION = 2
"""Of the digest of a file; the memo forgets what was made by other rules."""


@dataclass(frozen=True)
class _File:
    """One parsed file: digest of its tree, and the modules it may import by their full names."""

    digest: str
    imports: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """The code behind a stage kind: module -> digest and file, and where more could appear."""

    digests: dict[str, str]
    files: dict[str, Path]

    @property
    def places(self) -> set[Path]:
        """Files and folders of which one changes when the code does."""
        return {*self.files.values(), *(file.parent for file in self.files.values())}


class CodeDigests:
    """Digests of the code of stage kinds; looks at each file once."""

    def __init__(self, memo: Memo) -> None:
        """`memo` spares parsing what has not changed since."""
        self._memo = memo
        self._files: dict[Path, _File] = {}
        self._kinds: dict[tuple[str, str], Code] = {}

    def of(self, spec: StageSpec, kind: str) -> dict[str, str]:
        """Module -> digest; see `behind`."""
        return self.behind(spec, kind).digests

    def behind(self, spec: StageSpec, kind: str) -> Code:
        """The entry point's package and the project code it imports.

        The whole package counts, not only what the entry point imports: it may load the rest in
        ways that no reader of the source sees. Of a kind in a file of its own, that file and what
        it imports from its folder count.

        Args:
            spec: the stage kind.
            kind: its `Stage.kind`: an entry point's name, or "/dir/my_stage.py:SPEC".
        """
        key = (spec.run, kind)
        if key not in self._kinds:
            self._kinds[key] = self._collect(spec.run.partition(":")[0], kind)
        return self._kinds[key]

    def _collect(self, entry: str, kind: str) -> Code:
        file = Path(kind.rpartition(":")[0])
        is_file = file.suffix == ".py"
        modules = Modules(file.parent if is_file else None)
        package = entry.rpartition(".")[0] or entry
        own = entry.partition(".")[0]
        queue = [Module(file.stem, file)] if is_file else []
        if not is_file or file.stem != entry:
            queue += modules.below(package)
        found: dict[str, str] = {}
        files: dict[str, Path] = {}
        seen: set[str] = set()
        while queue:
            module = queue.pop()
            counts = _counts(module.name, own) or modules.is_beside(module.name)
            if not counts or module.name in found:
                continue
            parsed = self._parse(module.file)
            found[module.name], files[module.name] = parsed.digest, module.file
            for name in parsed.imports:
                if name not in seen:
                    seen.add(name)
                    queue += modules.along(name)
        return Code(dict(sorted(found.items())), files)

    def _parse(self, path: Path) -> _File:
        if path not in self._files:
            self._files[path] = self._remembered(path)
        return self._files[path]

    def _remembered(self, path: Path) -> _File:
        now, status = time.time_ns(), path.stat()
        name = f"code:{path}"
        stamp = f"{_VERSION}:{status.st_size}:{status.st_mtime_ns}:{status.st_ino}"
        parsed = _from_text(self._memo.get({name: stamp}).get(name, ""))
        if parsed is None:
            parsed = _read(path)
            if is_settled(status.st_mtime_ns, now):
                self._memo.put([(name, stamp, json.dumps([parsed.digest, parsed.imports]))])
        return parsed


def _counts(name: str, own: str) -> bool:
    """Whether a module decides results: the stage's own distribution, or part of this project."""
    top = name.partition(".")[0]
    if top == "pipeline":
        return any(name == part or name.startswith(f"{part}.") for part in _FRAMEWORK)
    return top in (own, *_PROJECT)


def _from_text(text: str) -> _File | None:
    try:
        digest, imports = json.loads(text)
        return _File(str(digest), tuple(map(str, imports)))
    except (ValueError, TypeError):
        return None


def _read(path: Path) -> _File:
    source = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said again by whoever runs the code
            tree = ast.parse(source, str(path))
        imports = tuple(sorted(set(_imports(tree, path))))
        text = json.dumps(_plain(_WithoutDocstrings().visit(tree)))
    except (SyntaxError, ValueError, RecursionError):
        # It cannot run either; its bytes tell one broken state from the next.
        return _File(sha256_bytes(source), ())
    return _File(sha256_bytes(text.encode()), imports)


def _plain(node: object) -> object:
    """A tree as lists and strings that every Python which can read the code agrees on.

    `ast.dump` shows fields that came later, `ast.unparse` chooses quotes in its own way each time.
    Here what is empty is left out, and so is what follows from the rest or only says how a string
    was written.
    """
    if isinstance(node, ast.AST):
        fields = [(name, _plain(value)) for name, value in ast.iter_fields(node)]
        return [
            type(node).__name__,
            *sorted([name, value] for name, value in fields if name not in _DERIVED and value),
        ]
    if isinstance(node, list):
        return [_plain(one) for one in node]
    return "" if node is None else f"{type(node).__name__} {node!a}"


_DERIVED = frozenset({"ctx", "kind", "type_comment", "type_ignores"})


class _WithoutDocstrings(ast.NodeTransformer):
    """Leaves out texts that do nothing: docstrings, those of fields too."""

    @override
    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if text else self.generic_visit(node)

    @override
    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        # Some releases of Python end an f-string with an empty text.
        node.values = [v for v in node.values if not (isinstance(v, ast.Constant) and not v.value)]
        return self.generic_visit(node)


def _imports(tree: ast.AST, path: Path) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(part for part in (_package(path, node.level), base) if part)
            yield base
            # `from a import b` may import the module a.b.
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _package(path: Path, level: int) -> str:
    """The package that `level` dots name, from where packages lie on disk."""
    folder = path.parents[level - 1]
    parts: list[str] = []
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts)
