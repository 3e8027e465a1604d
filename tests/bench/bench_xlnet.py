"""A training step of XLNet beside XLNetLMHeadModel of transformers, and examples a second.

    python -m tests.bench.bench_xlnet [--runs 10] [--write]

Forward and backward of the language model, same weights, batch, memory, order and targets; the
losses are compared first. Beside it, how many matrix products a step executes of the fewest it
could do with, how much memory it takes, and how fast examples are built.
"""

import argparse
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from transformers import XLNetConfig, XLNetLMHeadModel
from typing_extensions import override

from stages.xlnet.config import DropoutConfig, ModelConfig, RowsConfig
from stages.xlnet.examples import ExampleSource
from stages.xlnet.flops import train_flops
from stages.xlnet.heads import LanguageModel
from stages.xlnet.model import initialise
from stages.xlnet.permutation import attention_keys, blocked, draw_ranks
from tests.bench.ratios import RESULTS, interleave, machine, table
from tests.parity.xlnet.hf import copy_weights
from tests.xlnet.corpus import token_shards, vocabulary

SHAPE = ModelConfig(preset="small")
VOCAB_SIZE = 8192


@dataclass(frozen=True)
class Setting:
    """One row of the table."""

    batch: int
    length: int
    num_memory: int
    num_targets: int
    bidirectional: bool = False
    dropout: float = 0.0

    @override
    def __str__(self) -> str:
        parts = [f"B {self.batch}, L {self.length}, M {self.num_memory}, P {self.num_targets}"]
        parts += ["both directions"] if self.bidirectional else []
        parts += [f"dropout {self.dropout}"] if self.dropout else []
        return ", ".join(parts)


SETTINGS = (
    *(
        Setting(batch, length, num_memory, length // 6, dropout=dropout)
        for batch, length, num_memory in ((8, 128, 0), (8, 128, 128), (2, 512, 0), (2, 512, 512))
        for dropout in (0.0, 0.1)
    ),
    Setting(8, 128, 128, 21, bidirectional=True),
)
_NODE_CORES, _NODE_GPUS, _NODE_MFU = 16, 8, 0.45
_GPU_FLOPS = 989e12
"""Of an H200 in bf16, dense."""


def programs(setting: Setting) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """(theirs, ours): a forward and backward pass that gives the loss."""
    dropout = DropoutConfig(
        hidden=setting.dropout, attention=setting.dropout, activation=setting.dropout
    )
    ours = LanguageModel(SHAPE, VOCAB_SIZE, dropout)
    initialise(ours, torch.Generator().manual_seed(0), std=0.02)
    theirs: Any = XLNetLMHeadModel(
        XLNetConfig(
            vocab_size=VOCAB_SIZE,
            d_model=SHAPE.d_model,
            n_layer=SHAPE.num_layers,
            n_head=SHAPE.num_heads,
            d_inner=SHAPE.d_inner,
            ff_activation="gelu_new",
            dropout=setting.dropout,
            bi_data=setting.bidirectional,
            mem_len=setting.num_memory or None,
            use_mems_train=setting.num_memory > 0,
        )
    ).train()
    copy_weights(ours, theirs)
    rng = np.random.default_rng(0)
    keys, targets = _orders(rng, setting)
    tokens = torch.from_numpy(rng.integers(0, VOCAB_SIZE, (setting.batch, setting.length)))
    segments = torch.zeros_like(tokens)
    segments[:, setting.length // 2 :] = 1
    shape = (setting.batch, SHAPE.num_layers, setting.num_memory, SHAPE.d_model)
    memory = torch.from_numpy(rng.standard_normal(shape, np.float32))
    labels = tokens.gather(1, targets)
    their_inputs = {
        "input_ids": tokens,
        "token_type_ids": segments,
        "perm_mask": blocked(*keys).float(),
        "target_mapping": functional.one_hot(targets, setting.length).float(),
        "mems": [m.transpose(0, 1).contiguous() for m in memory.unbind(1)],
        "labels": labels,
    }

    def run_ours() -> Tensor:
        logits, _ = ours(
            tokens,
            segments,
            keys,
            targets,
            memory=memory if setting.num_memory else None,
            bidirectional=setting.bidirectional,
        )
        loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        ours.zero_grad()
        torch.autograd.backward(loss)
        return loss.detach()

    def run_theirs() -> Tensor:
        loss: Tensor = theirs(**their_inputs).loss
        theirs.zero_grad()
        torch.autograd.backward(loss)
        return loss.detach()

    return run_theirs, run_ours


def _orders(rng: np.random.Generator, setting: Setting) -> tuple[tuple[Tensor, Tensor], Tensor]:
    rows, columns, targets = [], [], []
    nothing = np.zeros(setting.length, bool)
    for _ in range(setting.batch):
        chosen = np.sort(rng.permutation(setting.length)[: setting.num_targets])
        selected = np.isin(np.arange(setting.length), chosen)
        ranks = draw_ranks(rng, setting.length, setting.length)
        row, column = attention_keys(ranks, selected, nothing)
        rows.append(row)
        columns.append(column)
        targets.append(chosen)
    stacked = [torch.from_numpy(np.stack(part)) for part in (rows, columns, targets)]
    return (stacked[0], stacked[1]), stacked[2]


def _rate(program: Callable[[], Tensor], setting: Setting) -> Callable[[], float]:
    def rate() -> float:
        begin = time.perf_counter()
        program()
        return setting.batch / (time.perf_counter() - begin)

    return rate


def examples_per_second() -> float:
    """Training examples built a second at the released setting, one thread."""
    with tempfile.TemporaryDirectory() as folder:
        shards = token_shards(Path(folder), num_tokens=200_000)
        source = ExampleSource(
            shards, vocabulary(), RowsConfig(), num_rows=32, rows_setting="", seed=0
        )
        rows = np.arange(32)
        begin = time.process_time()
        for step in range(20):
            source.batch(np.zeros_like(rows), rows, np.full_like(rows, step))
        return 20 * 32 / (time.process_time() - begin)


def needed_examples_per_second() -> float:
    """What one of 16 cores must build for eight H200 that train Base at 45 % of their peak."""
    flops = train_flops(ModelConfig(), RowsConfig(), 32_000, rows_per_forward=8)
    return _NODE_GPUS * _NODE_MFU * _GPU_FLOPS / flops / _NODE_CORES


def executed_share(setting: Setting) -> float:
    """Matrix products that a step of ours executes over the fewest it could do with."""
    _, ours = programs(setting)
    with FlopCounterMode(display=False) as counter:
        ours()
    rows = RowsConfig.model_construct(
        seq_len=setting.length,
        mem_len=setting.num_memory,
        num_predict=setting.num_targets,
        bidirectional=setting.bidirectional,
    )
    fewest = train_flops(SHAPE, rows, VOCAB_SIZE, rows_per_forward=setting.batch)
    return float(counter.get_total_flops()) / (setting.batch * fewest)


def peak_bytes(number: int, who: int) -> int:
    """What a step of theirs (0) or ours (1) takes beyond the weights, in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.bench_xlnet", "--peak", str(number), str(who)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(output.split()[-1])


def _peak_here(number: int, who: int) -> int:
    program = programs(SETTINGS[number])[who]
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    before = _memory("VmRSS")
    for _ in range(2):
        program()
    return _memory("VmHWM") - before


def _memory(field: str) -> int:
    """Bytes that the kernel reports of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])
    msg = f"no {field} in /proc/self/status"
    raise OSError(msg)


