import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chromium import Browser, chromium
from tests.terminal import Said, pipeline

SECRET = "hunter2-in-the-environment"
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Shown:
    """A project with two runs: one that failed, and one of the stage `show` at twice the scale."""

    folder: Path
    runs: list[str]

    def pipeline(self, *arguments: str, **environment: str) -> Said:
        """Runs the command there."""
        return pipeline(self.folder, *arguments, **environment)

    def report(self, *arguments: str, name: str = "report.html", **environment: str) -> Path:
        """Writes a report and gives its place."""
        said = self.pipeline("report", *arguments, "-o", name, **environment)
        assert said.code == 0, said.err
        return self.folder / name


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    folder = tmp_path_factory.mktemp("shown")
    for name in ("shows.py", "dag.yaml"):
        shutil.copy(HERE / name, folder)
    first = pipeline(folder, "run", "dag.yaml", "--keep-going", REPORT_TOKEN=SECRET)
    assert "2 failed" in first.out, first.err
    scaled = ("run", "dag.yaml", "show", "--set", "params.scale=2")
    second = pipeline(folder, *scaled, REPORT_TOKEN=SECRET)
    assert second.code == 0, second.err
    return Shown(folder, [line.split()[0] for line in pipeline(folder, "list").lines])


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found
