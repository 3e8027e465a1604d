"""What predictions are worth: accuracy, calibration, confusion; plain arrays, no model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics.pictures import Heatmap, Lines, Picture, Table

NUM_BINS = 15
"""Of confidence, for calibration; as in Guo et al. 2017, arXiv:1706.04599."""

_MAX_HEATMAP = 100
"""Classes of a confusion matrix that a person can look at."""

Probs = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Reliability:
    """Images by the confidence of their prediction, in equal bins from 0 to 1.

    Attributes:
        confidence, accuracy: (bins,) means; NaN in an empty bin.
        share: (bins,) of all images.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    share: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean gap, weighted by the images."""
        gaps = np.abs(self.confidence - self.accuracy)
        return float(np.nansum(gaps * self.share))


def top_k_accuracy(probs: Probs, labels: Labels, k: int) -> float:
    """Share of images whose class is among the k most probable."""
    k = min(k, probs.shape[1])
    best = np.argpartition(-probs, k - 1, axis=1)[:, :k]
    return float((best == labels[:, None]).any(1).mean())


def reliability(probs: Probs, labels: Labels) -> Reliability:
    """Confidence against accuracy; a bin holds its upper edge, not its lower one."""
    confidence = probs.max(1).astype(np.float64)
    right = probs.argmax(1) == labels
    number = np.clip(np.ceil(confidence * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1)
    count = np.bincount(number, minlength=NUM_BINS)
    divisor = np.where(count == 0, np.nan, count)
    return Reliability(
        np.bincount(number, confidence, NUM_BINS) / divisor,
        np.bincount(number, right, NUM_BINS) / divisor,
        count / len(labels),
    )


def scores(probs: Probs, labels: Labels) -> dict[str, float]:
    """What the stage kinds report, by name; of all images at once."""
    chosen = probs[np.arange(len(labels)), labels].astype(np.float64)
    return {
        "accuracy": float((probs.argmax(1) == labels).mean()),
        "top5_accuracy": top_k_accuracy(probs, labels, 5),
        "loss": float(-np.log(np.maximum(chosen, np.finfo(np.float32).tiny)).mean()),
        "ece": reliability(probs, labels).ece,
    }


def pictures(probs: Probs, labels: Labels, classes: Sequence[str]) -> list[Picture]:
    """For the report: a line a class, what is taken for what, and calibration."""
    counts = confusion(probs.argmax(1), labels, len(classes))
    bins = reliability(probs, labels)
    filled = bins.share > 0
    shown: list[Picture] = [
        per_class(counts, classes),
        Lines(
            f"calibration: ECE {bins.ece:.4f}",
            "confidence",
            "accuracy",
            bins.confidence[filled].tolist(),
            {
                "accuracy": bins.accuracy[filled].tolist(),
                "perfect": bins.confidence[filled].tolist(),
                "share of images": bins.share[filled].tolist(),
            },
        ),
    ]
    if len(classes) <= _MAX_HEATMAP:
        title = "true class (rows) and predicted class"
        shown.append(Heatmap(title, counts.astype(np.float32), classes, classes))
    return shown


def confusion(predicted: Labels, labels: Labels, num_classes: int) -> NDArray[np.int64]:
    """(classes, classes) images of each true class (row) that were taken for each class."""
    pairs = labels * num_classes + predicted
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def per_class(counts: NDArray[np.int64], classes: Sequence[str]) -> Table:
    """Recall and precision of each class, worst recall first, and what it is mostly taken for."""
    right = counts.diagonal()
    recall = right / np.maximum(counts.sum(1), 1)
    precision = right / np.maximum(counts.sum(0), 1)
    wrong = counts - np.diag(right)
    rows = []
    for i in np.argsort(recall, kind="stable").tolist():
        other = int(wrong[i].argmax())
        taken = f"{classes[other]} ({wrong[i, other]})" if wrong[i, other] else ""
        images = int(counts[i].sum())
        rows.append((classes[i], images, float(recall[i]), float(precision[i]), taken))
    columns = ("class", "images", "recall", "precision", "mostly taken for")
    return Table("classes, the hardest first", columns, rows)
