"""Kill -9 while text becomes shards and two ranks train: same artifacts, same loss at every step."""

from pathlib import Path

import pytest

from tests.integration.kills import Kill, Subject, draw_kills, logged, survive, undisturbed

DAG = Path(__file__).parent / "dag.yaml"
SEED = 1906
DEFAULT_KILLS = 3
SLOW_KILLS = 51

Reference = tuple[Subject, float]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    subject = Subject(DAG, tmp_path_factory.mktemp("undisturbed"))
    return subject, undisturbed(subject)


def _losses(subject: Subject) -> list[tuple[int, float]]:
    """(step, loss) as the attempts at `pretrain` logged them, repeated steps included."""
    folders = [Path(a.folder) for a in subject.state().stages["pretrain"].attempts]
    return [one for folder in folders for one in logged(folder / "metrics.jsonl", "train_loss")]


def _survives(reference: Reference, folder: Path, kill: Kill) -> None:
    subject, duration = reference
    disturbed = survive(subject, kill, duration, folder)
    assert disturbed.digests() == subject.digests()
    losses = _losses(disturbed)
    expected = dict(_losses(subject))
    assert {step for step, _ in losses} == set(expected)
    assert [(step, loss) for step, loss in losses if loss != expected[step]] == []


@pytest.mark.parametrize("kill", draw_kills(DEFAULT_KILLS, SEED), ids=lambda kill: kill.name)
def test_killed_training_makes_the_same_artifacts_and_losses(
    reference: Reference, tmp_path: Path, kill: Kill
) -> None:
    _survives(reference, tmp_path, kill)


@pytest.mark.slow
@pytest.mark.parametrize("kill", draw_kills(SLOW_KILLS, SEED + 1), ids=lambda kill: kill.name)
def test_killed_training_makes_the_same_artifacts_and_losses_fifty_times(
    reference: Reference, tmp_path: Path, kill: Kill
) -> None:
    _survives(reference, tmp_path, kill)
