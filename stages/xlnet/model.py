"""The XLNet backbone: embedding, two-stream layers and the memory between segments."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from stages.xlnet.attention import RelativeAttention, Surroundings, surroundings
from stages.xlnet.config import DropoutConfig, ModelConfig
from stages.xlnet.positions import position_tables

_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
    "gelu_erf": functional.gelu,
    "relu": functional.relu,
}


class FeedForward(nn.Module):
    """Two linear maps with a nonlinearity (GELU's tanh approximation) between, residual and norm."""

    def __init__(self, config: ModelConfig, dropout: DropoutConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.d_model, config.d_inner)
        self.down = nn.Linear(config.d_inner, config.d_model)
        self.norm = nn.LayerNorm(config.d_model, eps=1e-12)
        self.activation_dropout = nn.Dropout(dropout.activation)
        self.dropout = nn.Dropout(dropout.hidden)
        self._activation = _ACTIVATIONS[config.activation]

    @override
    def forward(self, rows: Tensor) -> Tensor:
        """(batch, rows, d_model) -> the same shape."""
        inner = self.activation_dropout(self._activation(self.up(rows)))
        out: Tensor = self.norm(rows + self.dropout(self.down(inner)))
        return out


class Layer(nn.Module):
    """Attention and feed-forward part; the same weights serve both streams."""

    def __init__(self, config: ModelConfig, dropout: DropoutConfig) -> None:
        super().__init__()
        self.attn = RelativeAttention(
            config.d_model,
            config.num_heads,
            dropout=dropout.hidden,
            prob_dropout=dropout.attention,
        )
        self.ff = FeedForward(config, dropout)

    @override
    def forward(self, rows: Tensor, context: Tensor, around: Surroundings) -> Tensor:
        """As `RelativeAttention.forward`."""
        out: Tensor = self.ff(self.attn(rows, context, around))
        return out


class Backbone(nn.Module):
    """XLNet without a head.

    Parameters are not initialised here: `initialise` does that, so that a shape can be looked at
    without any memory.

    Source: Yang et al. 2019, arXiv:1906.08237, section 2, and its released code, modeling.py.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, dropout: DropoutConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(vocab_size, config.d_model)
        self.query_init = nn.Parameter(torch.empty(config.d_model))
        self.layers = nn.ModuleList(Layer(config, dropout) for _ in range(config.num_layers))
        self.dropout = nn.Dropout(dropout.hidden)
        self.tie()

    def tie(self) -> None:
        """Gives all layers the attention biases of the first, unless each has its own.

        Once more after the model got its memory: torch makes it for each name by itself.
        """
        if self.config.untie_r:
            return
        first = self.layers[0].attn
        for layer in self.layers:
            for name in ("bias_content", "bias_position", "bias_segment"):
                setattr(layer.attn, name, getattr(first, name))

    @override
    def forward(
        self,
        tokens: Tensor,
        segments: Tensor,
        keys: tuple[Tensor, Tensor],
        *,
        targets: Tensor | None = None,
        memory: Tensor | None = None,
        reuse_len: int | None = None,
        bidirectional: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Encodes a batch of segments.

        Args:
            tokens: (batch, length) int64 ids.
            segments: (batch, length) int64 segment ids.
            keys: row and column keys of the factorization order, (batch, length) int64 each.
            targets: (batch, targets) int64 positions the query stream predicts; None = content
                stream only.
            memory: (batch, layers, memory, d_model) inputs of each layer at earlier positions,
                detached; None = no memory is read or made.
            reuse_len: how many of the first positions go into the new memory; None = all.
            bidirectional: the batch's second half holds reversed text, whose distances are
                counted the other way round.

        Returns:
            hidden: (batch, targets, d_model) of the query stream, or (batch, length, d_model) of
                the content stream when there are no targets.
            memory: as the argument and as long, with the newest positions last; None without.

        Dropout of the position table is drawn once for the batch; the released code draws it for
        each example, and projects the table as often.
        """
        length = tokens.shape[1]
        rows = self.embed(tokens)
        if targets is not None:
            rows = torch.cat([rows, self.query_init.expand(*targets.shape, -1)], dim=1)
        rows = self.dropout(rows)
        num_memory = 0 if memory is None else memory.shape[2]
        tables = position_tables(
            num_memory + length, length, rows.shape[2], bidirectional=bidirectional, like=rows
        )
        around = surroundings(
            self.dropout(tables), segments, keys, num_memory=num_memory, targets=targets
        )
        cached = []
        for number, layer in enumerate(self.layers):
            content = context = rows[:, :length]
            if memory is not None:
                past = memory[:, number].to(rows.dtype)
                context = torch.cat([past, content], dim=1)
                cached.append(_roll(past, content[:, :reuse_len].detach()))
            if targets is not None and number == len(self.layers) - 1:
                # Nobody reads what the last layer would make of the content stream.
                rows, around = rows[:, length:], around.of_queries(length)
            rows = layer(rows, context, around)
        return self.dropout(rows), torch.stack(cached, dim=1) if cached else None


def _roll(past: Tensor, new: Tensor) -> Tensor:
    """The last positions of (past, new), as many as `past` has."""
    return torch.cat([past, new], dim=1)[:, new.shape[1] :]


ModelT = TypeVar("ModelT", bound=nn.Module)


def new_model(
    make: Callable[[], ModelT], generator: torch.Generator, config: ModelConfig
) -> ModelT:
    """A model on the CPU with freshly drawn weights, each drawn once.

    Args:
        make: builds it, with a `Backbone` of shape `config` inside.
        generator: what the weights are drawn from.
        config: gives their deviation.
    """
    with torch.device("meta"):
        model = make()
    model = model.to_empty(device="cpu")
    for module in model.modules():
        if isinstance(module, Backbone):
            module.tie()
    initialise(model, generator, std=config.init_std)
    return model


@torch.no_grad()
def initialise(model: nn.Module, generator: torch.Generator, *, std: float) -> None:
    """Draws every parameter of a model with a Backbone inside.

    Weights, attention biases and segment keys from N(0, std^2), 0.02 in the paper; biases 0, norms 1 and 0; the
    query stream's start vector uniform within sqrt(6 / (1 + d_model)), which is what the released
    code comes to, for it names no initialiser there.

    Source: Yang et al. 2019, released code, modeling.py and xlnet.py.
    """
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            parameter.fill_(1.0)
        elif name.endswith(".bias"):
            parameter.zero_()
        elif name.endswith("query_init"):
            bound = math.sqrt(6 / (1 + parameter.numel()))
            parameter.uniform_(-bound, bound, generator=generator)
        else:
            parameter.normal_(std=std, generator=generator)
