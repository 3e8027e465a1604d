"""The last layer: dropout and a linear map, of experts where asked for."""

from torch import Tensor, nn
from typing_extensions import override

from stages.vision.layers.condconv import CondLinear, Router


class Classifier(nn.Module):
    """Logits of an embedding: U(-1/sqrt(classes), 1/sqrt(classes)) weights, zero bias.

    With experts it has a router of its own, which reads the embedding.

    Args:
        features: length of an embedding.
        classes: number of logits.
        dropout: probability, of the embedding.
        experts: 0 for a plain layer.
        expert_dropout: probability that an expert is left out.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        dropout: float,
        experts: int = 0,
        expert_dropout: float = 0.0,
    ):
        super().__init__()
        self.features, self.classes = features, classes
        self.experts, self.expert_dropout = experts, expert_dropout
        self.dropout = nn.Dropout(dropout)
        self.router = Router(features, experts, dropout=expert_dropout) if experts else None
        self.linear: nn.Linear | CondLinear
        if experts:
            self.linear = CondLinear(features, classes, experts)
        else:
            self.linear = nn.Linear(features, classes)
            nn.init.uniform_(self.linear.weight, -(classes**-0.5), classes**-0.5)
            nn.init.zeros_(self.linear.bias)

    def fresh(self, classes: int) -> "Classifier":
        """One like this for another number of classes."""
        return Classifier(
            self.features,
            classes,
            dropout=self.dropout.p,
            experts=self.experts,
            expert_dropout=self.expert_dropout,
        )

    @override
    def forward(self, embedding: Tensor) -> Tensor:
        """(batch, features) -> (batch, classes)."""
        dropped = self.dropout(embedding)
        if self.router is None:
            logits: Tensor = self.linear(dropped)
        else:
            logits = self.linear(dropped, self.router(embedding))
        return logits
