"""Several ranks in processes of their own, each doing the same list of small trainings.

Run as a program it is one rank; a test calls `run_gang`. One list for many trainings, for every
rank pays seconds for importing torch and DeepSpeed.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.errors import WorkerError
from pipeline.spec.context import World
from pipeline.spec.resources import EngineConfig
from pipeline.training.export import read_weights
from pipeline.training.loop import train
from pipeline.training.world import open_world
from tests.training.contexts import context, recorder_of, train_config
from tests.training.methods import Diverging, RowMemory

STEPS = 5

EXTENSIONS = "extensions"
"""Folder beneath a gang's where torch would put what is compiled at run time."""

EXACT = {"dropout": 0.0, "norm": "layer"}
"""A method whose numbers do not depend on how the batch is cut."""


@dataclass(frozen=True)
class Training:
    """One call of `train` on every rank.

    Attributes:
        folder: its state; the same folder again goes on from there.
        engine: fields of EngineConfig.
        config: what differs from `train_config`.
        method: arguments of RowMemory.
        stop_before: step (from 0) before which `stop_rank` is asked to stop.
        nan_at: step (from 1) at which the last rank's loss is NaN.
    """

    folder: str
    engine: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    method: dict[str, Any] = field(default_factory=dict)
    stop_before: int | None = None
    stop_rank: int = 0
    nan_at: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What a training left, as rank 0 saw it; `errors` of every rank, "" for none."""

    losses: dict[int, float]
    norms: dict[int, float]
    scores: dict[str, float]
    errors: list[str]
    weights: dict[str, Tensor]


def run_here(training: Training, folder: Path, world: World) -> dict[str, Any]:
    """One training on this rank; what it left, without the weights."""
    place = folder / training.folder
    calls = 0

    def should_stop() -> bool:
        nonlocal calls
        calls += 1
        return (
            training.stop_before is not None
            and world.rank == training.stop_rank
            and calls > training.stop_before
        )

    engine = EngineConfig.model_validate(training.engine)
    ctx = context(place, world=world, engine=engine, should_stop=should_stop)
    values = {"steps": STEPS, "global_batch_size": 4, "clip_norm": 0.5, "ema_decay": 0.9}
    config = train_config(**(values | training.config))
    method = (
        RowMemory(world, **training.method)
        if training.nan_at is None
        else Diverging(world, training.nan_at)
    )
    error, scores = "", {}
    try:
        scores = dict(train(method, config, ctx, output=place).scores)
    except WorkerError as exc:
        error = f"{type(exc).__name__}: {exc}"
    recorder = recorder_of(ctx)
    return {
        "losses": recorder.scalars.get("train_loss", {}),
        "norms": recorder.scalars.get("train_grad_norm", {}),
        "scores": scores,
        "error": error,
    }


def run_gang(trainings: Sequence[Training], folder: Path, size: int) -> list[Outcome]:
    """Runs the trainings one after another on `size` new processes.

    Raises:
        AssertionError: with the output of the ranks, when one fails.
    """
    listed = json.dumps([asdict(training) for training in trainings])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "error", __file__, str(folder), listed],
            env=os.environ
            | {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(size),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": "1",
                "CUDA_VISIBLE_DEVICES": "",
                "TORCH_EXTENSIONS_DIR": str(folder / EXTENSIONS),
                "PYTHONPATH": str(Path(__file__).parents[2]),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(size)
    ]
    try:
        outputs = [rank.communicate(timeout=300)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0] * size, "\n".join(outputs)
    assert not any(outputs), f"the ranks printed: {outputs}"
    return [_outcome(folder, number, training, size) for number, training in enumerate(trainings)]


def _outcome(folder: Path, number: int, training: Training, size: int) -> Outcome:
    results = [json.loads((folder / f"{number}-{rank}.json").read_text()) for rank in range(size)]
    errors = [result["error"] for result in results]
    exported = folder / f"{number}.safetensors"
    return Outcome(
        losses={int(step): loss for step, loss in results[0]["losses"].items()},
        norms={int(step): norm for step, norm in results[0]["norms"].items()},
        scores=results[0]["scores"],
        errors=errors,
        weights=read_weights(exported) if exported.exists() else {},
    )


def main() -> None:
    """One rank: the arguments are the folder and the trainings as JSON."""
    folder = Path(sys.argv[1])
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    world = World(rank=rank, size=size, local_rank=rank, local_size=size)
    for number, values in enumerate(json.loads(sys.argv[2])):
        training = Training(**values)
        result = run_here(training, folder, world)
        (folder / f"{number}-{rank}.json").write_text(json.dumps(result))
        exported = folder / training.folder / "model.safetensors"
        if rank == 0 and exported.exists():
            exported.rename(folder / f"{number}.safetensors")
        with open_world(world, threads=1) as peers:
            peers.barrier()


if __name__ == "__main__":
    main()
