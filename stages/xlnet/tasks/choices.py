"""The stage kind `xlnet.choose`: which of several options answers a question about a passage."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import DataError
from pipeline.spec.context import StageContext
from pipeline.training.method import Batch, Loss
from pipeline.training.seeding import derive, generator, torch_generator
from stages.xlnet.documents import Ids
from stages.xlnet.heads import Classifier
from stages.xlnet.model import new_model
from stages.xlnet.tasks.config import ChooseConfig
from stages.xlnet.tasks.files import read_json
from stages.xlnet.tasks.finetuning import (
    Conclusion,
    Found,
    finetune,
    jsonl,
    keys_of,
    shape_of,
    start_from,
)
from stages.xlnet.tasks.inputs import Encoder, pack, window_starts

logger = logging.getLogger(__name__)

NUM_OPTIONS = 4
_LETTERS = "ABCD"


@dataclass(frozen=True)
class Question:
    """One question of a passage.

    Attributes:
        passage: id of the passage, such as high1234.txt.
        article: its text.
        queries: question and option as one text, for each option.
        answer: number of the right option; None where the file has none.
    """

    passage: str
    article: str
    queries: Sequence[str]
    answer: int | None


def read_race(source: str, *, labelled: bool = True) -> list[Question]:
    """Questions of RACE's files, one JSON object a file.

    Raises:
        DataError: a file is malformed; names it, and which question.
    """
    questions = []
    for path, content in read_json(source):
        try:
            article, name = content["article"], str(content.get("id", Path(path).name))
            asked, options = content["questions"], content["options"]
            answers = content["answers"] if labelled else [None] * len(asked)
            if not len(asked) == len(options) == len(answers):
                msg = f"{path}: {len(asked)} questions, {len(options)} options, {len(answers)} answers"
                raise DataError(msg)
        except (KeyError, TypeError, AttributeError) as exc:
            msg = f"{path}:1: not an object with article, questions, options and answers: {exc!r}"
            raise DataError(msg) from exc
        for number, (question, choices, answer) in enumerate(
            zip(asked, options, answers, strict=True), 1
        ):
            where = f"{path}: question {number}"
            questions.append(_question(where, name, article, (question, choices, answer)))
    if not questions:
        msg = f"{source}: no questions in it"
        raise DataError(msg)
    return questions


def _question(where: str, name: str, article: Any, parts: tuple[Any, Any, Any]) -> Question:
    question, choices, answer = parts
    is_list = isinstance(choices, list) and len(choices) == NUM_OPTIONS
    if not is_list or not all(isinstance(text, str) for text in (article, question, *choices)):
        msg = f"{where}: needs a text and {NUM_OPTIONS} options, here is {choices!r}"
        raise DataError(msg)
    if answer is not None and (not isinstance(answer, str) or answer not in tuple(_LETTERS)):
        msg = f"{where}: answer is {answer!r}, not one of A, B, C, D"
        raise DataError(msg)
    queries = [
        question.replace("_", option) if "_" in question else f"{question} {option}"
        for option in choices
    ]
    return Question(name, article, queries, None if answer is None else _LETTERS.index(answer))


@dataclass(frozen=True)
class _Encoded:
    passage: Ids
    queries: Sequence[Ids]
    room: int  # pieces of the passage in a window, the same for all options

    @property
    def starts(self) -> list[int]:
        return window_starts(len(self.passage), self.room)


class Choices:
    """Softmax over the options, each scored by one number off CLS of (passage, question + option).

    All options of a question see the same window of a long passage; in evaluation the scores of
    its windows are averaged.

    Source: Yang et al. 2019, section 3.4.1, and released code, run_race.py (without its appending
    of earlier options to the passage).
    """

    def __init__(self, config: ChooseConfig, inputs: Mapping[str, Path], *, seed: int) -> None:
        """Reads the files and builds the model; arguments as `Sentences`."""
        train_source, scored_source = config.sources(inputs)
        encoder = Encoder(inputs["tokenizer"])
        self._vocabulary = encoder.vocabulary
        self._config = config
        self._seed = derive(seed, "windows")
        train = read_race(train_source)
        self._scored = read_race(scored_source)
        self._unlabelled: list[Question] = []
        if config.predict_source is not None:
            self._unlabelled = read_race(config.predict_source, labelled=False)
        self._train = self._encode(encoder, train)
        self._answers = np.array([question.answer for question in train], np.int64)
        self._held_out = self._encode(encoder, [*self._scored, *self._unlabelled])
        self.num_training = len(self._train)
        self.num_inputs = [len(question.starts) for question in self._held_out]
        self.shape = shape_of(config.model, inputs, self._vocabulary)
        self.model: Classifier = new_model(
            lambda: Classifier(
                self.shape.model, self.shape.vocab_size, config.dropout, num_classes=1
            ),
            torch_generator(seed, "weights"),
            self.shape.model,
        )
        start_from(self.model, self.shape, inputs)

    def training_batch(self, epochs: Ids, examples: Ids) -> dict[str, Tensor]:
        """One window of each question's passage, with every option."""
        chosen = []
        for epoch, example in zip(epochs.tolist(), examples.tolist(), strict=True):
            starts = self._train[example].starts
            number = 0
            if len(starts) > 1:
                number = int(generator(self._seed, epoch, example).integers(len(starts)))
            chosen.append((self._train[example], starts[number]))
        return self._pack(chosen) | {"answers": torch.from_numpy(self._answers[examples])}

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Cross-entropy of the right option."""
        scores = _scores(model, batch)
        total = functional.cross_entropy(scores, batch["answers"], reduction="sum")
        return Loss(total, {"accuracy": (scores.argmax(dim=-1) == batch["answers"]).sum()})

    def held_out_batch(self, inputs: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """Windows as they are asked for."""
        questions = [(self._held_out[example], number) for example, number in inputs]
        return self._pack([(question, question.starts[number]) for question, number in questions])

    def read(self, model: nn.Module, batch: Batch) -> list[Any]:
        """The score of each option."""
        return list(_scores(model, batch).cpu().tolist())

    def sums(self, found: Found) -> Mapping[str, tuple[float, float]]:
        """Accuracy."""
        mine = [example for example in found if example < len(self._scored)]
        right = sum(_best(found[example]) == self._scored[example].answer for example in mine)
        return {"accuracy": (float(right), float(len(mine)))}

    def conclude(self, found: Found) -> Conclusion:
        """Accuracy of all, of middle and of high school; answers by passage."""
        chosen = [_best(found[example]) for example in range(len(found))]
        groups: dict[str, list[bool]] = {"accuracy": []}
        lines = []
        for number, (question, best) in enumerate(zip(self._scored, chosen, strict=False)):
            is_right = best == question.answer
            groups["accuracy"].append(is_right)
            for level in ("middle", "high"):
                if question.passage.startswith(level):
                    groups.setdefault(f"accuracy_{level}", []).append(is_right)
            answer = _LETTERS[question.answer or 0]
            lines.append(
                {
                    "example": number,
                    "passage": question.passage,
                    "label": answer,
                    "predicted": _LETTERS[best],
                }
            )
        submitted: dict[str, list[str]] = {}
        asked = self._unlabelled or self._scored
        for question, best in zip(asked, chosen[-len(asked) :], strict=True):
            submitted.setdefault(question.passage, []).append(_LETTERS[best])
        answers = [{"id": name, "answers": letters} for name, letters in submitted.items()]
        files = {"predictions.jsonl": jsonl(lines), "race.jsonl": jsonl(answers)}
        return Conclusion({name: float(np.mean(right)) for name, right in groups.items()}, files)

    def _encode(self, encoder: Encoder, questions: Sequence[Question]) -> list[_Encoded]:
        passages = encoder.encode([question.article for question in questions])
        most, cut, encoded = self._config.max_question, 0, []
        for question, passage in zip(questions, passages, strict=True):
            queries = encoder.encode(list(question.queries))
            cut += sum(len(query) > most for query in queries)
            # The end of it holds the option.
            kept = [query[-most:] for query in queries]
            room = self._config.max_len - 3 - max(len(query) for query in kept)
            encoded.append(_Encoded(passage, kept, room))
        if cut:
            logger.warning(
                "%d questions with their option are over %d pieces; their end is kept", cut, most
            )
        return encoded

    def _pack(self, windows: Sequence[tuple[_Encoded, int]]) -> dict[str, Tensor]:
        pairs = [
            (question.passage[start : start + question.room], query)
            for question, start in windows
            for query in question.queries
        ]
        return pack(pairs, self._vocabulary)


def _scores(model: nn.Module, batch: Batch) -> Tensor:
    """(questions, options) float32."""
    logits: Tensor = model(batch["tokens"], batch["segments"], keys_of(batch))
    return logits.float().view(-1, NUM_OPTIONS)


def _best(scores: Sequence[Sequence[float]]) -> int:
    """The option whose score is highest, averaged over windows."""
    return int(np.mean(scores, axis=0).argmax())


def run(ctx: StageContext[ChooseConfig]) -> None:
    """Finetunes, then writes checkpoint, scores, predictions.jsonl and race.jsonl.

    Raises: as `sentences.run`.
    """
    inputs = {port: ctx.input(port) for port in ctx.inputs}
    finetune(ctx, Choices(ctx.config, inputs, seed=ctx.seed))