def _cost_table(*, measure_memory: bool) -> str:
    lines = [
        "| case | matrix products, of the fewest possible | memory of a step, theirs, MiB | ours | ratio |",
        "| --- | --- | --- | --- | --- |",
    ]
    for number, setting in enumerate(SETTINGS):
        cells = ["-", "-", "-"]
        if measure_memory:
            theirs, ours = peak_bytes(number, 0), peak_bytes(number, 1)
            cells = [f"{theirs >> 20}", f"{ours >> 20}", f"**{ours / theirs:.2f}**"]
        lines.append(f"| {setting} | {executed_share(setting):.3f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Prints the tables; with --write, into the results folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--no-memory", action="store_true", help="leave the memory columns empty")
    parser.add_argument("--peak", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.peak:
        print(_peak_here(*arguments.peak))
        return
    ratios = []
    for setting in SETTINGS:
        theirs, ours = programs(setting)
        if not setting.dropout:
            torch.testing.assert_close(ours(), theirs(), rtol=1e-5, atol=1e-5)
        pair = _rate(theirs, setting), _rate(ours, setting)
        ratios.append(interleave(str(setting), arguments.runs, *pair))
    loader, needed = examples_per_second(), needed_examples_per_second()
    lines = [
        "# A training step of XLNet against transformers",
        "",
        f"`python -m tests.bench.bench_xlnet --runs {arguments.runs} --threads {arguments.threads}`",
        "",
        table(ratios, "transformers", "examples/s"),
        "",
        (
            f"6 layers, width 256, 4 heads, inner 1024, vocabulary {VOCAB_SIZE}, float32, "
            f"{arguments.threads} threads; forward and backward, wall time; losses equal first. "
            "B batch, L tokens, M memory, P targets."
        ),
        "",
        _cost_table(measure_memory=not arguments.no_memory),
        "",
        (
            "Products counted by torch against 2 {N [...] + PdV} of `stages.xlnet.flops`; below 1 "
            "because the last layer leaves its content rows out. Memory is the high-water mark of a "
            "step above what the process holds with both models' weights."
        ),
        "",
        (
            f"Examples built at the released setting (512 tokens, 85 targets): {loader:,.0f} a "
            f"CPU-second. Base at {_NODE_MFU:.0%} MFU on {_NODE_GPUS} H200 eats {needed:,.0f} a "
            f"second for each of {_NODE_CORES} cores: {loader / needed:.1f} times that."
        ),
        "",
        machine("torch", "transformers", "numpy"),
        "",
    ]
    text = "\n".join(lines)
    print(text)
    if arguments.write:
        (RESULTS / "xlnet_2xXeon_202611.md").write_text(text)


if __name__ == "__main__":
    main()
