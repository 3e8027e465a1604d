"""Document classification as a training method: batches, loss, evaluation over windows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import DataError
from pipeline.shards import TokenShards
from pipeline.shards.tokenizer import require_same_tokenizer
from pipeline.spec.context import World
from pipeline.training.method import Batch, Loss, MethodState, Picks, StreamSpec, to_device
from pipeline.training.seeding import derive, generator, torch_generator
from stages.xlnet.checkpoint import Shape, load_backbone, read_shape
from stages.xlnet.config import ClassifyConfig
from stages.xlnet.documents import Documents, Ids
from stages.xlnet.heads import Classifier
from stages.xlnet.model import new_model
from stages.xlnet.vocabulary import read_vocabulary


@dataclass(frozen=True)
class Predictions:
    """What the newest evaluation found on this rank.

    Attributes:
        documents: (documents,) int64 which ones, rising.
        probs: (documents, classes) float32.
    """

    documents: Ids
    probs: Tensor


class Classification:
    """Cross-entropy of the class of a document, read off CLS.

    In training a document longer than an input is seen through one window at a time, drawn anew
    each epoch; in evaluation the logits of all its windows are averaged.
    """

    def __init__(
        self,
        config: ClassifyConfig,
        inputs: Mapping[str, Path],
        *,
        place: World,
        seed: int,
    ) -> None:
        """Opens the data and builds the model.

        Args:
            config: the stage's configuration.
            inputs: folders behind the ports shards, tokenizer and, without `config.model`,
                checkpoint.
            place: this rank; it evaluates its share of the documents.
            seed: of new weights and of the windows.
        """
        vocabulary = read_vocabulary(inputs["tokenizer"])
        train = TokenShards(inputs["shards"], "train")
        if config.evaluate_on not in train.splits:
            msg = (
                f"{train.folder}: no split {config.evaluate_on!r} to evaluate on; it has "
                f"{', '.join(train.splits)}. Set evaluate_on, or make the split in data_prep.text"
            )
            raise DataError(msg)
        self.class_names = train.class_names
        self.train_documents = Documents(train, vocabulary, config)
        held_out = TokenShards(inputs["shards"], config.evaluate_on)
        self.held_out_documents = Documents(held_out, vocabulary, config)
        self._config = config
        self._place = place
        self._seed = derive(seed, "windows")
        self.shape = Shape(
            model=config.model or read_shape(inputs["checkpoint"]).model,
            vocab_size=vocabulary.size,
            tokenizer=vocabulary.tokenizer,
            classes=self.class_names,
        )
        self.model = self._new_model(seed)
        if config.model is None:
            self._start_from(inputs["checkpoint"])
        self.streams = {
            "documents": StreamSpec(
                size=len(self.train_documents), batch_size=config.train.global_batch_size
            )
        }
        self.predictions: Predictions | None = None

    def batch(self, picks: Mapping[str, Picks]) -> Batch:
        """One window of each document."""
        which = picks["documents"]
        windows = [
            self._training_window(int(epoch), int(document))
            for epoch, document in zip(which.epoch, which.index, strict=True)
        ]
        labels = torch.from_numpy(self.train_documents.labels[which.index])
        return self.train_documents.inputs(windows) | {"labels": labels}

    def weight(self, batch: Batch) -> Tensor:
        """Number of documents."""
        return torch.tensor(len(batch["labels"]))

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Cross-entropy summed over documents, and how many are right."""
        logits = _forward(model, batch)
        total = functional.cross_entropy(logits, batch["labels"], reduction="sum")
        right = (logits.argmax(dim=-1) == batch["labels"]).sum()
        return Loss(total, {"accuracy": right})

    def evaluate(self, model: nn.Module) -> Mapping[str, tuple[Tensor, Tensor]]:
        """Accuracy and loss of this rank's share of the held-out documents."""
        documents = self._share_of(self._place.rank)
        logits = self._mean_logits(model, documents)
        labels = torch.from_numpy(self.held_out_documents.labels[documents])
        count = torch.tensor(len(documents), dtype=torch.float64)
        self.predictions = Predictions(documents, logits.softmax(dim=-1))
        return {
            "accuracy": ((logits.argmax(dim=-1) == labels).sum(), count),
            "loss": (functional.cross_entropy(logits.double(), labels, reduction="sum"), count),
        }

    def state_dict(self) -> Mapping[str, MethodState]:
        """Nothing is carried from step to step."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to restore."""

    def majority_accuracy(self) -> float:
        """Of naming, for every held-out document, the class most frequent in training."""
        majority = np.bincount(self.train_documents.labels).argmax()
        return float(np.mean(self.held_out_documents.labels == majority))

    def _new_model(self, seed: int) -> Classifier:
        return new_model(
            lambda: Classifier(
                self.shape.model,
                self.shape.vocab_size,
                self._config.dropout,
                num_classes=len(self.class_names),
            ),
            torch_generator(seed, "weights"),
            self.shape.model,
        )

    def _start_from(self, checkpoint: Path) -> None:
        trained_on = read_shape(checkpoint).tokenizer
        require_same_tokenizer(checkpoint, trained_on, self.shape.tokenizer)
        load_backbone(self.model.backbone, checkpoint)

    def _training_window(self, epoch: int, document: int) -> Ids:
        count = int(self.train_documents.num_windows[document])
        number = 0
        if count > 1:
            number = int(generator(self._seed, epoch, document).integers(count))
        return self.train_documents.window(document, number)

    def _share_of(self, rank: int) -> Ids:
        """A rank's held-out documents: every size-th by length, so that all have equal work."""
        by_length = np.argsort(self.held_out_documents.num_windows, kind="stable")
        return np.sort(by_length[rank :: self._place.size])

    def _mean_logits(self, model: nn.Module, documents: Ids) -> Tensor:
        """(documents, classes) float32 on the host: the mean over each document's windows."""
        held_out = self.held_out_documents
        counts = held_out.num_windows[documents]
        owner = np.repeat(np.arange(len(documents)), counts)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        # Inputs of about equal length together: little padding.
        order = np.argsort(held_out.window_lengths[documents][owner], kind="stable")
        sums = torch.zeros(len(documents), len(self.class_names))
        size = self._config.evaluation_batch_size
        device = self.model.classifier.weight.device
        for begin in range(0, self._num_forwards() * size, size):
            # A rank that is done goes on with any input: all ranks must call equally often.
            mine = order[begin : begin + size]
            windows = [
                held_out.window(int(documents[owner[place]]), int(number[place])) for place in mine
            ] or [held_out.window(0, 0)]
            logits = _forward(model, to_device(held_out.inputs(windows), device)).cpu()
            sums.index_add_(0, torch.from_numpy(owner[mine]), logits[: len(mine)])
        return sums / torch.from_numpy(counts)[:, None]

    def _num_forwards(self) -> int:
        """Forward passes of an evaluation, the same on all ranks."""
        windows = [
            int(self.held_out_documents.num_windows[self._share_of(rank)].sum())
            for rank in range(self._place.size)
        ]
        return -(-max(windows) // self._config.evaluation_batch_size)


def _forward(model: nn.Module, batch: Batch) -> Tensor:
    """(examples, classes) float32 logits."""
    keys = (batch["row_keys"], batch["column_keys"])
    logits: Tensor = model(batch["tokens"], batch["segments"], keys)
    return logits.float()
