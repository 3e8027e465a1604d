"""Watching a run changes nothing of what it computes."""

import json

from tests.integration.monitoring.conftest import Watched, start


def _result(watched: Watched) -> dict[str, str]:
    """Digests of what the newest run's training built."""
    status = start(watched.folder, "status", "--output", "json")
    output, _ = status.communicate(timeout=120)
    artifacts: dict[str, str] = json.loads(output)["stages"]["pair"]["artifacts"]
    return artifacts


def test_a_killed_rank_and_stuck_scrapers_change_nothing_of_the_result(watched: Watched) -> None:
    """The watched run lost a rank and had scrapers that never read; this one has neither."""
    before = _result(watched)
    quiet = start(watched.folder, "run", "dag.yaml", "--set", "params.kill_at=0")
    output, _ = quiet.communicate(timeout=500)
    assert quiet.returncode == 0, output
    assert "pair: done" in output  # computed anew: kill_at is part of its key
    assert before
    assert _result(watched) == before
