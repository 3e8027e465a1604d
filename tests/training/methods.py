"""Small methods to train: a regression in 30 lines, and one with everything that can go wrong."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from typing_extensions import override

from pipeline.spec.context import World
from pipeline.training.method import Batch, Loss, MethodState, Picks, StreamSpec
from pipeline.training.seeding import torch_generator


class Regression:
    """Fits y = x @ w + b; the smallest complete method, and how one is written."""

    def __init__(self, *, examples: int = 50, batch_size: int = 8, seed: int = 5) -> None:
        random = torch_generator(seed, "regression")
        self._x = torch.randn(examples, 3, generator=random)
        self._y = self._x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.25
        self.model = nn.Linear(3, 1)
        nn.init.zeros_(self.model.weight)
        nn.init.zeros_(self.model.bias)
        self.streams = {"examples": StreamSpec(size=examples, batch_size=batch_size)}

    def examples(self) -> tuple[Tensor, Tensor]:
        """All inputs and targets, for a test that computes by itself."""
        return self._x, self._y

    def batch(self, picks: Mapping[str, Picks]) -> Batch:
        index = torch.from_numpy(picks["examples"].index)
        return {"x": self._x[index], "y": self._y[index]}

    def weight(self, batch: Batch) -> Tensor:
        return torch.tensor(float(len(batch["y"])))

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        error = (model(batch["x"]).float() - batch["y"]).square().sum()
        return Loss(error, {"squared_error": error.detach()})

    def evaluate(self, model: nn.Module) -> Mapping[str, tuple[Tensor, Tensor]]:
        error = (model(self._x).float() - self._y).square().sum()
        return {"error": (error, torch.tensor(float(len(self._y))))}

    def state_dict(self) -> Mapping[str, MethodState]:
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        return


class _MemoryModel(nn.Module):
    """Predicts the next symbol from this one and a memory; output tied to the embedding."""

    def __init__(self, vocab_size: int, width: int, *, dropout: float, norm: str) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.mix = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width) if norm == "layer" else nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, vocab_size)
        self.output.weight = self.embedding.weight
        self.scale = nn.Parameter(torch.ones(1), requires_grad=False)

    @override
    def forward(self, symbols: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """(batch,) int64 and (batch, width) -> logits (batch, vocab), new memory."""
        joined = torch.cat([self.embedding(symbols), memory.to(self.mix.weight.dtype)], dim=-1)
        hidden = torch.tanh(self.norm(self.mix(joined))) * self.scale
        return self.output(self.dropout(hidden)), hidden


class RowMemory:
    """A language model over rows with everything a checkpoint has to keep.

    A memory per row, a replicated count of steps that shifts the memory, running statistics,
    dropout, a tied and a frozen parameter, odd sizes that no number of ranks divides, weights of
    examples that differ, and two streams. Without dropout and with norm="layer" nothing depends
    on how a batch is cut.
    """

    rows = 4
    length = 5

    def __init__(
        self, place: World | None = None, *, dropout: float = 0.3, norm: str = "batch"
    ) -> None:
        place = place or World()
        random = torch_generator(11, "memory")
        self._text = torch.randint(0, 7, (self.rows, self.length + 1), generator=random)
        self._share = torch.rand(9, generator=random) + 0.5
        torch.manual_seed(3)
        self.model = _MemoryModel(7, 3, dropout=dropout, norm=norm)
        self.streams = {
            "text": StreamSpec(size=self.length, batch_size=self.rows, order="rows"),
            "share": StreamSpec(size=9, batch_size=self.rows),
        }
        self._per_rank = self.rows // place.size
        self._first_row = place.rank * self._per_rank
        self._memory = torch.zeros(self._per_rank, 3)
        self._count = torch.zeros(())

    def batch(self, picks: Mapping[str, Picks]) -> Batch:
        text, share = picks["text"], picks["share"]
        row, position = torch.from_numpy(text.index), torch.from_numpy(text.position)
        return {
            "row": row,
            "symbol": self._text[row, position],
            "label": self._text[row, position + 1],
            "share": self._share[torch.from_numpy(share.index)],
        }

    def weight(self, batch: Batch) -> Tensor:
        return batch["share"].sum()

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        local = batch["row"] - self._first_row
        logits, hidden = model(batch["symbol"], self._memory[local])
        losses = nn.functional.cross_entropy(logits.float(), batch["label"], reduction="none")
        total = (losses * batch["share"]).sum()
        self._count += len(local) / self._per_rank
        self._memory[local] = hidden.detach().float() + 0.01 * self._count.ceil()
        return Loss(total, {"right": (logits.argmax(-1) == batch["label"]).float().sum()})

    def evaluate(self, model: nn.Module) -> Mapping[str, tuple[Tensor, Tensor]]:
        rows = slice(self._first_row, self._first_row + self._per_rank)
        memory = torch.zeros(self._per_rank, 3)
        logits, _ = model(self._text[rows, 0], memory)
        loss = nn.functional.cross_entropy(logits.float(), self._text[rows, 1], reduction="sum")
        return {"loss": (loss, torch.tensor(float(self._per_rank)))}

    def state_dict(self) -> Mapping[str, MethodState]:
        return {
            "memory": MethodState(self._memory, "per_row"),
            "count": MethodState(self._count, "replicated"),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._memory.copy_(state["memory"])
        self._count.copy_(state["count"])


class Diverging(RowMemory):
    """Its loss is NaN at one step of the last rank."""

    def __init__(self, place: World, nan_at: int) -> None:
        super().__init__(place)
        self._left = nan_at if place.rank == place.size - 1 else -1

    @override
    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        self._left -= 1
        loss = super().loss(model, batch)
        return Loss(loss.total * (float("nan") if self._left == 0 else 1.0), {})
