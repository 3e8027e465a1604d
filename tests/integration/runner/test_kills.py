"""Kill -9 at drawn moments: the resumed run makes the very same artifacts, and leaves no process."""

from pathlib import Path

import pytest

from tests.integration.kills import Kill, Subject, draw_kills, survive, undisturbed

DAG = Path(__file__).parent / "dag.yaml"
SEED = 20261125
DEFAULT_KILLS = 6
SLOW_KILLS = 50

Reference = tuple[Subject, float]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    subject = Subject(DAG, tmp_path_factory.mktemp("undisturbed"))
    return subject, undisturbed(subject)


def _survives(reference: Reference, folder: Path, kill: Kill) -> None:
    subject, duration = reference
    disturbed = survive(subject, kill, duration, folder)
    assert disturbed.digests() == subject.digests()


@pytest.mark.parametrize("kill", draw_kills(DEFAULT_KILLS, SEED), ids=lambda kill: kill.name)
def test_killed_run_makes_the_same_artifacts(
    reference: Reference, tmp_path: Path, kill: Kill
) -> None:
    _survives(reference, tmp_path, kill)


@pytest.mark.slow
@pytest.mark.parametrize("kill", draw_kills(SLOW_KILLS, SEED + 1), ids=lambda kill: kill.name)
def test_killed_run_makes_the_same_artifacts_fifty_times(
    reference: Reference, tmp_path: Path, kill: Kill
) -> None:
    _survives(reference, tmp_path, kill)
