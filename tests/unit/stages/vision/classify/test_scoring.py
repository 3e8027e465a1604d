"""Scores against scikit-learn, torchmetrics and counting by hand."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import (
    confusion_matrix,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)
from torchmetrics.functional.classification import multiclass_calibration_error

from pipeline.metrics.pictures import Heatmap, Lines, Table
from stages.vision.classify import scoring


def _case(seed: int, count: int = 400, classes: int = 7) -> tuple[scoring.Probs, scoring.Labels]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, classes)) * 2
    labels = rng.integers(0, classes, count)
    logits[np.arange(count), labels] += 1
    exp = np.exp(logits)
    return (exp / exp.sum(1, keepdims=True)).astype(np.float32), labels


def test_scores_are_those_of_the_libraries() -> None:
    probs, labels = _case(1)
    found = scoring.scores(probs, labels)
    tensors = torch.from_numpy(probs), torch.from_numpy(labels)
    ece = multiclass_calibration_error(*tensors, num_classes=7, n_bins=15)
    assert found["ece"] == pytest.approx(float(ece), abs=1e-6)
    assert found["accuracy"] == pytest.approx(top_k_accuracy_score(labels, probs, k=1))
    assert found["top5_accuracy"] == pytest.approx(top_k_accuracy_score(labels, probs, k=5))
    loss = torch.nn.functional.nll_loss(tensors[0].log(), tensors[1])
    assert found["loss"] == pytest.approx(float(loss), rel=1e-5)


def test_fewer_than_five_classes_are_all_among_the_first_five() -> None:
    probs, labels = _case(2, classes=3)
    assert scoring.scores(probs, labels)["top5_accuracy"] == 1.0


def test_certain_and_right_is_calibrated_and_certain_and_wrong_is_not() -> None:
    probs = np.eye(3, dtype=np.float32)
    right: NDArray[np.int64] = np.arange(3)
    assert scoring.reliability(probs, right).ece == 0
    assert scoring.reliability(probs, (right + 1) % 3).ece == pytest.approx(1)


def test_pictures_show_confusion_and_the_hardest_class_first() -> None:
    probs, labels = _case(3)
    names = [f"c{i}" for i in range(7)]
    table, lines, heat = scoring.pictures(probs, labels, names)
    predicted = probs.argmax(1)
    assert isinstance(heat, Heatmap)
    np.testing.assert_array_equal(heat.values, confusion_matrix(labels, predicted))
    precision, recall, _, _ = precision_recall_fscore_support(labels, predicted)
    assert isinstance(table, Table)
    for name, images, r, p, _ in table.rows:
        i = names.index(str(name))
        assert r == pytest.approx(recall[i])
        assert p == pytest.approx(precision[i])
        assert images == (labels == i).sum()
    assert [row[2] for row in table.rows] == sorted(recall)
    assert isinstance(lines, Lines)
    assert sum(lines.ys["share of images"]) == pytest.approx(1)


def test_confusion_of_a_thousand_classes_is_left_out_of_the_pictures() -> None:
    probs = np.full((4, 1000), 1e-3, np.float32)
    shown = scoring.pictures(probs, np.arange(4), [str(i) for i in range(1000)])
    assert [type(picture) for picture in shown] == [Table, Lines]
