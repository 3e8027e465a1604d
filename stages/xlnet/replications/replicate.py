"""The stage kind `xlnet.replicate`: a claim of the paper on a language whose best loss is known."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from pipeline.metrics.pictures import Lines
from pipeline.spec.context import StageContext
from pipeline.spec.scores import write_scores
from pipeline.training.loop import train
from pipeline.training.method import Batch, Loss, MethodState, Picks, StreamSpec
from pipeline.training.seeding import generator, torch_generator
from stages.xlnet.config import DropoutConfig
from stages.xlnet.heads import LanguageModel
from stages.xlnet.model import new_model
from stages.xlnet.replications.config import ReplicationConfig
from stages.xlnet.replications.languages import Language
from stages.xlnet.rules import parameter_rule

_STREAM_SIZE = 1 << 20
_CHUNK = 256
_NO_DROPOUT = DropoutConfig(hidden=0.0, attention=0.0, activation=0.0)


class Arm(nn.Module):
    """The model of a claim, or of its control."""

    def __init__(self, config: ReplicationConfig, language: Language) -> None:
        super().__init__()
        self._config = config
        self.lm = LanguageModel(config.model, language.vocab_size, _NO_DROPOUT)
        if self._is_unaware:
            self.lm.backbone.query_init.requires_grad_(False)  # noqa: FBT003 - torch's signature

    @property
    def _is_unaware(self) -> bool:
        return self._config.claim == "position" and self._config.control

    @override
    def forward(self, batch: Batch) -> Tensor:
        """(examples, targets, vocab_size) logits at the targets of the last segment."""
        keys = (batch["row_keys"], batch["column_keys"])
        tokens, targets = batch["tokens"], batch["targets"]
        segments = torch.zeros_like(tokens[:, 0])
        if self._is_unaware:
            return self._from_the_last_visible(batch, segments)
        memory = None
        if self._config.claim == "memory" and not self._config.control:
            shape = self._config.model
            memory = torch.zeros(
                len(tokens), shape.num_layers, tokens.shape[2], shape.d_model, device=tokens.device
            )
            all_seen = (torch.zeros_like(segments), torch.full_like(segments, -1))
            for number in range(tokens.shape[1] - 1):
                _, memory = self.lm.backbone(tokens[:, number], segments, all_seen, memory=memory)
        logits: Tensor
        logits, _ = self.lm(tokens[:, -1], segments, keys, targets, memory=memory)
        return logits

    def _from_the_last_visible(self, batch: Batch, segments: Tensor) -> Tensor:
        """The head that appendix A.1 rules out: it does not know which place it predicts.

        All targets see the same context here, so they are given the same state: that of the last
        context token.
        """
        keys = (batch["row_keys"], batch["column_keys"])
        hidden, _ = self.lm.backbone(batch["tokens"][:, -1], segments, keys)
        state = hidden[:, -1:].expand(-1, batch["targets"].shape[1], -1)
        logits: Tensor = self.lm.lm_head(functional.linear(state, self.lm.backbone.embed.weight))
        return logits


class Replication:
    """The arm as a training method; every example is generated when it is asked for."""

    def __init__(self, config: ReplicationConfig, *, seed: int) -> None:
        """Args: config: claim and arm; seed: of weights and examples."""
        self.language = Language(config)
        self._config = config
        self._seed = seed
        self.model: Arm = new_model(
            lambda: Arm(config, self.language), torch_generator(seed, "weights"), config.model
        )
        self.streams = {
            "examples": StreamSpec(size=_STREAM_SIZE, batch_size=config.train.global_batch_size)
        }
        self.history: list[float] = []

    def batch(self, picks: Mapping[str, Picks]) -> Batch:
        """Generated from the picked numbers."""
        which = picks["examples"]
        rng = generator(self._seed, "batch", int(which.epoch[0]), int(which.index[0]))
        return self.language.batch(rng, len(which.index))

    def weight(self, batch: Batch) -> Tensor:
        """Number of targets."""
        return torch.tensor(batch["labels"].numel())

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Cross-entropy summed over targets."""
        return Loss(_cross_entropy(model(batch), batch["labels"]), {})

    def evaluate(self, model: nn.Module) -> Mapping[str, tuple[Tensor, Tensor]]:
        """The loss on examples that were not trained on; the same on every rank."""
        rng = np.random.default_rng([self._seed % (1 << 32), 1])
        device = self.model.lm.backbone.query_init.device
        total, count = torch.zeros((), dtype=torch.float64), 0
        for _ in range(-(-self._config.held_out // _CHUNK)):
            batch = {k: v.to(device) for k, v in self.language.batch(rng, _CHUNK).items()}
            total += _cross_entropy(model(batch), batch["labels"]).double().cpu()
            count += batch["labels"].numel()
        self.history.append(float(total) / count)
        return {"loss": (total, torch.tensor(count))}

    def state_dict(self) -> Mapping[str, MethodState]:
        """Nothing is carried from step to step."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to restore."""


def run(ctx: StageContext[ReplicationConfig]) -> None:
    """Trains the arm, then writes how far its loss is from what is possible.

    Raises:
        Preempted, Diverged: as `pipeline.training.loop.train`.
    """
    config = ctx.config
    method = Replication(config, seed=ctx.seed)
    result = train(method, config.train, ctx, rule=parameter_rule)
    if ctx.world.rank:
        return
    bounds = method.language.bounds
    loss = result.scores["loss"]
    best = bounds.control if config.must_fail else bounds.claim
    scores = {"loss": loss, "excess": loss - best, "excess_over_claim": loss - bounds.claim}
    write_scores(ctx.outputs["scores"], scores)
    steps = list(range(1, len(method.history) + 1))
    curve: dict[str, Sequence[float]] = {
        "loss": method.history,
        "least, claim": [bounds.claim] * len(steps),
        "least, control": [bounds.control] * len(steps),
    }
    arm = "control" if config.must_fail else "model"
    title = f"{config.claim}: the {arm}'s loss and what is possible"
    ctx.recorder.show(Lines(title, "evaluation", "nats a target", steps, curve), result.step)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="sum")
