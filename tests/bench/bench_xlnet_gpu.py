"""Training steps of XLNet Base and Large on a GPU in bf16, beside transformers.

    python -m tests.bench.bench_xlnet_gpu [--steps 20] [--write]

At the released setting (512 tokens, 384 of memory, 85 targets): sequences a second, share of the
GPU's peak and peak memory. Without a GPU it writes the rows as not run.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional
from transformers import XLNetConfig, XLNetLMHeadModel

from stages.xlnet.config import DropoutConfig, ModelConfig, RowsConfig
from stages.xlnet.flops import train_flops
from stages.xlnet.heads import LanguageModel
from stages.xlnet.model import initialise
from stages.xlnet.permutation import blocked
from tests.bench.ratios import RESULTS, machine

ROWS = RowsConfig()
VOCAB_SIZE = 32_000
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40": 181e12}
"""Dense bf16 products a second by a part of the GPU's name."""
WARMUP_STEPS = 5
_RESULT = "xlnet_gpu_202611.md"


@dataclass(frozen=True)
class Case:
    """A row of the table."""

    preset: Literal["base", "large"]
    batch: int


CASES = (Case("base", 16), Case("base", 64), Case("large", 8), Case("large", 32))


@dataclass(frozen=True)
class Measured:
    """Of one program: sequences a second, and bytes at the most."""

    rate: float
    memory: int


def inputs_of(case: Case, shape: ModelConfig, device: torch.device) -> dict[str, Tensor]:
    """Random tokens, a random order, targets and memory."""
    generator = torch.Generator().manual_seed(0)
    length, num_targets = ROWS.seq_len, ROWS.num_predict
    order = torch.stack([torch.randperm(length, generator=generator) for _ in range(case.batch)])
    targets = order[:, :num_targets].sort(dim=1).values
    selected = torch.zeros(case.batch, length, dtype=torch.bool).scatter(1, targets, value=True)
    ranks = order.argsort(dim=1)
    column = torch.where(selected, ranks, -1)
    memory = (case.batch, shape.num_layers, ROWS.mem_len, shape.d_model)
    inputs = {
        "tokens": torch.randint(0, VOCAB_SIZE, (case.batch, length), generator=generator),
        "row": torch.where(selected, column, column + 1),
        "column": column,
        "targets": targets,
        "memory": torch.randn(memory, generator=generator),
    }
    return {name: tensor.to(device) for name, tensor in inputs.items()}


def our_step(case: Case, device: torch.device) -> Callable[[], Tensor]:
    """Forward and backward under autocast."""
    shape = ModelConfig.model_validate({"preset": case.preset})
    model = LanguageModel(shape, VOCAB_SIZE, DropoutConfig())
    initialise(model, torch.Generator().manual_seed(0), std=shape.init_std)
    model = model.to(device).train()
    inputs = inputs_of(case, shape, device)
    labels = inputs["tokens"].gather(1, inputs["targets"]).flatten()
    segments = torch.zeros_like(inputs["tokens"])

    def step() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            logits, _ = model(
                inputs["tokens"],
                segments,
                (inputs["row"], inputs["column"]),
                inputs["targets"],
                memory=inputs["memory"],
                bidirectional=True,
            )
        loss = functional.cross_entropy(logits.flatten(0, 1).float(), labels)
        model.zero_grad()
        torch.autograd.backward(loss)
        return loss.detach()

    return step


def their_step(case: Case, device: torch.device) -> Callable[[], Tensor]:
    """The same by XLNetLMHeadModel."""
    shape = ModelConfig.model_validate({"preset": case.preset})
    config = XLNetConfig(
        vocab_size=VOCAB_SIZE,
        d_model=shape.d_model,
        n_layer=shape.num_layers,
        n_head=shape.num_heads,
        d_inner=shape.d_inner,
        ff_activation="gelu_new",
        bi_data=True,
        mem_len=ROWS.mem_len,
        use_mems_train=True,
    )
    model: Any = XLNetLMHeadModel(config)
    model = model.to(device).train()
    inputs = inputs_of(case, shape, device)
    arguments = {
        "input_ids": inputs["tokens"],
        "perm_mask": blocked(inputs["row"], inputs["column"]).float(),
        "target_mapping": functional.one_hot(inputs["targets"], ROWS.seq_len).float(),
        "mems": [m.transpose(0, 1).contiguous() for m in inputs["memory"].unbind(1)],
        "labels": inputs["tokens"].gather(1, inputs["targets"]),
    }

    def step() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            loss: Tensor = model(**arguments).loss
        model.zero_grad()
        torch.autograd.backward(loss)
        return loss.detach()

    return step


def measure(step: Callable[[], Tensor], case: Case, steps: int) -> Measured:
    """Median over steps, after a warm-up."""
    torch.cuda.reset_peak_memory_stats()
    times = []
    for number in range(WARMUP_STEPS + steps):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        step()
        torch.cuda.synchronize()
        if number >= WARMUP_STEPS:
            times.append(time.perf_counter() - begin)
    return Measured(case.batch / statistics.median(times), torch.cuda.max_memory_allocated())


def row(case: Case, steps: int) -> str:
    """One line of the table."""
    name = f"| {case.preset}, B {case.batch} |"
    if not torch.cuda.is_available():
        return f"{name} not run | not run | not run | not run | not run |"
    device = torch.device("cuda")
    theirs = measure(their_step(case, device), case, steps)
    torch.cuda.empty_cache()
    ours = measure(our_step(case, device), case, steps)
    torch.cuda.empty_cache()
    shape = ModelConfig.model_validate({"preset": case.preset})
    flops = train_flops(shape, ROWS, VOCAB_SIZE, rows_per_forward=case.batch)
    gpu = torch.cuda.get_device_name()
    peak = next((value for part, value in PEAKS.items() if part in gpu), None)
    mfu = "unknown GPU" if peak is None else f"{ours.rate * flops / peak:.1%}"
    return (
        f"{name} {theirs.rate:,.1f} | {ours.rate:,.1f} | **{ours.rate / theirs.rate:.2f}** "
        f"| {mfu} | {theirs.memory / 2**30:.1f}, {ours.memory / 2**30:.1f} |"
    )


def main() -> None:
    """Prints the table; with --write, into the results folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU at hand"
    lines = [
        "# A training step of XLNet on a GPU, bf16",
        "",
        f"`python -m tests.bench.bench_xlnet_gpu --steps {arguments.steps}`: {where}",
        "",
        "| case | transformers, sequences/s | ours | ratio | MFU | memory, GiB |",
        "| --- | --- | --- | --- | --- | --- |",
        *(row(case, arguments.steps) for case in CASES),
        "",
        "512 tokens, 384 of memory, 85 targets, both directions, dropout 0.1, autocast.",
        "",
        machine("torch", "transformers"),
        "",
    ]
    text = "\n".join(lines)
    print(text)
    if arguments.write:
        (RESULTS / _RESULT).write_text(text)


if __name__ == "__main__":
    main()
