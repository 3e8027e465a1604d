"""A step of the loop on the plain engine against the same step in a bare torch loop.

Run: `python -m tests.bench.bench_loop`. Both train the same transformer on the same batches with
torch's fused AdamW and clipping; the bare loop has its batches in memory, ours reads, votes,
guards and records. Blocks of steps alternate, so that a busy machine slows both.
"""

import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from typing_extensions import override

from pipeline.metrics.recorder import FileRecorder
from pipeline.spec.resources import EngineConfig
from pipeline.training.loop import train
from pipeline.training.method import Batch, Loss, MethodState, Picks, StreamSpec
from pipeline.training.seeding import torch_generator
from tests.training.contexts import context, train_config

BATCH, LENGTH, WIDTH, VOCAB = 8, 64, 128, 1000
BLOCK = 20
BLOCKS = 12


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, dropout=0.1, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.output = nn.Linear(WIDTH, VOCAB)

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.output(self.layers(self.embedding(tokens)))
        return logits


class _LanguageModel:
    """Predicts each token from itself: the arithmetic of a language model without its point."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = _Model()
        self.streams = {"text": StreamSpec(size=512, batch_size=BATCH)}
        self.tokens = torch.randint(0, VOCAB, (512, LENGTH), generator=torch_generator(0, "tokens"))
        self.clock: list[tuple[float, float]] = []

    def batch(self, picks: Mapping[str, Picks]) -> Batch:
        return {"tokens": self.tokens[torch.from_numpy(picks["text"].index)]}

    def weight(self, batch: Batch) -> Tensor:
        return torch.tensor(float(batch["tokens"].numel()))

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        self.clock.append((time.perf_counter(), time.process_time()))
        tokens = batch["tokens"]
        logits = model(tokens)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="sum")
        return Loss(loss, {})

    def evaluate(self, model: nn.Module) -> Mapping[str, tuple[Tensor, Tensor]]:
        return {}

    def state_dict(self) -> Mapping[str, MethodState]:
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        return


def _per_step(clock: list[tuple[float, float]]) -> tuple[float, float]:
    """(wall, CPU) seconds a step, start-up and end left out."""
    (first_wall, first_cpu), (last_wall, last_cpu) = clock[0], clock[-1]
    steps = len(clock) - 1
    return (last_wall - first_wall) / steps, (last_cpu - first_cpu) / steps


def _ours(steps: int, method: _LanguageModel, folder: Path) -> tuple[float, float]:
    ctx = context(folder, engine=EngineConfig())
    recorder = FileRecorder(folder / "metrics")
    config = train_config(
        steps=steps,
        global_batch_size=BATCH,
        log_every=10,
        clip_norm=1.0,
        optimizer={"learning_rate": 1e-3},
    )
    method.clock.clear()
    train(method, config, replace(ctx, recorder=recorder))
    recorder.close()
    return _per_step(method.clock)


def _bare(steps: int, method: _LanguageModel) -> tuple[float, float]:
    """The same in the fewest lines that train: no data order, no logging, no checkpoint."""
    model = method.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    batches = [{"tokens": method.tokens[i * BATCH : (i + 1) * BATCH]} for i in range(steps)]
    method.clock.clear()
    for batch in batches:
        loss = method.loss(model, batch).total / (BATCH * LENGTH)
        torch.autograd.backward(loss)
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return _per_step(method.clock)


def main() -> None:
    """Prints the ratio table."""
    torch.set_num_threads(1)
    ours: list[tuple[float, float]] = []
    bare: list[tuple[float, float]] = []
    for block in range(BLOCKS + 1):
        with tempfile.TemporaryDirectory() as folder:
            pair = _bare(BLOCK, _LanguageModel()), _ours(BLOCK, _LanguageModel(), Path(folder))
        if block:  # the first warms up
            bare.append(pair[0])
            ours.append(pair[1])
    print("case                         bare torch       ours          ratio    spread")
    for place, clock in enumerate(("wall", "CPU ")):
        base, candidate = [b[place] for b in bare], [o[place] for o in ours]
        ratios = sorted(o / b for o, b in zip(candidate, base, strict=True))
        middle = statistics.median(ratios)
        print(
            f"step, {clock}                 {1e3 * statistics.median(base):7.2f} ms     "
            f"{1e3 * statistics.median(candidate):7.2f} ms    {middle:5.3f}x   "
            f"{(ratios[-1] - ratios[0]) / middle:.3f}"
        )


if __name__ == "__main__":
    main()
