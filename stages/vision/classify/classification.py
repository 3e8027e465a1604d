"""Image classification as a training method: batches, loss, evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import ConfigError, DataError, InputError
from pipeline.shards.subset import choose_per_class
from pipeline.spec.context import World
from pipeline.training.export import MODEL_FILE
from pipeline.training.method import Batch, Loss, MethodState, Picks, StreamSpec
from pipeline.training.optim import ParameterRule, Rule
from pipeline.training.seeding import derive, seed_torch
from stages.vision.augment.mixing import Mix, draw_mix, mix
from stages.vision.backbones.backbone import Backbone
from stages.vision.backbones.factory import build
from stages.vision.backbones.weights import import_weights
from stages.vision.checkpoint import Shape, load_weights, read_shape
from stages.vision.classify.config import ClassifyConfig, ForeignWeights
from stages.vision.classify.prediction import Predictions, open_split, predict
from stages.vision.images.batches import ImageReader, TrainingImages, normalised

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)  # noqa: SLF001 - the only common base


class Classification:
    """Cross-entropy with smoothed labels; whole images in evaluation, random parts in training."""

    def __init__(
        self,
        config: ClassifyConfig,
        inputs: Mapping[str, Path],
        *,
        place: World,
        seed: int,
        threads: int,
    ) -> None:
        """Opens the data and builds the network.

        Args:
            config: the stage's configuration.
            inputs: folders behind the ports shards and, without `config.model`, checkpoint.
            place: this rank; it evaluates its share of the images.
            seed: of new weights, augmentation and the labelled subset.
            threads: that decode.

        Raises:
            DataError: a split is missing, or has no labels.
            InputError: weights are damaged, or of another network.
        """
        train = open_split(inputs["shards"], "train")
        self.held_out = open_split(inputs["shards"], config.evaluate_on)
        self.class_names = train.class_names
        self._config = config
        self._place = place
        self._seed = derive(seed, "images")
        self._labels = train.labels
        self._chosen = _chosen(config, train.names, train.labels, seed)
        self._train_reader = ImageReader(train, config.frame, threads=threads)
        self._held_out_reader = ImageReader(self.held_out, config.frame, threads=threads)
        self._images = TrainingImages(self._train_reader, config.augment, seed=self._seed)
        model = config.model or read_shape(inputs["checkpoint"]).model
        self.shape = Shape(model=model, classes=self.class_names, frame=config.frame)
        # Weights are drawn from torch's global generator.
        seed_torch(seed, "weights")
        self.model: Backbone = build(model, num_classes=len(self.class_names))
        if config.weights is not None:
            _import(self.model, config.weights)
        elif config.model is None:
            load_weights(self.model, inputs["checkpoint"] / MODEL_FILE, classifier=False)
        if config.trained == "classifier":
            self.model.requires_grad_(requires_grad=False)
            self.model.classifier.requires_grad_(requires_grad=True)
        self.streams = {
            "images": StreamSpec(size=len(self._chosen), batch_size=config.train.global_batch_size)
        }
        self.predictions: Predictions | None = None

    def close(self) -> None:
        """Ends the threads that decode."""
        self._train_reader.close()
        self._held_out_reader.close()

    def batch(self, picks: Mapping[str, Picks]) -> Batch:
        """Pixels and labels; with mixing also how. Normalised and mixed on the device."""
        which = picks["images"]
        indexes = self._chosen[which.index]
        pixels = self._images.read(which.epoch, indexes)
        batch = {"images": pixels.images, "labels": torch.from_numpy(self._labels[indexes])}
        if pixels.hidden is not None:
            batch["hidden"] = pixels.hidden
        augment = self._config.augment
        if augment.mixup_alpha or augment.cutmix_alpha:
            how = draw_mix(augment, self._seed, which.epoch, indexes)
            batch |= {"share": how.share, "boxes": how.boxes}
        return batch

    def weight(self, batch: Batch) -> Tensor:
        """Number of images."""
        return torch.tensor(len(batch["labels"]))

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Cross-entropy summed over the images, and how many are right."""
        if self._config.trained == "classifier":
            # The engine puts the whole model into training mode; norms and dropout shall not be.
            self.model.eval()
            self.model.classifier.train()
        labels = batch["labels"]
        images = normalised(batch["images"], self._config.frame.statistics, batch.get("hidden"))
        share = None
        if "share" in batch:
            images, share = mix(images, Mix(batch["share"], batch["boxes"]))
        logits = model(images).float()
        right = (logits.argmax(dim=-1) == labels).sum()
        terms = self._cross_entropy(logits, labels)
        if share is not None:
            terms = share * terms + (1 - share) * self._cross_entropy(logits, labels.flip(0))
        return Loss(terms.sum(), {"accuracy": right})

    def evaluate(self, model: nn.Module) -> Mapping[str, tuple[Tensor, Tensor]]:
        """Accuracy and loss of this rank's share of the held-out images."""
        images = np.arange(self._place.rank, len(self.held_out), self._place.size)
        per_rank = -(-len(self.held_out) // self._place.size)
        size = self._config.evaluation_batch_size
        # A rank without an image of its own still calls the network, as its peers do.
        mine = images if len(images) else np.zeros(1, np.int64)
        found = predict(
            model, self._held_out_reader, mine, num_forwards=-(-per_rank // size), size=size
        )
        self.predictions = Predictions(images, found.probs[: len(images)])
        probs = torch.from_numpy(self.predictions.probs)
        labels = torch.from_numpy(self.held_out.labels[images])
        count = torch.tensor(float(len(images)))
        log_probs = probs.double().clamp(min=torch.finfo(torch.float32).tiny).log()
        return {
            "accuracy": ((probs.argmax(dim=-1) == labels).sum(), count),
            "loss": (functional.nll_loss(log_probs, labels, reduction="sum"), count),
        }

    def state_dict(self) -> Mapping[str, MethodState]:
        """Nothing is carried from step to step."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to restore."""

    def rule(self) -> Rule:
        """Everything decays but the weights of norms, as in the released code of EfficientNet."""
        norms = {
            f"{name}.{parameter}"
            for name, module in self.model.named_modules()
            if isinstance(module, _NORMS)
            for parameter, _ in module.named_parameters(recurse=False)
        }
        return lambda name, _parameter: ParameterRule(weight_decay=name not in norms)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(
            logits, labels, reduction="none", label_smoothing=self._config.label_smoothing
        )


def _chosen(
    config: ClassifyConfig, names: Sequence[str], labels: NDArray[np.int64], seed: int
) -> NDArray[np.int64]:
    if config.subset is None:
        return np.arange(len(labels))
    try:
        return choose_per_class(
            names,
            labels,
            seed=seed,
            fraction=config.subset.fraction,
            per_class=config.subset.per_class,
        )
    except ValueError as exc:
        msg = f"subset: {exc}"
        raise DataError(msg) from exc


def _import(network: Backbone, weights: ForeignWeights) -> None:
    try:
        state = load_file(str(weights.source))
    except (OSError, SafetensorError) as exc:
        msg = f"{weights.source}: not a readable safetensors file: {exc}"
        raise InputError(msg) from exc
    try:
        import_weights(network, state, weights.library, classifier=False)
    except (ConfigError, InputError) as exc:
        msg = f"{weights.source}: {exc}"
        raise type(exc)(msg) from exc
