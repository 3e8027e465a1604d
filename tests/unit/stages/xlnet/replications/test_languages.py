"""The generated languages leave the loss that is said of them; the arms see what they may."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.training.seeding import generator
from stages.xlnet.replications.config import ReplicationConfig
from stages.xlnet.replications.languages import Language
from stages.xlnet.replications.replicate import Arm, Replication
from tests.xlnet.models import scatter

TRAIN = {"steps": 1, "global_batch_size": 8, "optimizer": {"learning_rate": 1e-3}}


def _config(claim: str, **changes: Any) -> ReplicationConfig:
    return ReplicationConfig.model_validate({"claim": claim, "train": TRAIN} | changes)


def _entropy(values: np.ndarray) -> float:
    shares = np.unique_counts(values).counts / values.size
    return float(-(shares * np.log(shares)).sum())


@pytest.mark.parametrize("claim", ["joint", "position", "memory"])
def test_bounds_are_the_entropies_of_what_is_generated(claim: str) -> None:
    language = Language(_config(claim, symbols=4))
    tokens = language.examples(generator(0), 20_000)
    labels = tokens[:, -1, list(language.targets)]
    apart = float(np.mean([_entropy(labels[:, place]) for place in range(labels.shape[1])]))
    if claim == "joint":
        joint = _entropy(labels[:, 0] * 100 + labels[:, 1])
        expected = (joint / 2, apart)
    elif claim == "position":
        expected = (apart, _entropy(labels))
    else:
        told = _entropy(labels[:, 0] * 100 + tokens[:, 0, 1]) - _entropy(tokens[:, 0, 1])
        expected = (told, apart)
    bounds = language.bounds
    assert (bounds.claim, bounds.control) == pytest.approx(expected, abs=2e-3)
    assert bounds.control - bounds.claim >= math.log(2) - 1e-9


def _logits(config: ReplicationConfig, change: tuple[int, int] | None = None) -> Tensor:
    """Of one example; `change`: (segment, place) whose token is another."""
    language = Language(config)
    batch: Mapping[str, Tensor] = language.batch(generator(0), 1)
    if change is not None:
        batch["tokens"][0, change[0], change[1]] = 0 if batch["tokens"][0, *change] else 1
    model = scatter(Arm(config, language)).float()
    with torch.no_grad():
        logits: Tensor = model(batch)[0]
    return logits


def _sees(config: ReplicationConfig, change: tuple[int, int]) -> list[bool]:
    difference = (_logits(config) - _logits(config, change)).abs().amax(dim=-1)
    return (difference > 0).tolist()


def test_one_joint_target_sees_the_other_and_in_the_control_neither_does() -> None:
    config, control = _config("joint"), _config("joint", control=True)
    seen = [_sees(config, (0, 2))[1], _sees(config, (0, 4))[0]]
    assert sorted(seen) == [False, True]
    assert not any(_sees(control, (0, 2)) + _sees(control, (0, 4)))


def test_unaware_head_gives_every_target_the_same_and_ours_does_not() -> None:
    logits = _logits(_config("position", control=True))
    assert torch.equal(logits[0], logits[1])
    logits = _logits(_config("position"))
    assert not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize(
    ("changes", "sees"),
    [
        ({"gap": 1}, True),
        ({"gap": 2}, True),
        ({"gap": 3}, False),  # two layers reach back two segments
        ({"gap": 1, "control": True}, False),
    ],
)
def test_memory_reaches_as_many_segments_back_as_there_are_layers(
    changes: dict[str, Any], sees: bool
) -> None:
    config = _config("memory", **changes)
    assert _sees(config, (0, 1)) == [sees]
    assert config.must_fail is not sees


def test_batches_are_the_same_each_time_and_differ_from_step_to_step() -> None:
    method = Replication(_config("joint"), seed=3)
    language = Language(_config("joint"))
    assert method.language.targets == language.targets
    first, again = (language.batch(generator(3, "batch", 0, 5), 4) for _ in range(2))
    other = language.batch(generator(3, "batch", 0, 9), 4)
    assert torch.equal(first["tokens"], again["tokens"])
    assert not torch.equal(first["tokens"], other["tokens"])
