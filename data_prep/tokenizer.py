"""Trains a sentencepiece unigram model on documents: the stage kind `data_prep.tokenizer`."""

import io
import random
import re
from collections.abc import Iterable, Iterator

import sentencepiece

from data_prep.config import TokenizerConfig
from data_prep.corpus import Labelling, corpus_files, read_spans
from data_prep.normalise import UNICODE_VERSION, Normaliser
from data_prep.pieces import CONTROL_PIECES, SPECIAL_PIECES, USER_PIECES
from data_prep.streams import Span
from pipeline.errors import ConfigError, DataError, Preempted
from pipeline.shards.tokenizer import DESCRIPTION_FILE, MODEL_FILE, TokenizerDescription
from pipeline.spec.context import StageContext
from pipeline.storage.files import replace_file

TRAINING_THREADS = 8
"""Fixed: sentencepiece adds each thread's counts up apart, so that another number of threads
gives another model (measured with 0.2.3: scores differ in the sixth digit, pieces with them)."""

_TELL_EVERY_DOCUMENTS = 1000
_MAX_SENTENCE_CHARACTERS = 1000  # sentencepiece leaves out what is over 4,192 bytes
_SENTENCE_END = re.compile(r"(?<=[.!?]) ")


def run(ctx: StageContext[TokenizerConfig]) -> None:
    """Writes tokenizer.model and tokenizer.json.

    Raises:
        DataError: the corpus is empty or a document is bad.
        ConfigError: the corpus does not hold `vocab_size` pieces.
    """
    config = ctx.config
    source = ctx.input("text") if config.reads_input else config.source
    spans = [Span(file) for file in corpus_files(source)]
    normalise = Normaliser(config.normalisation)

    def texts() -> Iterator[str]:
        for number, (_, document) in enumerate(read_spans(config, spans, Labelling())):
            if number % _TELL_EVERY_DOCUMENTS == 0:
                ctx.recorder.phase(f"reading the corpus, {number} documents")
            if ctx.should_stop():
                msg = "asked to stop while reading; training a tokenizer begins anew"
                raise Preempted(msg)
            yield normalise(document.text)

    sample = sample_sentences(texts(), config.max_sentences)
    if not sample:
        msg = f"{spans[0].file.path}: {len(spans)} files without any text, the corpus is empty"
        raise DataError(msg)
    ctx.recorder.phase(f"training the model on {len(sample)} sentences")
    model = train(sample, config)
    description = TokenizerDescription(
        vocab_size=config.vocab_size,
        special=SPECIAL_PIECES,
        normalisation=config.normalisation.model_dump(),
        unicode=UNICODE_VERSION,
        num_sentences=len(sample),
    )
    folder = ctx.outputs["tokenizer"]
    replace_file(folder / MODEL_FILE, model, durable=False)
    text = description.model_dump_json(indent=1)
    replace_file(folder / DESCRIPTION_FILE, text.encode(), durable=False)


def train(sentences: Iterable[str], config: TokenizerConfig) -> bytes:
    """The model trained on normalised sentences; equal sentences give equal bytes.

    Raises:
        ConfigError: sentencepiece refuses `vocab_size`; says what it would take.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            model_type="unigram",
            vocab_size=config.vocab_size,
            character_coverage=config.character_coverage,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            input_sentence_size=0,
            shuffle_input_sentence=False,
            num_threads=TRAINING_THREADS,
            unk_id=SPECIAL_PIECES["unk"],
            bos_id=SPECIAL_PIECES["bos"],
            eos_id=SPECIAL_PIECES["eos"],
            pad_id=-1,  # sentencepiece's own; XLNet's <pad> is a control piece
            control_symbols=list(CONTROL_PIECES),
            user_defined_symbols=list(USER_PIECES),
            minloglevel=1,
        )
    except RuntimeError as exc:
        # What it means comes last, after the C++ file and the condition in brackets.
        reason = str(exc).strip().splitlines()[-1].rpartition("] ")[2]
        msg = f"vocab_size {config.vocab_size} does not fit this corpus: {reason}"
        raise ConfigError(msg) from exc
    return model.getvalue()


def sample_sentences(texts: Iterable[str], max_sentences: int) -> list[str]:
    """At most `max_sentences` sentences of normalised texts, each as likely as any other.

    The choice depends on the sentences and their order alone.
    """
    sample: list[str] = []
    draw = random.Random(0).random  # the one method whose sequence Python promises to keep
    for seen, sentence in enumerate(s for text in texts for s in _sentences(text)):
        if seen < max_sentences:
            sample.append(sentence)
        elif (slot := int(draw() * (seen + 1))) < max_sentences:
            sample[slot] = sentence
    return sample


def _sentences(text: str) -> Iterator[str]:
    for sentence in _SENTENCE_END.split(text):
        for start in range(0, len(sentence), _MAX_SENTENCE_CHARACTERS):
            if part := sentence[start : start + _MAX_SENTENCE_CHARACTERS].strip():
                yield part
