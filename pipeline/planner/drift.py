"""Whether the code and the sources of a planned stage still are those it was planned with.

A key says what a result was made from. Files change while a run goes on, and what is made from the
new ones must not be kept under the key of the old.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.planner.code_digest import Code, CodeDigests
from pipeline.planner.keys import source_parts
from pipeline.planner.memo import Memo, is_settled
from pipeline.planner.plan import PlannedStage
from pipeline.planner.source_digest import source_digest
from pipeline.spec.stage import StageSpec

CHANGED = "since the run was planned, these changed"
"""How the message begins, so that whoever gives advice can tell it from other bad configuration."""
_MAX_NAMES = 6


class Drifted(ConfigError):  # noqa: N818 - says what happened, as its siblings do
    """Code or sources are not those that a stage was planned with.

    Attributes:
        sources: whether sources are among them: what was made of them so far may be of both.
    """

    def __init__(self, code: Sequence[str], sources: Sequence[str]) -> None:
        """Takes the names of what changed."""
        names = [*code, *sources]
        rest = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
        super().__init__(f"{CHANGED}: {', '.join(names[:_MAX_NAMES])}{rest}")
        self.sources = bool(sources)


_Stamps = Mapping[Path, tuple[int, int, int, int]]


@dataclass(frozen=True)
class _Look:
    """The code of a kind as it was seen, and the stamps of its files and folders then."""

    code: Code
    stamps: _Stamps


class Drift:
    """Compares planned stages with the files as they are now.

    A kind that did not change since the last look costs a stat of each of its files.
    """

    def __init__(self, workdir: Path) -> None:
        """`digests.db` in `workdir` remembers what files hash to."""
        self._memo = Memo(workdir / "digests.db")
        self._looks: dict[tuple[str, str], _Look] = {}

    def check(self, planned: PlannedStage, *, imported: float | None = None) -> None:
        """Passes when code and sources are as planned; a comment or a touch is no change.

        Args:
            planned: the stage.
            imported: by when (Unix) its worker had imported its code: whoever goes on editing
                while it trains changes nothing of it. None: no worker has begun.

        Raises:
            Drifted: they are not; names the files.
            StoreError: a source cannot be read.
        """
        code, sources = self._changed_code(planned, imported), self._changed_sources(planned)
        if code or sources:
            raise Drifted(code, sources)

    def close(self) -> None:
        """Closes the memo."""
        self._memo.close()

    def _changed_code(self, planned: PlannedStage, imported: float | None) -> list[str]:
        code = self._code(planned.stage.spec, planned.stage.kind)
        before = _parts(planned, "code.")
        names = sorted(before.keys() | code.digests.keys())
        return [
            str(code.files.get(name, name))
            for name in names
            if before.get(name) != code.digests.get(name)
            and not _changed_after(code.files.get(name), imported)
        ]

    def _code(self, spec: StageSpec, kind: str) -> Code:
        look = self._looks.get((spec.run, kind))
        if look is not None and look.stamps == _stamps(look.code):
            return look.code
        began = time.time_ns()
        code = CodeDigests(self._memo).behind(spec, kind)
        stamps = _stamps(code)
        newest = max((time_ns for stamp in stamps.values() for time_ns in stamp[2:]), default=0)
        if is_settled(newest, began):
            # Otherwise a file may have changed, or may yet, without another stamp.
            self._looks[spec.run, kind] = _Look(code, stamps)
        return code

    def _changed_sources(self, planned: PlannedStage) -> list[str]:
        before = _parts(planned, "source.")
        if not before:
            return []
        return [
            source
            for name, source in source_parts(planned.stage).items()
            if source_digest(source, self._memo) != before.get(name.removeprefix("source."))
        ]


def _changed_after(file: Path | None, moment: float | None) -> bool:
    """Whether a file's last change came later; the time of the inode's, which cannot be set."""
    return file is not None and moment is not None and file.stat().st_ctime > moment


def _parts(planned: PlannedStage, prefix: str) -> dict[str, object]:
    return {
        name.removeprefix(prefix): value
        for name, value in planned.key_parts.items()
        if name.startswith(prefix)
    }


def _stamps(code: Code) -> _Stamps:
    found = {}
    for path in code.places:
        try:
            status = path.stat()
        except OSError:
            continue  # gone: the stamps differ, which is all that matters
        # The time of the last change of the inode cannot be set, as that of the content can.
        found[path] = (status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
    return found
