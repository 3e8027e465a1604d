"""The digests that keys are made of: code, sources, the device; each computed once a plan."""

import platform
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.planner.code_digest import CodeDigests
from pipeline.planner.memo import Memo
from pipeline.planner.source_digest import source_digest
from pipeline.spec.gpus import installed_gpus
from pipeline.spec.stage import StageSpec


class Digests:
    """Asks the memo on disk first; leave it (`with`) to close that."""

    def __init__(self, workdir: Path) -> None:
        """`digests.db` in `workdir` remembers what files hash to."""
        self._memo = Memo(workdir / "digests.db")
        self._code = CodeDigests(self._memo)
        self._sources: dict[str, str] = {}

    def code(self, spec: StageSpec, kind: str) -> Mapping[str, str]:
        """Module name -> digest of the code behind a stage kind."""
        return self._code.of(spec, kind)

    def source(self, source: str) -> str:
        """The digest of what an absolute Source names.

        Raises:
            StoreError: it cannot be read.
        """
        if source not in self._sources:
            self._sources[source] = source_digest(source, self._memo)
        return self._sources[source]

    def device(self) -> str:
        """The accelerator's model as the driver names it, else the processor's architecture."""
        return min(filter(None, installed_gpus()), default=platform.machine())

    def close(self) -> None:
        """Closes the memo; digests asked for later are computed."""
        self._memo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
