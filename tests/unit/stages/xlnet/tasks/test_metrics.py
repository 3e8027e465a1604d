"""Measures against libraries, formulas and brute force."""

import math

import pytest
import torch
from sklearn.metrics import f1_score, matthews_corrcoef, ndcg_score
from torchmetrics.text import SQuAD

from stages.xlnet.tasks.metrics import err, f1, mcc, ndcg, pearson, spearman
from stages.xlnet.tasks.squad import (
    Question,
    best_threshold,
    exact,
    normalise_answer,
    overlap,
)

PREDICTED = [1, 0, 1, 1, 0, 0, 1]
LABELS = [1, 0, 0, 1, 1, 0, 1]


def test_classification_measures_are_those_of_scikit_learn() -> None:
    assert mcc(PREDICTED, LABELS) == pytest.approx(matthews_corrcoef(LABELS, PREDICTED))
    assert f1(PREDICTED, LABELS) == pytest.approx(f1_score(LABELS, PREDICTED))
    assert mcc([1, 1, 1], [1, 0, 1]) == 0.0


def test_correlations_of_a_monotone_curve() -> None:
    curve = [math.exp(x) for x in range(6)]
    assert spearman(curve, [0, 1, 2, 3, 4, 5]) == pytest.approx(1.0)
    assert pearson(curve, [0, 1, 2, 3, 4, 5]) < 0.9
    assert pearson([1.0, 1.0], [0.0, 1.0]) == 0.0


def test_ndcg_is_that_of_scikit_learn_with_exponential_gains() -> None:
    scores, grades = [0.3, 0.9, -0.2, 0.5], [2.0, 0.0, 1.0, 4.0]
    gains = [[2**grade - 1 for grade in grades]]
    assert ndcg(scores, grades) == pytest.approx(ndcg_score(gains, [scores]))
    assert ndcg(scores, [0, 0, 0, 0]) == 0.0
    assert ndcg(scores, [2, -2, 1, 4]) == ndcg(scores, grades)  # spam is as not relevant


def test_err_of_a_worked_case() -> None:
    """Grades 4, 0, 2 in this order: 15/16 at once, then 3/16 of what is left at rank 3."""
    expected = 15 / 16 + (1 / 16) * (3 / 16) / 3
    assert err([0.9, 0.5, 0.1], [4, 0, 2]) == pytest.approx(expected)
    assert err([0.1, 0.5, 0.9], [4, 0, 2]) < expected
    assert err([0.9, 0.5], [0, 4], depth=1) == 0.0


def test_answers_are_measured_as_torchmetrics_does() -> None:
    pairs = [("The blue sky!", ["blue sky", "a sky"]), ("red", ["green"]), ("a b c", ["b c d"])]
    for predicted, answers in pairs:
        metric = SQuAD()
        metric.update(
            [{"prediction_text": predicted, "id": "1"}],
            [{"answers": {"answer_start": [0] * len(answers), "text": answers}, "id": "1"}],
        )
        theirs = metric.compute()
        assert 100 * exact(predicted, answers) == pytest.approx(theirs["exact_match"].item())
        assert 100 * overlap(predicted, answers) == pytest.approx(theirs["f1"].item())


def test_no_answer_is_right_where_there_is_none() -> None:
    assert (exact("", []), overlap("", [])) == (1.0, 1.0)
    assert (exact("x", []), overlap("x", [])) == (0.0, 0.0)
    assert normalise_answer("An  apple, the END.") == "apple end"


def test_best_bound_is_that_of_trying_all() -> None:
    generator = torch.Generator().manual_seed(0)
    nulls = torch.randn(30, generator=generator).tolist()
    kinds = torch.randint(0, 3, (30,), generator=generator).tolist()
    questions, predicted = [], {}
    for number, kind in enumerate(kinds):
        key = str(number)
        questions.append(Question(key, 0, "?", () if kind == 0 else ("right",), None))
        predicted[key] = "right" if kind == 1 else "wrong"
    null_of = {question.key: nulls[int(question.key)] for question in questions}
    scores, _ = best_threshold(predicted, null_of, questions)

    def at(bound: float) -> float:
        said = {k: text if null_of[k] <= bound else "" for k, text in predicted.items()}
        return sum(exact(said[q.key], q.answers) for q in questions) / len(questions)

    best = max(at(bound) for bound in [*nulls, -1e30])
    assert scores["best_exact"] == pytest.approx(best)
    assert at(scores["best_exact_threshold"]) == pytest.approx(best)
