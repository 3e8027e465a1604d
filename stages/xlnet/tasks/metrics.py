"""Measures of the tasks: torchmetrics' where it has them, on plain lists."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torchmetrics.functional import (
    f1_score,
    matthews_corrcoef,
    pearson_corrcoef,
    spearman_corrcoef,
)
from torchmetrics.functional.retrieval import retrieval_normalized_dcg

Numbers = Sequence[float]


def accuracy(predicted: Numbers, labels: Numbers) -> float:
    """Share that is right."""
    return sum(p == y for p, y in zip(predicted, labels, strict=True)) / len(labels)


def mcc(predicted: Numbers, labels: Numbers) -> float:
    """Matthews' correlation of two classes; 0 where one side names one class only."""
    if _is_constant(predicted) or _is_constant(labels):
        return 0.0  # torchmetrics 1.9 says 0.41 of [1, 1, 1] for [1, 0, 1]
    return float(matthews_corrcoef(_classes(predicted), _classes(labels), task="binary"))


def f1(predicted: Numbers, labels: Numbers) -> float:
    """F1 of class 1."""
    return float(f1_score(_classes(predicted), _classes(labels), task="binary"))


def pearson(predicted: Numbers, labels: Numbers) -> float:
    """Pearson's correlation; 0 where either side is constant."""
    if _is_constant(predicted) or _is_constant(labels):
        return 0.0
    return float(pearson_corrcoef(_floats(predicted), _floats(labels)))


def spearman(predicted: Numbers, labels: Numbers) -> float:
    """Spearman's rank correlation; 0 where either side is constant."""
    if _is_constant(predicted) or _is_constant(labels):
        return 0.0
    return float(spearman_corrcoef(_floats(predicted), _floats(labels)))


METRICS: Mapping[str, Callable[[Numbers, Numbers], float]] = {
    "accuracy": accuracy,
    "mcc": mcc,
    "f1": f1,
    "pearson": pearson,
    "spearman": spearman,
}


def ndcg(scores: Numbers, grades: Numbers, depth: int = 20) -> float:
    """Of one query, gains 2^grade - 1; grades below 0 (spam) count as 0, none relevant as 0.

    Source: the TREC Web Track's gdeval, which the ClueWeb results are measured with.
    """
    gains = torch.tensor([2.0 ** max(0.0, grade) - 1 for grade in grades], dtype=torch.float64)
    if not gains.any():
        return 0.0
    return float(retrieval_normalized_dcg(_floats(scores), gains, top_k=depth))


def err(scores: Numbers, grades: Numbers, depth: int = 20, max_grade: int = 4) -> float:
    """Expected reciprocal rank of one query: where a reader who is content stops.

    ERR = sum over ranks r of 1 / r * p_r * prod over earlier of (1 - p),
    p = (2^grade - 1) / 2^max_grade.

    Source: Chapelle et al. 2009; gdeval of the TREC Web Track.
    """
    order = sorted(range(len(scores)), key=lambda place: -scores[place])[:depth]
    total, goes_on = 0.0, 1.0
    for rank, place in enumerate(order, 1):
        stops = (2.0 ** max(0.0, grades[place]) - 1) / 2.0**max_grade
        total += goes_on * stops / rank
        goes_on *= 1 - stops
    return total


def _classes(values: Numbers) -> torch.Tensor:
    return torch.tensor([int(value) for value in values])


def _floats(values: Numbers) -> torch.Tensor:
    return torch.tensor(list(values), dtype=torch.float64)


def _is_constant(values: Numbers) -> bool:
    return len(values) < 2 or math.isclose(min(values), max(values), rel_tol=0, abs_tol=1e-12)
