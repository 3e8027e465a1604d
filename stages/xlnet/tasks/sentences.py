"""The stage kind `xlnet.sentences`: a class or a number for a text or a pair of texts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.spec.context import StageContext
from pipeline.training.method import Batch, Loss
from pipeline.training.seeding import derive, generator, torch_generator
from stages.xlnet.documents import Ids
from stages.xlnet.heads import Classifier
from stages.xlnet.model import new_model
from stages.xlnet.tasks.config import SentencesConfig
from stages.xlnet.tasks.finetuning import (
    Conclusion,
    Found,
    finetune,
    jsonl,
    keys_of,
    shape_of,
    start_from,
)
from stages.xlnet.tasks.inputs import Encoder, pack, pair_windows
from stages.xlnet.tasks.metrics import METRICS
from stages.xlnet.tasks.sentence_files import LAYOUTS, Example, read_examples

Windows = Sequence[tuple[Ids, Ids | None]]


class Sentences:
    """Cross-entropy of the class, or squared error of the number, read off CLS.

    A long text is trained on one window at a time, drawn anew each epoch; in evaluation the
    outputs of its windows are averaged.
    """

    def __init__(self, config: SentencesConfig, inputs: Mapping[str, Path], *, seed: int) -> None:
        """Reads the files and builds the model.

        Args:
            config: the stage's configuration.
            inputs: folders behind the ports.
            seed: of new weights and of the windows.
        """
        self._layout = LAYOUTS[config.task]
        train_source, scored_source = config.sources(inputs)
        encoder = Encoder(inputs["tokenizer"])
        self._vocabulary = encoder.vocabulary
        self._room = config.max_len - 3
        self._seed = derive(seed, "windows")
        train = read_examples(train_source, self._layout)
        scored = read_examples(scored_source, self._layout)
        self._num_scored = len(scored)
        unlabelled: list[Example] = []
        if config.predict_source is not None:
            unlabelled = read_examples(config.predict_source, self._layout, labelled=False)
        self._train = self._windows(encoder, train)
        self._labels = np.array([example.label for example in train], np.float64)
        self._held_out_labels = [example.label for example in scored]
        self._held_out = self._windows(encoder, [*scored, *unlabelled])
        self.num_training = len(self._train)
        self.num_inputs = [len(windows) for windows in self._held_out]
        classes = tuple(self._layout.classes)
        self.shape = shape_of(config.model, inputs, self._vocabulary, classes or None)
        self.model: Classifier = new_model(
            lambda: Classifier(
                self.shape.model,
                self.shape.vocab_size,
                config.dropout,
                num_classes=len(classes) or 1,
            ),
            torch_generator(seed, "weights"),
            self.shape.model,
        )
        start_from(self.model, self.shape, inputs)

    def training_batch(self, epochs: Ids, examples: Ids) -> dict[str, Tensor]:
        """One window of each."""
        chosen = []
        for epoch, example in zip(epochs.tolist(), examples.tolist(), strict=True):
            windows = self._train[example]
            number = 0
            if len(windows) > 1:
                number = int(generator(self._seed, epoch, example).integers(len(windows)))
            chosen.append(windows[number])
        labels = torch.from_numpy(self._labels[examples])
        return pack(chosen, self._vocabulary) | {"labels": labels.float()}

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Summed over examples, with how many are right where there are classes."""
        logits = model(batch["tokens"], batch["segments"], keys_of(batch)).float()
        if not self._layout.classes:
            return Loss((logits[:, 0] - batch["labels"]).square().sum(), {})
        labels = batch["labels"].long()
        right = (logits.argmax(dim=-1) == labels).sum()
        total = functional.cross_entropy(logits, labels, reduction="sum")
        return Loss(total, {"accuracy": right})

    def held_out_batch(self, inputs: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """Windows as they are asked for."""
        windows = [self._held_out[example][number] for example, number in inputs]
        return pack(windows, self._vocabulary)

    def read(self, model: nn.Module, batch: Batch) -> list[Any]:
        """The logits, or the number."""
        logits = model(batch["tokens"], batch["segments"], keys_of(batch))
        return list(logits.float().cpu().tolist())

    def sums(self, found: Found) -> Mapping[str, tuple[float, float]]:
        """Accuracy, or the squared error."""
        mine = [example for example in found if example < self._num_scored]
        predicted = [self._prediction(found[example]) for example in mine]
        pairs = [(p, self._held_out_labels[e] or 0.0) for p, e in zip(predicted, mine, strict=True)]
        if self._layout.classes:
            return {"accuracy": (float(sum(p == y for p, y in pairs)), float(len(pairs)))}
        return {"squared_error": (sum((p - y) ** 2 for p, y in pairs), float(len(pairs)))}

    def conclude(self, found: Found) -> Conclusion:
        """The task's metrics; predictions.jsonl and the submission."""
        predicted = [self._prediction(found[example]) for example in range(len(found))]
        labels = [float(label or 0.0) for label in self._held_out_labels]
        scored = predicted[: self._num_scored]
        scores = {name: METRICS[name](scored, labels) for name in self._layout.metrics}
        lines = [
            {"example": i, "label": self._name(y), "predicted": self._name(p)}
            for i, (p, y) in enumerate(zip(scored, labels, strict=True))
        ]
        submitted = predicted[self._num_scored :] or scored
        rows = "".join(f"{i}\t{self._name(p)}\n" for i, p in enumerate(submitted))
        files = {
            "predictions.jsonl": jsonl(lines),
            self._layout.submission: f"index\tprediction\n{rows}",
        }
        return Conclusion(scores, files)

    def _windows(self, encoder: Encoder, examples: Sequence[Example]) -> list[Windows]:
        """Of each example; the columns after the first are B for GLUE, and more text for CSV."""
        parts = [
            encoder.encode([example.texts[column] for example in examples])
            for column in range(len(self._layout.texts))
        ]
        if len(parts) == 1 or not self._layout.tabs:
            joined = [np.concatenate(texts) for texts in zip(*parts, strict=True)]
            return [pair_windows(text, None, self._room) for text in joined]
        return [pair_windows(a, b, self._room) for a, b in zip(*parts, strict=True)]

    def _prediction(self, outputs: Sequence[Sequence[float]]) -> float:
        mean = np.mean(outputs, axis=0)
        return float(mean.argmax()) if self._layout.classes else float(mean[0])

    def _name(self, value: float) -> str:
        return self._layout.classes[int(value)] if self._layout.classes else f"{value:.3f}"


def run(ctx: StageContext[SentencesConfig]) -> None:
    """Finetunes, then writes checkpoint, scores, predictions.jsonl and the submission.

    Raises:
        DataError: a file is missing or malformed; names file and line.
        InputError: the checkpoint is damaged.
        ConfigError: the checkpoint belongs to another tokenizer.
        Preempted, Diverged: as `pipeline.training.loop.train`.
    """
    inputs = {port: ctx.input(port) for port in ctx.inputs}
    finetune(ctx, Sentences(ctx.config, inputs, seed=ctx.seed))
