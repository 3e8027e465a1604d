"""Whole models: the backbone with the head of a task."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from stages.xlnet.config import DropoutConfig, ModelConfig
from stages.xlnet.model import Backbone


class LanguageModel(nn.Module):
    """Predicts the tokens at the target positions; the embedding is the output matrix too."""

    def __init__(self, config: ModelConfig, vocab_size: int, dropout: DropoutConfig) -> None:
        super().__init__()
        self.backbone = Backbone(config, vocab_size, dropout)
        self.lm_head = OutputBias(vocab_size)

    @override
    def forward(
        self,
        tokens: Tensor,
        segments: Tensor,
        keys: tuple[Tensor, Tensor],
        targets: Tensor,
        *,
        memory: Tensor | None = None,
        reuse_len: int | None = None,
        bidirectional: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Arguments as `Backbone.forward`.

        Returns:
            logits: (batch, targets, vocab_size).
            memory: for the next segment of the same rows; None without memory.
        """
        hidden, memory = self.backbone(
            tokens,
            segments,
            keys,
            targets=targets,
            memory=memory,
            reuse_len=reuse_len,
            bidirectional=bidirectional,
        )
        return self.lm_head(functional.linear(hidden, self.backbone.embed.weight)), memory


class OutputBias(nn.Module):
    """The one free parameter of the language model's head."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(vocab_size))

    @override
    def forward(self, logits: Tensor) -> Tensor:
        """(..., vocab_size) -> the same shape."""
        return logits + self.bias


class Classifier(nn.Module):
    """Reads the class off the last position, CLS; inputs are padded on the left.

    The query stream's start vector stays in the model, frozen, so that weights can go on to
    further pretraining.
    """

    def __init__(
        self, config: ModelConfig, vocab_size: int, dropout: DropoutConfig, *, num_classes: int
    ) -> None:
        super().__init__()
        self.backbone = Backbone(config, vocab_size, dropout)
        self.backbone.query_init.requires_grad_(False)  # noqa: FBT003 - torch's own signature
        self.summary = nn.Linear(config.d_model, config.d_model)
        self.dropout = nn.Dropout(dropout.hidden)
        self.classifier = nn.Linear(config.d_model, num_classes)

    @override
    def forward(self, tokens: Tensor, segments: Tensor, keys: tuple[Tensor, Tensor]) -> Tensor:
        """Arguments as `Backbone.forward`.

        Returns:
            (batch, classes) logits.
        """
        hidden, _ = self.backbone(tokens, segments, keys)
        logits: Tensor = self.classifier(self.dropout(torch.tanh(self.summary(hidden[:, -1]))))
        return logits
