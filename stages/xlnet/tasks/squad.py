"""SQuAD's files, the alignment of answers with pieces, and the official measures."""

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import DataError
from pipeline.shards.tokenizer import SPACE
from stages.xlnet.documents import Ids
from stages.xlnet.tasks.files import read_json
from stages.xlnet.tasks.inputs import Encoder

_WORD = re.compile(r"\S+")
_ARTICLES = re.compile(r"\b(a|an|the)\b")


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        key: its id.
        context: number of its passage.
        text: the question.
        answers: texts of the right answers; empty where there is none.
        span: characters [begin, end) of the first answer; None where there is none.
    """

    key: str
    context: int
    text: str
    answers: Sequence[str]
    span: tuple[int, int] | None


def read_squad(source: str, *, labelled: bool = True) -> tuple[list[str], list[Question]]:
    """Passages and questions of SQuAD 1.1 or 2.0.

    Raises:
        DataError: the file is malformed; names it and the question.
    """
    contexts: list[str] = []
    questions: list[Question] = []
    for path, content in read_json(source):
        try:
            paragraphs = [p for article in content["data"] for p in article["paragraphs"]]
        except (KeyError, TypeError) as exc:
            msg = f"{path}:1: no articles with paragraphs as in SQuAD: {exc!r}"
            raise DataError(msg) from exc
        for number, paragraph in enumerate(paragraphs, 1):
            try:
                contexts.append(paragraph["context"])
                for entry in paragraph["qas"]:
                    questions.append(_question(path, entry, contexts, labelled=labelled))
            except (KeyError, TypeError, AttributeError, IndexError) as exc:
                msg = f"{path}: paragraph {number}: not as SQuAD lays it out: {exc!r}"
                raise DataError(msg) from exc
    if not questions:
        msg = f"{source}: no questions in it"
        raise DataError(msg)
    return contexts, questions


def _question(path: str, entry: Any, contexts: Sequence[str], *, labelled: bool) -> Question:
    key, text, context = str(entry["id"]), str(entry["question"]), contexts[-1]
    answers: list[str] = []
    span = None
    if labelled and not entry.get("is_impossible", False):
        answers = [str(answer["text"]) for answer in entry["answers"]]
        if not answers:
            msg = f"{path}: question {key}: no answer, and is_impossible is not true"
            raise DataError(msg)
        begin = entry["answers"][0]["answer_start"]
        if context[begin : begin + len(answers[0])] != answers[0]:
            found = context[begin : begin + len(answers[0])]
            msg = f"{path}: question {key}: at {begin} stands {found!r}, not {answers[0]!r}"
            raise DataError(msg)
        span = (begin, begin + len(answers[0]))
    return Question(key, len(contexts) - 1, text, answers, span)


@dataclass(frozen=True)
class Passage:
    """A passage in pieces.

    Attributes:
        text: as it stands in the file.
        ids: (pieces,) int64.
        begins, ends: (pieces,) characters [begin, end) of the text that each piece stands for.
    """

    text: str
    ids: Ids
    begins: Ids
    ends: Ids

    def pieces_of(self, span: tuple[int, int]) -> tuple[int, int]:
        """First and last piece that have a character of the span."""
        inside = np.flatnonzero((self.begins < span[1]) & (self.ends > span[0]))
        if not len(inside):  # a span of white space
            place = min(int(np.searchsorted(self.begins, span[0])), len(self.ids) - 1)
            return place, place
        return int(inside[0]), int(inside[-1])

    def text_of(self, first: int, last: int) -> str:
        """The text from one piece to another."""
        return self.text[self.begins[first] : self.ends[last]].strip()


def align(encoder: Encoder, text: str) -> Passage:
    """Encodes a passage word by word, so that each piece is known by its characters.

    Pieces never reach over white space, so the ids are those of the whole text. Where the
    normalisation of a word is not that of its characters, or a piece is unknown, its pieces stand
    for the whole word.
    """
    words = [(match.start(), match.group()) for match in _WORD.finditer(text)]
    ids, begins, ends = [], [], []
    for (start, word), pieces in zip(words, encoder.encode([w for _, w in words]), strict=True):
        edges = _edges(encoder, word, pieces)
        ids.append(pieces)
        for place in range(len(pieces)):
            begins.append(start + (edges[place] if edges else 0))
            ends.append(start + (edges[place + 1] if edges else len(word)))
    joined = np.concatenate(ids) if ids else np.empty(0, np.int64)
    return Passage(text, joined, np.array(begins, np.int64), np.array(ends, np.int64))


def _edges(encoder: Encoder, word: str, pieces: Ids) -> list[int] | None:
    """Characters of the word before each piece, and all of them; None where they do not add up."""
    own = [encoder.text.normalise(character) for character in word]
    origin = [place for place, parts in enumerate(own) for _ in parts]
    texts = [encoder.text.tokenizer.pieces[piece].replace(SPACE, "") for piece in pieces.tolist()]
    if "".join(texts) != "".join(own):
        return None
    origin.append(len(word))
    edges, length = [0], 0
    for text in texts:
        length += len(text)
        edges.append(origin[length])
    return edges


def normalise_answer(text: str) -> str:
    """As the official evaluation compares answers: no case, punctuation, articles, double spaces."""
    plain = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def exact(predicted: str, answers: Sequence[str]) -> float:
    """1 where it is one of the answers; without answers, where nothing is predicted."""
    return float(normalise_answer(predicted) in {normalise_answer(a) for a in answers or [""]})


def overlap(predicted: str, answers: Sequence[str]) -> float:
    """The best F1 over words with any of the answers."""
    return max(_f1(predicted, answer) for answer in answers or [""])


def _f1(predicted: str, answer: str) -> float:
    mine, right = normalise_answer(predicted).split(), normalise_answer(answer).split()
    if not mine or not right:
        return float(mine == right)
    common = sum((Counter(mine) & Counter(right)).values())
    return 2 * common / (len(mine) + len(right))


def best_threshold(
    predicted: Mapping[str, str], null_scores: Mapping[str, float], questions: Sequence[Question]
) -> tuple[dict[str, float], float]:
    """Exact match and F1 at the bound on the null score that serves each best.

    A question whose null score is above the bound is said to have no answer.

    Returns:
        scores best_exact and best_f1 with the bounds they are reached at; and the bound of the F1.

    Source: the official evaluation of SQuAD 2.0, `find_best_thresh`.
    """
    scores = {}
    bound = 0.0
    for name, measure in (("exact", exact), ("f1", overlap)):
        order = sorted(questions, key=lambda question: null_scores[question.key])
        total = best = sum(measure("", question.answers) for question in order)
        bound = -1e30
        for question in order:
            gain = measure(predicted[question.key], question.answers)
            total += gain - measure("", question.answers)
            if total > best:
                best, bound = total, null_scores[question.key]
        scores[f"best_{name}"] = best / len(order)
        scores[f"best_{name}_threshold"] = bound
    return scores, bound
