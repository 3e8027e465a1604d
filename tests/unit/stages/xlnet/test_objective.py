"""The permutation language model as a method: weight, loss, memory, evaluation, decay."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.spec.context import World
from pipeline.training.method import Batch, Picks
from stages.xlnet.examples import NO_LABEL
from stages.xlnet.objective import PermutationLM
from stages.xlnet.rules import parameter_rule
from tests.xlnet.configs import pretrain_config

NO_DROPOUT = {"hidden": 0.0, "attention": 0.0}


@pytest.fixture
def folders(token_folder: Path, tokenizer_folder: Path) -> tuple[Path, Path]:
    return token_folder, tokenizer_folder


def _method(
    folders: tuple[Path, Path], *, rank: int = 0, size: int = 1, **changes: Any
) -> PermutationLM:
    config = pretrain_config(**({"dropout": NO_DROPOUT} | changes))
    return PermutationLM(config, *folders, place=World(rank=rank, size=size), seed=3)


def _picks(step: int, rows: range = range(8)) -> dict[str, Picks]:
    index = np.array(rows, np.int64)
    return {"rows": Picks(np.zeros_like(index), index, np.full_like(index, step))}


def _memory(method: PermutationLM) -> Tensor:
    return method.state_dict()["memory"].tensor


def test_weight_is_the_number_of_targets(folders: tuple[Path, Path]) -> None:
    method = _method(folders)
    batch = method.batch(_picks(0))
    assert method.weight(batch) == (batch["labels"] != NO_LABEL).sum()
    assert 8 * 3 < method.weight(batch) <= 8 * 6


def test_loss_is_summed_over_targets(folders: tuple[Path, Path]) -> None:
    method = _method(folders)
    batch = method.batch(_picks(0))
    mean = method.loss(method.model, batch).total / method.weight(batch)
    assert mean.item() == pytest.approx(np.log(200), abs=0.1)


def test_loss_ignores_what_stands_at_unused_places(folders: tuple[Path, Path]) -> None:
    method = _method(folders)
    batch: Batch = method.batch(_picks(0))
    unused = batch["labels"] == NO_LABEL
    assert unused.any()
    moved = dict(batch) | {"targets": batch["targets"].masked_fill(unused, 5)}
    first = method.loss(_method(folders).model, batch).total
    method = _method(folders)
    assert torch.equal(method.loss(method.model, moved).total, first)


def test_micro_batches_give_the_gradient_and_memory_of_the_whole(
    folders: tuple[Path, Path],
) -> None:
    whole, cut = _method(folders), _method(folders)
    for step in range(2):
        whole.loss(whole.model, whole.batch(_picks(step))).total.backward()  # type: ignore[no-untyped-call]
        for rows in (range(4), range(4, 8)):
            cut.loss(cut.model, cut.batch(_picks(step, rows))).total.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(_memory(cut), _memory(whole))
    for mine, other in zip(cut.model.parameters(), whole.model.parameters(), strict=True):
        assert mine.grad is not None
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-4)


def test_each_rank_keeps_the_memory_of_its_rows(folders: tuple[Path, Path]) -> None:
    whole = _method(folders)
    whole.loss(whole.model, whole.batch(_picks(0)))
    for rank in range(2):
        mine = _method(folders, rank=rank, size=2)
        rows = range(4 * rank, 4 * rank + 4)
        mine.loss(mine.model, mine.batch(_picks(0, rows)))
        torch.testing.assert_close(_memory(mine), _memory(whole)[list(rows)])


def test_memory_begins_with_zeros_and_ends_with_the_embeddings(folders: tuple[Path, Path]) -> None:
    method = _method(folders)
    assert not _memory(method).any()
    batch = method.batch(_picks(0))
    method.loss(method.model, batch)
    memory = _memory(method)[batch["rows"], 0]
    assert not memory[:, :8].any()  # mem_len 24, reuse_len 16
    embedded = method.model.backbone.embed(batch["tokens"][:, :16])
    torch.testing.assert_close(memory[:, 8:], embedded)


def test_gradient_does_not_reach_through_memory(folders: tuple[Path, Path]) -> None:
    method = _method(folders)
    method.loss(method.model, method.batch(_picks(0)))
    assert not _memory(method).requires_grad


def test_state_restores_the_next_loss(folders: tuple[Path, Path]) -> None:
    method, fresh = _method(folders), _method(folders)
    method.loss(method.model, method.batch(_picks(0)))
    fresh.load_state_dict({name: s.tensor.clone() for name, s in method.state_dict().items()})
    losses = [m.loss(m.model, m.batch(_picks(1))).total for m in (method, fresh)]
    assert torch.equal(losses[0], losses[1])


def test_without_memory_there_is_no_state(folders: tuple[Path, Path]) -> None:
    rows = pretrain_config().rows.model_dump() | {"mem_len": 0}
    method = _method(folders, rows=rows)
    method.loss(method.model, method.batch(_picks(0))).total.backward()  # type: ignore[no-untyped-call]
    assert method.state_dict() == {}


@pytest.mark.parametrize("size", [2, 3])
@torch.no_grad()
def test_evaluation_does_not_depend_on_the_number_of_ranks(
    folders: tuple[Path, Path], size: int
) -> None:
    train = {"global_batch_size": 12}
    alone = _method(folders, train=train)
    loss, weight = alone.evaluate(alone.model.eval())["loss"]
    parts = []
    for rank in range(size):
        method = _method(folders, rank=rank, size=size, train=train)
        parts.append(method.evaluate(method.model.eval())["loss"])
    assert sum(float(part[1]) for part in parts) == float(weight)
    assert sum(float(part[0]) for part in parts) == pytest.approx(float(loss), rel=1e-5)


@torch.no_grad()
def test_evaluation_twice_gives_the_same_and_leaves_the_training_memory(
    folders: tuple[Path, Path],
) -> None:
    method = _method(folders)
    first = method.evaluate(method.model.eval())["loss"][0]
    assert torch.equal(first, method.evaluate(method.model.eval())["loss"][0])
    assert not _memory(method).any()


def test_odd_micro_batch_of_two_directions_is_refused(folders: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match="even number of rows in every forward pass, here are 3"):
        _method(folders).batch(_picks(0, range(3)))


def test_weights_depend_on_the_seed_alone(folders: tuple[Path, Path]) -> None:
    torch.manual_seed(0)
    first = _method(folders).model.state_dict()
    torch.manual_seed(1)
    second = _method(folders, rank=1, size=2).model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_decay_skips_biases_and_norms_but_not_attention_biases(
    folders: tuple[Path, Path],
) -> None:
    model = _method(folders).model
    exempt = {n for n, p in model.named_parameters() if not parameter_rule(n, p).weight_decay}
    layer = {"attn.norm.weight", "attn.norm.bias", "ff.norm.weight", "ff.norm.bias"}
    layer |= {"ff.up.bias", "ff.down.bias"}
    expected = {f"backbone.layers.{i}.{name}" for i in range(2) for name in layer}
    assert exempt == expected | {"lm_head.bias"}
