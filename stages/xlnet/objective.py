"""Permutation language modelling as a training method: batches, loss, memory, evaluation."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import ConfigError
from pipeline.shards import TokenShards
from pipeline.spec.context import World
from pipeline.training.method import (
    Batch,
    Loss,
    MethodState,
    Picks,
    StepCost,
    StreamSpec,
    to_device,
)
from pipeline.training.seeding import derive, torch_generator
from stages.xlnet.checkpoint import Shape
from stages.xlnet.config import PretrainConfig
from stages.xlnet.examples import NO_LABEL, ExampleSource
from stages.xlnet.flops import train_flops
from stages.xlnet.heads import LanguageModel
from stages.xlnet.model import new_model
from stages.xlnet.pictures import SeenExample, seen_example, watched_attention
from stages.xlnet.rows import Ids
from stages.xlnet.vocabulary import read_vocabulary

HELD_OUT = "validation"
"""Split whose perplexity is reported."""


class PermutationLM:
    """XLNet's objective over rows of text, with a memory per row.

    The loss is the sum over targets of -log p(token | what precedes it in the order); its weight
    is the number of targets, SEP and CLS and unused places left out.

    Attributes:
        seen: an example of the newest evaluation and what was predicted; on rank 0 alone.

    Source: Yang et al. 2019, arXiv:1906.08237, section 2.3 eq. 5.
    """

    def __init__(
        self,
        config: PretrainConfig,
        shards: Path,
        tokenizer: Path,
        *,
        place: World,
        seed: int,
    ) -> None:
        """Opens the data and builds the model.

        Args:
            config: the stage's configuration.
            shards: SHARDS(tokens) with the split "train"; "validation" is evaluated where it is.
            tokenizer: TOKENIZER that made them.
            place: this rank; it keeps the memory of its rows.
            seed: of the weights and of every draw in the examples.
        """
        self._config = config
        vocabulary = read_vocabulary(tokenizer)
        train = TokenShards(shards, "train")
        self._source = ExampleSource(
            train,
            vocabulary,
            config.rows,
            num_rows=config.train.global_batch_size,
            rows_setting="train.global_batch_size",
            seed=derive(seed, "train"),
        )
        self._held_out = None
        if HELD_OUT in train.splits:
            self._held_out = ExampleSource(
                TokenShards(shards, HELD_OUT),
                vocabulary,
                config.rows,
                num_rows=config.held_out.rows,
                rows_setting="held_out.rows",
                seed=derive(seed, HELD_OUT),
            )
        self._place = place
        self.shape = Shape(
            model=config.model, vocab_size=vocabulary.size, tokenizer=vocabulary.tokenizer
        )
        self.model = new_model(
            lambda: LanguageModel(config.model, vocabulary.size, config.dropout),
            torch_generator(seed, "weights"),
            config.model,
        )
        self.streams = {
            "rows": StreamSpec(
                size=self._source.num_steps,
                batch_size=config.train.global_batch_size,
                order="rows",
            )
        }
        num_rows = config.train.global_batch_size // place.size
        self._first_row = place.rank * num_rows
        self._memory = self._empty_memory(num_rows, torch.device("cpu"))
        self.seen: SeenExample | None = None

    def batch(self, picks: Mapping[str, Picks]) -> Batch:
        """Examples of one micro-batch, those over reversed text in its second half."""
        rows = picks["rows"]
        if self._config.rows.bidirectional and len(rows.index) % 2:
            msg = (
                f"rows.bidirectional needs an even number of rows in every forward pass, here are "
                f"{len(rows.index)}: make train.global_batch_size a multiple of twice the number of"
                " ranks, and deepspeed.micro_batch_size even"
            )
            raise ConfigError(msg)
        return self._source.batch(rows.epoch, rows.index, rows.position)

    def weight(self, batch: Batch) -> Tensor:
        """Number of targets."""
        return (batch["labels"] != NO_LABEL).sum()

    def step_cost(self, *, global_batch_size: int, num_forwards: int) -> StepCost:
        """Arithmetic of `flops.train_flops`; every position of a row counts as a token."""
        flops = train_flops(
            self._config.model,
            self._config.rows,
            self.shape.vocab_size,
            rows_per_forward=global_batch_size // num_forwards,
        )
        tokens = global_batch_size * self._config.rows.seq_len
        return StepCost(flops=global_batch_size * flops, tokens=tokens)

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Cross-entropy summed over targets; takes the memory on by one step."""
        places = batch["rows"] - self._first_row
        if self._memory.device != places.device:
            self._memory = self._memory.to(places.device)
        memory = self._memory[places] if self._memory.shape[2] else None
        logits, new_memory = self._forward(model, batch, memory)
        if new_memory is not None:
            self._memory[places] = new_memory.to(self._memory.dtype)
        return Loss(_cross_entropy(logits, batch["labels"]), {})

    def evaluate(self, model: nn.Module) -> Mapping[str, tuple[Tensor, Tensor]]:
        """Loss on the held-out rows, each with a memory of its own; empty without held-out text."""
        source = self._held_out
        if source is None:
            return {}
        rows, is_real = self._my_held_out_rows(source)
        device = self.model.backbone.query_init.device
        memory = self._empty_memory(len(rows), device)
        # Sums over a large split outgrow float32: 2^24 targets, and one more changes nothing.
        zero = torch.zeros((), dtype=torch.float64, device=device)
        total, count = zero, zero
        num_steps = min(source.num_steps, self._config.held_out.max_steps)
        for step in range(num_steps):
            batch = source.batch(np.zeros_like(rows), rows, np.full_like(rows, step))
            batch["labels"][torch.from_numpy(~is_real)] = NO_LABEL
            count = count + self.weight(batch)
            batch = to_device(batch, device)
            past = memory if memory.shape[2] else None
            # The last one is shown: its memory is real text, not the zeros a row begins with.
            if step == num_steps - 1 and self._place.rank == 0:
                logits, new_memory = self._forward_seen(model, batch, past)
            else:
                logits, new_memory = self._forward(model, batch, past)
            memory = memory if new_memory is None else new_memory
            total = total + _cross_entropy(logits, batch["labels"]).double()
        return {"loss": (total, count)}

    def state_dict(self) -> Mapping[str, MethodState]:
        """The memory of this rank's rows."""
        if not self._memory.shape[2]:
            return {}
        return {"memory": MethodState(self._memory, "per_row")}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores the memory."""
        if self._memory.shape[2]:
            self._memory.copy_(state["memory"])

    def _forward(
        self, model: nn.Module, batch: Batch, memory: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Logits at the targets and the new memory, (batch, layers, mem_len, d_model)."""
        logits, new_memory = model(
            batch["tokens"],
            batch["segments"],
            (batch["row_keys"], batch["column_keys"]),
            batch["targets"],
            memory=memory,
            reuse_len=self._config.rows.reuse_len,
            bidirectional=self._config.rows.bidirectional,
        )
        return logits, new_memory

    def _forward_seen(
        self, model: nn.Module, batch: Batch, memory: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """As `_forward`; keeps what the model made of the first example."""
        with watched_attention(model, num_targets=batch["targets"].shape[1]) as attention:
            logits, new_memory = self._forward(model, batch, memory)
        self.seen = seen_example(batch, logits, attention)
        return logits, new_memory

    def _empty_memory(self, num_rows: int, device: torch.device) -> Tensor:
        """(rows, layers, mem_len, d_model) zeros: what a row begins with."""
        model = self._config.model
        shape = (num_rows, model.num_layers, self._config.rows.mem_len, model.d_model)
        return torch.zeros(shape, device=device)

    def _my_held_out_rows(self, source: ExampleSource) -> tuple[Ids, NDArray[np.bool_]]:
        """This rank's rows, reversed ones last, and which of them count.

        Every rank has equally many, for all must call the model equally often; where the rows do
        not divide, a row is read again and does not count.
        """
        directions = 2 if self._config.rows.bidirectional else 1
        num_texts = source.num_rows // directions
        per_rank = -(-num_texts // self._place.size)
        texts = np.arange(per_rank) + self._place.rank * per_rank
        is_real = texts < num_texts
        texts = np.where(is_real, texts, 0)
        rows = np.concatenate([texts * directions + direction for direction in range(directions)])
        return rows, np.tile(is_real, directions)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum over the labels there are, in float32."""
    return functional.cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), ignore_index=NO_LABEL, reduction="sum"
    )
