"""Checkpoints in one process: exact continuation, and what damage does to them."""

import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.errors import ConfigError, Preempted, StoreError
from pipeline.spec.config import StageConfig
from pipeline.spec.context import StageContext
from pipeline.spec.resources import EngineConfig
from pipeline.training.checkpoint_files import MANIFEST, folder_name, steps_in
from pipeline.training.export import read_weights
from pipeline.training.loop import train
from tests.training.contexts import DyingState, Killed, context, recorder_of, train_config
from tests.training.methods import Regression, RowMemory

CONFIG = train_config(
    global_batch_size=4, steps=7, checkpoint_every=2, ema_decay=0.9, clip_norm=1.0
)


def after(steps: int) -> Callable[[], bool]:
    """A stop that comes once the loop asks for the `steps` + 1st time."""
    left = steps

    def should_stop() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    return should_stop


def run(ctx: StageContext[StageConfig], folder: Path) -> tuple[dict[int, float], dict[str, Tensor]]:
    """Losses by step and the exported weights of one attempt."""
    train(RowMemory(), CONFIG, ctx, output=folder)
    return recorder_of(ctx).scalars.get("train_loss", {}), read_weights(
        folder / "model.safetensors"
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_resume_after_preemption_is_bitwise_the_undisturbed_run(
    tmp_path: Path, precision: str
) -> None:
    engine = EngineConfig.model_validate({"precision": precision, "micro_batch_size": 2})
    losses, weights = run(context(tmp_path / "whole", engine=engine), tmp_path)
    cut = tmp_path / "cut"
    with pytest.raises(Preempted, match="saved after step 3"):
        run(context(cut, engine=engine, should_stop=after(3)), tmp_path)
    resumed_losses, resumed_weights = run(context(cut, engine=engine), tmp_path)
    assert resumed_losses == {step: losses[step] for step in (4, 5, 6, 7)}
    assert resumed_weights.keys() == weights.keys()
    for name, tensor in weights.items():
        assert torch.equal(tensor, resumed_weights[name]), name


def test_resume_of_finished_run_trains_nothing_and_exports_the_same(tmp_path: Path) -> None:
    _, weights = run(context(tmp_path), tmp_path)
    losses, again = run(context(tmp_path), tmp_path)
    assert not losses
    assert all(torch.equal(tensor, again[name]) for name, tensor in weights.items())


def test_save_keeps_the_newest_and_removes_unfinished_older_ones(tmp_path: Path) -> None:
    (tmp_path / "state" / folder_name(1)).mkdir(parents=True)
    run(context(tmp_path), tmp_path)
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == [
        folder_name(6),
        folder_name(7),
    ]


def _cut_short(folder: Path) -> None:
    file = next(folder.glob("rank-*"))
    file.write_bytes(file.read_bytes()[:-1])


def _flip_bit(folder: Path) -> None:
    file = next(folder.glob("rank-*"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def _lose_file(folder: Path) -> None:
    next(folder.glob("rank-*")).unlink()


def _lose_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def _garble_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text('{"format": 1, "files": [{"name": "../../secret"}]}')


@pytest.mark.parametrize(
    "damage", [_cut_short, _flip_bit, _lose_file, _lose_manifest, _garble_manifest]
)
def test_restore_with_damaged_newest_goes_on_from_the_one_before(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    losses, weights = run(context(tmp_path), tmp_path)
    damage(tmp_path / "state" / folder_name(7))
    resumed_losses, resumed_weights = run(context(tmp_path), tmp_path)
    assert resumed_losses == {7: losses[7]}
    assert all(torch.equal(tensor, resumed_weights[name]) for name, tensor in weights.items())


@pytest.mark.parametrize("dies_at", range(1, 9))
def test_resume_after_death_while_saving_is_bitwise_the_undisturbed_run(
    tmp_path: Path, dies_at: int
) -> None:
    """Four saves publish a file and a manifest each: every one of the eight may be the last."""
    losses, weights = run(context(tmp_path / "whole"), tmp_path)
    cut = tmp_path / "cut"
    with pytest.raises(Killed):
        run(context(cut, state=DyingState(cut / "state", dies_at=dies_at)), tmp_path)
    resumed_losses, resumed_weights = run(context(cut), tmp_path)
    assert resumed_losses.items() <= losses.items()
    assert all(torch.equal(tensor, resumed_weights[name]) for name, tensor in weights.items())


def test_save_on_full_disk_says_so_and_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    with pytest.raises(Preempted):
        run(context(tmp_path, should_stop=after(2)), tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"checkpoint not saved in .*File too large"):
            run(context(tmp_path), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert steps_in(tmp_path / "state") == [2]
    losses, _ = run(context(tmp_path), tmp_path)
    assert list(losses) == [3, 4, 5, 6, 7]


def test_restore_with_checkpoint_of_another_model_names_the_parameters(tmp_path: Path) -> None:
    train(Regression(), train_config(), context(tmp_path))
    with pytest.raises(ConfigError, match=r"another model.*bias"):
        train(RowMemory(), CONFIG, context(tmp_path))


def test_restore_with_parameter_of_another_size_is_refused(tmp_path: Path) -> None:
    train(Regression(), train_config(), context(tmp_path))
    method = Regression()
    method.model.bias = torch.nn.Parameter(torch.zeros(4))
    with pytest.raises(ConfigError, match="holds 1 elements of 'bias', the model 4"):
        train(method, train_config(), context(tmp_path))


def test_save_by_time_leaves_a_checkpoint_of_the_running_step(tmp_path: Path) -> None:
    config = train_config(checkpoint_every_seconds=1e-9, keep_checkpoints=100)
    train(Regression(), config, context(tmp_path))
    assert steps_in(tmp_path / "state") == [6, 5, 4, 3, 2, 1]
