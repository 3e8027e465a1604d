"""Generated files of every task, each in its own format: the stage kind `xlnet.toy_task`.

All share a small vocabulary of made-up words, and a rule that a small model learns in a minute.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipeline.spec.context import StageContext
from stages.xlnet.tasks.config import ToyTaskConfig

_NEUTRAL = (
    "lorat",
    "pinem",
    "sodal",
    "tiruk",
    "vebon",
    "gamil",
    "hestor",
    "dunar",
    "keplo",
    "yatis",
)
_GOOD = ("brima", "clovet", "frindo", "grasul")
_BAD = ("zoken", "xirba", "quopem", "wugda")
_NAMES = ("Milek", "Tarun", "Oskar", "Belin", "Ruvat", "Jonas", "Peldo", "Sigra")


def run(ctx: StageContext[ToyTaskConfig]) -> None:
    """Writes train/ and evaluate/, each with one file or, for `choose`, one file a passage."""
    make = _MAKERS[ctx.config.task]
    for split, count in (("train", ctx.config.examples), ("evaluate", ctx.config.examples // 4)):
        folder = ctx.outputs["files"] / split
        folder.mkdir()
        make(folder, random.Random(f"{ctx.seed}/{split}"), count)


def _sentences(folder: Path, rng: random.Random, count: int) -> None:
    """SST-2: 1 where the sentence has a word of praise, 0 where it has one of blame."""
    lines = ["sentence\tlabel"]
    for number in range(count):
        label = number % 2
        lines.append(f"{_sentence(rng, _pick(rng, _GOOD if label else _BAD))}\t{label}")
    (folder / "sst2.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _regression(folder: Path, rng: random.Random, count: int) -> None:
    """STS-B: how many of the five first words of the second sentence are words of praise."""
    lines = ["index\tsentence1\tsentence2\tscore"]
    for number in range(count):
        score = number % 6
        words = [_pick(rng, _GOOD) for _ in range(score)]
        words += [_pick(rng, _BAD) for _ in range(5 - score)]
        lines.append(f"{number}\t{_sentence(rng)}\t{' '.join(words)}\t{score:.3f}")
    (folder / "stsb.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _choose(folder: Path, rng: random.Random, count: int) -> None:
    """RACE: the right option is the one with a word of praise."""
    for number in range(-(-count // 2)):
        questions, options, answers = [], [], []
        for _ in range(2):
            right = int(4 * rng.random())
            words = [_pick(rng, _BAD) for _ in range(4)]
            words[right] = _pick(rng, _GOOD)
            questions.append(f"{_pick(rng, _NEUTRAL)} is _ .")
            options.append([f"{word} {_pick(rng, _NEUTRAL)}" for word in words])
            answers.append("ABCD"[right])
        level = "middle" if number % 2 else "high"
        content = {
            "id": f"{level}{number}.txt",
            "article": " ".join(_sentence(rng) for _ in range(3)),
            "questions": questions,
            "options": options,
            "answers": answers,
        }
        (folder / f"{level}{number}.txt").write_text(json.dumps(content), encoding="utf-8")


def _answer(folder: Path, rng: random.Random, count: int) -> None:
    """SQuAD 2.0: the answer is the name in the passage; where there is none, there is no answer."""
    paragraphs = []
    for number in range(count):
        has_one = number % 3 > 0
        words = _sentence(rng).split()
        place = int(rng.random() * len(words))
        name = _pick(rng, _NAMES)
        if has_one:
            words.insert(place, name)
        context = " ".join(words)
        answers = [{"text": name, "answer_start": context.index(name)}] if has_one else []
        question = {
            "id": f"q{number}",
            "question": f"Who {_pick(rng, _NEUTRAL)}?",
            "answers": answers,
            "is_impossible": not has_one,
        }
        paragraphs.append({"context": context, "qas": [question]})
    content = {"version": "v2.0", "data": [{"title": "toys", "paragraphs": paragraphs}]}
    (folder / "squad.json").write_text(json.dumps(content), encoding="utf-8")


def _rank(folder: Path, rng: random.Random, count: int) -> None:
    """Pairs: the grade of a document is how many words of the query it has."""
    lines = ["query_id\tdocument_id\tgrade\tquery\tdocument"]
    for number in range(max(1, count // 5)):
        words = rng.sample([*_GOOD, *_BAD, *_NEUTRAL], 2)
        others = [w for w in (*_GOOD, *_BAD, *_NEUTRAL) if w not in words]
        for grade in (0, 1, 2, 0, 1):
            chosen = words[:grade] + [_pick(rng, others) for _ in range(8 - grade)]
            rng.shuffle(chosen)
            key = f"d{number}-{len(lines)}"
            lines.append(f"q{number}\t{key}\t{grade}\t{' '.join(words)}\t{' '.join(chosen)}")
    (folder / "pairs.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


_MAKERS: Mapping[str, Callable[[Path, random.Random, int], None]] = {
    "sentences": _sentences,
    "regression": _regression,
    "choose": _choose,
    "answer": _answer,
    "rank": _rank,
}


def _sentence(rng: random.Random, word: str | None = None) -> str:
    words = [_pick(rng, _NEUTRAL) for _ in range(5 + int(4 * rng.random()))]
    if word is not None:
        words.insert(int(rng.random() * len(words)), word)
    return " ".join(words) + " ."


def _pick(rng: random.Random, words: Sequence[str]) -> str:
    # Not rng.choice: of its methods Python keeps only random() the same over versions.
    return words[int(len(words) * rng.random())]
