"""The head that points at an answer: where it starts, where it ends, whether there is one."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from stages.xlnet.config import DropoutConfig, ModelConfig
from stages.xlnet.model import Backbone

_NEVER = -1e30
"""Score of a position that cannot be an answer's; its probability is 0."""


class SpanReader(nn.Module):
    """Start, end given the start, and whether the question has no answer here.

    The end of an answer is looked for by beam: each of the most probable starts has ends of its
    own. Whether there is no answer is read off the mean state of the start and off CLS, the last
    position.

    Source: Yang et al. 2019, released code, function_builder.py `get_qa_outputs`.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, dropout: DropoutConfig) -> None:
        super().__init__()
        width = config.d_model
        self.backbone = Backbone(config, vocab_size, dropout)
        self.backbone.query_init.requires_grad_(False)  # noqa: FBT003 - torch's own signature
        self.start = nn.Linear(width, 1)
        self.end_joint = nn.Linear(2 * width, width)
        self.end_norm = nn.LayerNorm(width, eps=1e-12)
        self.end = nn.Linear(width, 1)
        self.answer_joint = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout.hidden)
        self.answer = nn.Linear(width, 1, bias=False)

    @override
    def forward(
        self,
        tokens: Tensor,
        segments: Tensor,
        keys: tuple[Tensor, Tensor],
        barred: Tensor,
        *,
        starts: Tensor | None = None,
        num_beams: int = 5,
    ) -> tuple[Tensor, ...]:
        """Logits for training, or beams.

        Args:
            tokens: (batch, length) int64 ids; the last position is CLS.
            segments: (batch, length) int64.
            keys: row and column keys, as `Backbone.forward`.
            barred: (batch, length) bool, where no answer starts or ends.
            starts: (batch,) int64 where the answers start; None to look for them.
            num_beams: starts that are kept, and ends for each of them.

        Returns:
            With starts: start logits (batch, length), end logits (batch, length), logit of no
                answer (batch,).
            Without: starts (batch, beams) and their log probabilities (batch, beams); for each of
                them ends (batch, beams, beams), start before end in the indices, and their log
                probabilities given the start; logit of no answer (batch,).
        """
        hidden, _ = self.backbone(tokens, segments, keys)
        start_logits = _without(self.start(hidden).squeeze(-1), barred)
        probs = start_logits.softmax(dim=-1)
        no_answer = self._no_answer(hidden, probs)
        if starts is not None:
            end_logits = self._end_logits(hidden, barred, starts[:, None])[:, 0]
            return start_logits, end_logits, no_answer
        beams = min(num_beams, tokens.shape[1])
        start_scores, start_places = start_logits.log_softmax(dim=-1).topk(beams, dim=-1)
        ends = self._end_logits(hidden, barred, start_places)  # (batch, beams, length)
        end_scores, end_places = ends.log_softmax(dim=-1).topk(beams, dim=-1)
        return start_places, start_scores, end_places, end_scores, no_answer

    def _end_logits(self, hidden: Tensor, barred: Tensor, starts: Tensor) -> Tensor:
        """(batch, starts, length) for (batch, starts) places."""
        batch, length, width = hidden.shape
        at = hidden.gather(1, starts[:, :, None].expand(-1, -1, width))
        pairs = torch.cat(
            [
                hidden[:, None].expand(batch, starts.shape[1], length, width),
                at[:, :, None].expand(batch, starts.shape[1], length, width),
            ],
            dim=-1,
        )
        joint = self.end_norm(torch.tanh(self.end_joint(pairs)))
        return _without(self.end(joint).squeeze(-1), barred[:, None])

    def _no_answer(self, hidden: Tensor, probs: Tensor) -> Tensor:
        """(batch,) logit, from the mean of the states under the start's distribution."""
        start = torch.einsum("bl,bld->bd", probs.to(hidden.dtype), hidden)
        joint = torch.tanh(self.answer_joint(torch.cat([start, hidden[:, -1]], dim=-1)))
        logit: Tensor = self.answer(self.dropout(joint)).squeeze(-1)
        return logit


def _without(logits: Tensor, barred: Tensor) -> Tensor:
    """In float32 at least: half precision does not hold the number that bars."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return wide.masked_fill(barred, _NEVER)
