"""The stage kind `xlnet.answer`: the span of a passage that answers a question, or none."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.spec.context import StageContext
from pipeline.training.method import Batch, Loss
from pipeline.training.seeding import torch_generator
from stages.xlnet.documents import Ids
from stages.xlnet.examples import SEGMENT_A, SEGMENT_CLS
from stages.xlnet.model import new_model
from stages.xlnet.span_reader import SpanReader
from stages.xlnet.tasks.config import AnswerConfig
from stages.xlnet.tasks.finetuning import (
    Conclusion,
    Found,
    finetune,
    jsonl,
    keys_of,
    shape_of,
    start_from,
)
from stages.xlnet.tasks.inputs import Encoder, pack
from stages.xlnet.tasks.squad import (
    Passage,
    Question,
    align,
    best_threshold,
    exact,
    overlap,
    read_squad,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Window:
    """A part of a passage beside a question.

    Attributes:
        question: number of the question.
        begin, end: pieces [begin, end) of the passage.
        first, last: pieces of the answer, counted in the window; -1 where it is not in it.
    """

    question: int
    begin: int
    end: int
    first: int = -1
    last: int = -1


@dataclass(frozen=True)
class _Split:
    """One file: passages, questions and the windows of each question."""

    passages: Sequence[Passage]
    questions: Sequence[Question]
    asked: Sequence[Ids]
    windows: Sequence[Sequence[Window]]


def cut_windows(length: int, room: int, stride: int) -> list[tuple[int, int]]:
    """Pieces [begin, end) of the windows over a passage: one every `stride`, the last to its end."""
    spans = []
    for begin in range(0, max(length, 1), stride):
        spans.append((begin, min(begin + room, length)))
        if begin + room >= length:
            break
    return spans


def has_most_context(windows: Sequence[Window], number: int, place: int) -> bool:
    """Whether a piece of the passage has more on its shorter side here than in other windows.

    Source: Devlin et al. 2018, released code, run_squad.py `_check_is_max_context`.
    """

    def context(window: Window) -> float:
        if not window.begin <= place < window.end:
            return -1.0
        sides = min(place - window.begin, window.end - 1 - place)
        return sides + 0.01 * (window.end - window.begin)

    best = max(range(len(windows)), key=lambda other: context(windows[other]))
    return best == number


class Answers:
    """Start and end of the answer and whether there is one: half of each in the loss.

    Every window of every question is a training example; one without the answer has CLS as its
    start and end and counts as unanswerable.

    Source: Yang et al. 2019, released code, run_squad.py.
    """

    def __init__(self, config: AnswerConfig, inputs: Mapping[str, Path], *, seed: int) -> None:
        """Reads the files and builds the model; arguments as `Sentences`."""
        train_source, scored_source = config.sources(inputs)
        self._encoder = Encoder(inputs["tokenizer"])
        self._vocabulary = self._encoder.vocabulary
        self._config = config
        self._train = self._split(*read_squad(train_source))
        contexts, scored = read_squad(scored_source)
        self._num_scored = len(scored)
        if config.predict_source is not None:
            more, unlabelled = read_squad(config.predict_source, labelled=False)
            moved = [
                Question(q.key, q.context + len(contexts), q.text, (), None) for q in unlabelled
            ]
            contexts, scored = [*contexts, *more], [*scored, *moved]
        self._held_out = self._split(contexts, scored)
        self._examples = [window for windows in self._train.windows for window in windows]
        self.num_training = len(self._examples)
        self.num_inputs = [len(windows) for windows in self._held_out.windows]
        self.shape = shape_of(config.model, inputs, self._vocabulary)
        self.model: SpanReader = new_model(
            lambda: SpanReader(self.shape.model, self.shape.vocab_size, config.dropout),
            torch_generator(seed, "weights"),
            self.shape.model,
        )
        start_from(self.model, self.shape, inputs)

    def training_batch(self, epochs: Ids, examples: Ids) -> dict[str, Tensor]:
        """The windows, with the places of start and end and whether there is no answer."""
        del epochs  # a window is the same each time
        windows = [self._examples[example] for example in examples.tolist()]
        batch = self._pack(self._train, windows)
        length = batch["tokens"].shape[1]
        offset = _offsets(batch["segments"])
        has_none = torch.tensor([window.first < 0 for window in windows])
        cls = torch.full((len(windows),), length - 1)
        start = offset + torch.tensor([window.first for window in windows])
        end = offset + torch.tensor([window.last for window in windows])
        return batch | {
            "starts": torch.where(has_none, cls, start),
            "ends": torch.where(has_none, cls, end),
            "has_none": has_none,
        }

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """(start + end + answerability) / 2, summed over windows."""
        start, end, none = model(
            batch["tokens"],
            batch["segments"],
            keys_of(batch),
            batch["barred"],
            starts=batch["starts"],
        )
        place = functional.cross_entropy(start, batch["starts"], reduction="sum")
        place = place + functional.cross_entropy(end, batch["ends"], reduction="sum")
        target = batch["has_none"].float()
        answerable = functional.binary_cross_entropy_with_logits(
            none.float(), target, reduction="sum"
        )
        right = (start.argmax(dim=-1) == batch["starts"]).sum()
        return Loss((place + answerable) / 2, {"start_accuracy": right})

    def held_out_batch(self, inputs: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """Windows as they are asked for, and which ones they are."""
        windows = [self._held_out.windows[question][number] for question, number in inputs]
        return self._pack(self._held_out, windows) | {"which": torch.tensor(list(inputs))}

    def read(self, model: nn.Module, batch: Batch) -> list[Any]:
        """Of each window the logit of no answer, and [score, first, last] of spans it allows."""
        beams = model(
            batch["tokens"],
            batch["segments"],
            keys_of(batch),
            batch["barred"],
            num_beams=self._config.num_beams,
        )
        offsets = _offsets(batch["segments"]).tolist()
        starts, start_scores, ends, end_scores, none = (part.float().cpu() for part in beams)
        scores = (start_scores[:, :, None] + end_scores).tolist()
        answers = []
        for row, (question, number) in enumerate(batch["which"].tolist()):
            spans = []
            for i, start in enumerate(starts[row].int().tolist()):
                for j, end in enumerate(ends[row, i].int().tolist()):
                    span = (start - offsets[row], end - offsets[row])
                    if self._may_answer(question, number, span):
                        begin = self._held_out.windows[question][number].begin
                        spans.append([scores[row][i][j], begin + span[0], begin + span[1]])
            answers.append({"none": none[row].item(), "spans": spans})
        return answers

    def sums(self, found: Found) -> Mapping[str, tuple[float, float]]:
        """Exact match and F1, a question answered whatever the null score."""
        mine = [question for question in found if question < self._num_scored]
        questions = self._held_out.questions
        texts = {number: self._text(number, found[number]) for number in mine}
        return {
            name: (sum(measure(texts[n], questions[n].answers) for n in mine), float(len(mine)))
            for name, measure in (("exact", exact), ("f1", overlap))
        }

    def conclude(self, found: Found) -> Conclusion:
        """Exact match and F1; for 2.0 also at the best bound, searched on the scored file."""
        questions = self._held_out.questions
        texts = {q.key: self._text(n, found[n]) for n, q in enumerate(questions)}
        nulls = {q.key: min(w["none"] for w in found[n]) for n, q in enumerate(questions)}
        scored = questions[: self._num_scored]
        scores = {
            name: float(np.mean([measure(texts[q.key], q.answers) for q in scored]))
            for name, measure in (("exact", exact), ("f1", overlap))
        }
        bound = float("inf")
        if self._config.version == "2.0":
            best, bound = best_threshold(texts, nulls, scored)
            scores |= best
        final = {key: text if nulls[key] <= bound else "" for key, text in texts.items()}
        lines = [
            {
                "example": q.key,
                "label": list(q.answers),
                "predicted": final[q.key],
                "none": round(nulls[q.key], 6),
            }
            for q in scored
        ]
        submitted = questions[self._num_scored :] or scored
        files = {
            "predictions.jsonl": jsonl(lines),
            "predictions.json": json.dumps({q.key: final[q.key] for q in submitted}, indent=1),
        }
        if self._config.version == "2.0":
            files["null_odds.json"] = json.dumps({q.key: nulls[q.key] for q in submitted}, indent=1)
        return Conclusion(scores, files)

    def _split(self, contexts: Sequence[str], questions: Sequence[Question]) -> _Split:
        passages = [align(self._encoder, text) for text in contexts]
        asked = self._encoder.encode([question.text for question in questions])
        most = self._config.max_question
        cut = sum(len(ids) > most for ids in asked)
        if cut:
            logger.warning("%d questions are over %d pieces; the rest is not read", cut, most)
        asked = [ids[:most] for ids in asked]
        windows = []
        for number, (question, ids) in enumerate(zip(questions, asked, strict=True)):
            passage = passages[question.context]
            room = self._config.max_len - 3 - len(ids)
            spans = cut_windows(len(passage.ids), room, self._config.doc_stride)
            windows.append([_window(number, span, passage, question) for span in spans])
        return _Split(passages, questions, asked, windows)

    def _pack(self, split: _Split, windows: Sequence[Window]) -> dict[str, Tensor]:
        pairs = [
            (
                split.passages[split.questions[w.question].context].ids[w.begin : w.end],
                split.asked[w.question],
            )
            for w in windows
        ]
        batch = pack(pairs, self._vocabulary)
        segments = batch["segments"]
        is_passage = (segments == SEGMENT_A) & (batch["tokens"] != self._vocabulary.sep)
        return batch | {"barred": ~(is_passage | (segments == SEGMENT_CLS))}

    def _may_answer(self, question: int, number: int, span: tuple[int, int]) -> bool:
        windows = self._held_out.windows[question]
        first, last = span
        window = windows[number]
        if not 0 <= first <= last < window.end - window.begin:
            return False
        if last - first + 1 > self._config.max_answer:
            return False
        return has_most_context(windows, number, window.begin + first)

    def _text(self, question: int, windows: Sequence[Any]) -> str:
        """The most probable span of all windows, as it stands in the passage."""
        spans = [span for window in windows for span in window["spans"]]
        if not spans:
            return ""
        _, first, last = max(spans, key=lambda span: span[0])
        passage = self._held_out.passages[self._held_out.questions[question].context]
        return passage.text_of(int(first), int(last))


def _window(number: int, span: tuple[int, int], passage: Passage, question: Question) -> Window:
    begin, end = span
    if question.span is None or not len(passage.ids):
        return Window(number, begin, end)
    first, last = passage.pieces_of(question.span)
    if not begin <= first <= last < end:
        return Window(number, begin, end)
    return Window(number, begin, end, first - begin, last - begin)


def _offsets(segments: Tensor) -> Tensor:
    """(windows,) where the passage begins: behind the padding."""
    return (segments == SEGMENT_A).int().argmax(dim=1)


def run(ctx: StageContext[AnswerConfig]) -> None:
    """Finetunes, then writes checkpoint, scores, predictions.jsonl and predictions.json.

    Raises: as `sentences.run`.
    """
    inputs = {port: ctx.input(port) for port in ctx.inputs}
    finetune(ctx, Answers(ctx.config, inputs, seed=ctx.seed))
