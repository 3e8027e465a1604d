"""Two ranks against one process: every engine, precision and cut gives the same numbers.

The reference is the plain engine in this process, which `test_reference.py` compares with a loop
written by hand.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.spec.context import World
from pipeline.training.export import read_weights
from tests.training.gang import EXACT, EXTENSIONS, STEPS, Outcome, Training, run_gang, run_here

FP32 = {"rtol": 1e-5, "atol": 1e-6}
"""Sums over ranks and partitions round in another order."""

BF16 = {"rtol": 2e-2, "atol": 2e-2}
"""Eight bits of mantissa."""

ENGINES: dict[str, dict[str, Any]] = {
    "ddp": {"engine": "plain"},
    "zero0": {"zero_stage": 0},
    "zero1": {"zero_stage": 1},
    "zero2": {"zero_stage": 2},
    "zero3": {"zero_stage": 3},
}
BF16_ENGINES = {
    f"{name}-bf16": values | {"precision": "bf16"}
    for name, values in ENGINES.items()
    if name != "ddp"  # what bf16 at stage 0 runs as
}
ALL = ENGINES | BF16_ENGINES

NO_BATCH_NORM = {"zero1-bf16", "zero2-bf16", "zero3-bf16"}
"""DeepSpeed makes weights bf16 and leaves running statistics float32: torch refuses the mixture."""

MOVES = [("zero1", "zero3"), ("zero3", "zero2"), ("ddp", "zero3-bf16"), ("zero2-bf16", "zero0")]
"""Engines before and after a preemption."""

GROWN = "zero2"
"""Goes on with two ranks from a checkpoint of one."""


def _trainings() -> dict[str, Training]:
    """Name -> training, in the order they run."""
    listed = {}
    for name, engine in ALL.items():
        accumulated = engine | {"micro_batch_size": 1}
        listed[f"exact {name}"] = Training(f"exact-{name}", accumulated, method=EXACT)
        folder = f"cut-{name}"
        method = {"norm": "layer" if name in NO_BATCH_NORM else "batch"}
        listed[f"whole {name}"] = Training(f"whole-{name}", engine, method=method)
        listed[f"cut {name}"] = Training(folder, engine, method=method, stop_before=3, stop_rank=1)
        listed[f"resumed {name}"] = Training(folder, engine, method=method)
    for before, after in MOVES:
        folder = f"move-{before}-{after}"
        first = Training(folder, ALL[before], method=EXACT, stop_before=3)
        listed[f"left {before} {after}"] = first
        listed[f"moved {before} {after}"] = Training(folder, ALL[after], method=EXACT)
    for name in ("ddp", "zero3"):
        late = Training(f"late-{name}", ALL[name], stop_before=STEPS + 1, stop_rank=1)
        listed[f"late {name}"] = late
    listed["shrink"] = Training("shrink", ALL["zero3"], method=EXACT, stop_before=3)
    listed["grown"] = Training("grow", ALL[GROWN], method=EXACT)
    listed["batch norm"] = Training("norm", ALL["zero1-bf16"])
    listed["nan"] = Training("nan", ALL["zero1"], {"log_every": 4}, nan_at=2)
    return listed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gang")


@pytest.fixture(scope="module")
def reference(folder: Path) -> Outcome:
    return _alone(Training("reference", method=EXACT), folder)


@pytest.fixture(scope="module")
def outcomes(folder: Path) -> Mapping[str, Outcome]:
    """All trainings of two ranks, run once."""
    _alone(Training("grow", method=EXACT, stop_before=3), folder)
    trainings = _trainings()
    return dict(zip(trainings, run_gang(list(trainings.values()), folder, 2), strict=True))


def _alone(training: Training, folder: Path) -> Outcome:
    """The training in this process, on the plain engine."""
    left = run_here(training, folder, World())
    exported = folder / training.folder / "model.safetensors"
    return Outcome(
        losses=left["losses"],
        norms=left["norms"],
        scores=left["scores"],
        errors=[left["error"]],
        weights=read_weights(exported) if exported.exists() else {},
    )


def _assert_close(ours: Outcome, reference: Outcome, tolerance: Mapping[str, float]) -> None:
    steps = list(ours.losses)
    assert steps[-1] == STEPS
    for numbers, expected in ((ours.losses, reference.losses), (ours.norms, reference.norms)):
        torch.testing.assert_close(
            torch.tensor([numbers[step] for step in steps]),
            torch.tensor([expected[step] for step in steps]),
            rtol=tolerance["rtol"],
            atol=tolerance["atol"],
        )
    assert ours.scores == pytest.approx(reference.scores, rel=tolerance["rtol"])
    assert ours.weights.keys() == reference.weights.keys()
    for name, tensor in reference.weights.items():
        torch.testing.assert_close(
            ours.weights[name], tensor, rtol=tolerance["rtol"], atol=tolerance["atol"], msg=name
        )


@pytest.mark.parametrize("name", ALL)
def test_engine_on_two_ranks_with_accumulation_gives_the_numbers_of_one_process(
    outcomes: Mapping[str, Outcome], reference: Outcome, name: str
) -> None:
    _assert_close(outcomes[f"exact {name}"], reference, BF16 if "bf16" in name else FP32)


@pytest.mark.parametrize("name", ALL)
def test_resume_on_as_many_ranks_is_bitwise_the_undisturbed_run(
    outcomes: Mapping[str, Outcome], name: str
) -> None:
    whole, cut, resumed = (outcomes[f"{what} {name}"] for what in ("whole", "cut", "resumed"))
    assert cut.errors == ["Preempted: asked to stop; saved after step 3"] * 2
    assert {**cut.losses, **resumed.losses} == whole.losses
    assert list(resumed.losses) == [4, 5]
    assert resumed.scores == whole.scores
    _assert_equal(resumed.weights, whole.weights)


def _assert_equal(ours: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert ours.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(ours[name], tensor), name


@pytest.mark.parametrize(("before", "after"), MOVES)
def test_resume_with_another_engine_goes_on_from_the_same_step(
    outcomes: Mapping[str, Outcome], reference: Outcome, before: str, after: str
) -> None:
    moved = outcomes[f"moved {before} {after}"]
    assert list(moved.losses) == [4, 5]
    _assert_close(moved, reference, BF16 if "bf16" in before + after else FP32)


def test_resume_on_two_ranks_from_one_goes_on_from_the_same_step(
    outcomes: Mapping[str, Outcome], reference: Outcome
) -> None:
    assert list(outcomes["grown"].losses) == [4, 5]
    _assert_close(outcomes["grown"], reference, FP32)


def test_resume_on_one_rank_from_two_goes_on_from_the_same_step(
    outcomes: Mapping[str, Outcome], reference: Outcome, folder: Path
) -> None:
    assert "Preempted" in outcomes["shrink"].errors[0]
    shrunk = _alone(Training("shrink", method=EXACT), folder)
    assert list(shrunk.losses) == [4, 5]
    _assert_close(shrunk, reference, FP32)


@pytest.mark.parametrize("name", ["ddp", "zero3"])
def test_stop_of_one_rank_in_the_evaluation_is_that_of_all(
    outcomes: Mapping[str, Outcome], name: str
) -> None:
    late = outcomes[f"late {name}"]
    assert late.errors == [f"Preempted: asked to stop; saved after step {STEPS}"] * 2
    assert list(late.losses) == list(range(1, STEPS + 1))


def test_nan_on_one_rank_ends_all_at_the_same_step(outcomes: Mapping[str, Outcome]) -> None:
    message = "Diverged: the loss of rank 1 is not finite at step 2"
    assert outcomes["nan"].errors == [f"{message}; last good checkpoint: none"] * 2


def test_deepspeed_in_bf16_with_batch_norm_is_refused(outcomes: Mapping[str, Outcome]) -> None:
    for error in outcomes["batch norm"].errors:
        assert error.startswith("ConfigError: bf16 at ZeRO stage 1 makes the weights of")
        assert "norm (BatchNorm1d)" in error


def test_deepspeed_on_a_cpu_compiles_nothing(outcomes: Mapping[str, Outcome], folder: Path) -> None:
    assert "whole zero3" in outcomes
    assert not (folder / EXTENSIONS).exists()
