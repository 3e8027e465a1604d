"""Generates input with something to learn in it: the stage kind `data_prep.synthetic`.

Text is made here, images in `synthetic_images`. The language has a grammar (articles and verbs agree with their noun in number), words of Zipf-like
frequency, and topics: a document's class shows in its nouns and verbs, never in its grammar.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.config import SyntheticConfig
from data_prep.synthetic_images import striped_disc
from pipeline.errors import Preempted
from pipeline.spec.context import StageContext

_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "st", "br", "tr")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ou")
_CODAS = ("", "", "n", "r", "l", "s", "m")
_SINGULAR, _PLURAL = ("ka", "lo"), ("kas", "los")
_PREPOSITIONS = ("en", "sur", "por", "de")
_TOPIC_SHARE = 0.6  # of nouns and verbs; the others are common to all topics
_NUM_WORDS = 40  # nouns, and verbs, of a topic


@dataclass(frozen=True)
class _Lexicon:
    nouns: Sequence[str]
    verbs: Sequence[str]


def run(ctx: StageContext[SyntheticConfig]) -> None:
    """Writes `<class>/<number>.txt` or `.png`, one file an example; the classes take turns."""
    config = ctx.config
    if config.kind == "images":
        _write_images(ctx, config.images or 0)
    else:
        _write_texts(ctx, config.documents or 0)


def _write_texts(ctx: StageContext[SyntheticConfig], documents: int) -> None:
    config = ctx.config
    common = _lexicon(f"{ctx.seed}/common")
    topics = [_lexicon(f"{ctx.seed}/{topic}") for topic in range(config.classes)]
    for number, path in _paths(ctx, documents, "topic", "txt"):
        rng = random.Random(f"{ctx.seed}/document/{number}")
        _write(path, _document(rng, topics[number % config.classes], common, config.sentences))


def _write_images(ctx: StageContext[SyntheticConfig], images: int) -> None:
    config = ctx.config
    for number, path in _paths(ctx, images, "class", "png"):
        angle = math.pi * (number % config.classes) / config.classes
        rng = random.Random(f"{ctx.seed}/image/{number}")
        striped_disc(rng, config.image_size, angle).save(path, "PNG")


def _paths(
    ctx: StageContext[SyntheticConfig], count: int, folder: str, suffix: str
) -> Iterator[tuple[int, Path]]:
    """(number, file) of each example, in folders that exist."""
    folders = [ctx.outputs["folder"] / f"{folder}{i}" for i in range(ctx.config.classes)]
    for path in folders:
        path.mkdir()
    for number in range(count):
        if ctx.should_stop():
            msg = "asked to stop while generating; the stage begins anew"
            raise Preempted(msg)
        yield number, folders[number % len(folders)] / f"{number:06d}.{suffix}"


def _write(path: Path, text: str) -> None:
    # The folder as a whole is committed or thrown away, so a plain write will do.
    path.write_text(text, encoding="utf-8")


def _document(rng: random.Random, topic: _Lexicon, common: _Lexicon, sentences: int) -> str:
    count = 1 + int(rng.random() * (2 * sentences - 1))
    return " ".join(_sentence(rng, topic, common) for _ in range(count)) + "\n"


def _sentence(rng: random.Random, topic: _Lexicon, common: _Lexicon) -> str:
    subject, plural = _noun_phrase(rng, topic, common)
    words = [*subject, _word(rng, topic.verbs, common.verbs) + ("en" if plural else "e")]
    words += _noun_phrase(rng, topic, common)[0]
    if rng.random() < 0.4:
        words += [_pick(rng, _PREPOSITIONS), *_noun_phrase(rng, topic, common)[0]]
    text = " ".join(words)
    return text[0].upper() + text[1:] + ("?" if rng.random() < 0.1 else ".")


def _noun_phrase(rng: random.Random, topic: _Lexicon, common: _Lexicon) -> tuple[list[str], bool]:
    """(article and noun, whether they are plural)."""
    plural = rng.random() < 0.4
    noun = _word(rng, topic.nouns, common.nouns) + ("s" if plural else "")
    return [_pick(rng, _PLURAL if plural else _SINGULAR), noun], plural


def _word(rng: random.Random, topic: Sequence[str], common: Sequence[str]) -> str:
    words = topic if rng.random() < _TOPIC_SHARE else common
    # The square favours the first words much as Zipf's law does.
    return words[int(len(words) * rng.random() ** 2)]


def _pick(rng: random.Random, words: Sequence[str]) -> str:
    # Not rng.choice: of its methods Python keeps only random() the same over versions.
    return words[int(len(words) * rng.random())]


def _lexicon(seed: str) -> _Lexicon:
    rng = random.Random(seed)
    words: dict[str, None] = {}
    while len(words) < 2 * _NUM_WORDS:
        syllables = 2 if rng.random() < 0.7 else 3
        word = "".join(_pick(rng, _ONSETS) + _pick(rng, _VOWELS) for _ in range(syllables))
        words[word + _pick(rng, _CODAS)] = None
    ordered = list(words)
    return _Lexicon(ordered[:_NUM_WORDS], ordered[_NUM_WORDS:])
