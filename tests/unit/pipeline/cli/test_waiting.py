"""How long a runner in the cluster may take to start."""

import math

import pytest

from pipeline.cli.waiting import patience
from pipeline.executors.kubernetes.states import Pending


@pytest.mark.parametrize(
    ("kind", "hopeless", "seconds"),
    [
        ("image", True, 30.0),
        ("image", False, 180.0),
        ("config", True, 30.0),
        ("unschedulable", True, 300.0),
        ("unschedulable", False, math.inf),
        ("starting", False, math.inf),
    ],
)
def test_patience_ends_only_where_waiting_does_not_help(
    kind: str, hopeless: bool, seconds: float
) -> None:
    assert patience(Pending("why", kind, hopeless)) == seconds
