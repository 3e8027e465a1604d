"""Token shards and a tokenizer for XLNet's stages, made without training a tokenizer each time."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sentencepiece

from pipeline.shards import TokenShards, TokenShardWriter
from stages.xlnet.vocabulary import Vocabulary
from tests.shards import TOKENIZER

SEP, CLS, PAD = 4, 3, 5
FIRST_WORD = 9


def vocabulary(size: int = 60, tokenizer: str = TOKENIZER) -> Vocabulary:
    """Every third piece continues a word."""
    begins = np.arange(size) % 3 != 0
    return Vocabulary(size=size, tokenizer=tokenizer, cls=CLS, sep=SEP, pad=PAD, begins_word=begins)


def token_shards(
    folder: Path, *, num_tokens: int = 2000, size: int = 60, splits: Sequence[str] = ("train",)
) -> TokenShards:
    """Sentences of 1 to 12 random tokens, five a document; opens the first split."""
    rng = np.random.default_rng(num_tokens)
    with TokenShardWriter(folder, vocab_size=size, tokenizer=TOKENIZER) as writer:
        for split in splits:
            left = num_tokens
            while left:
                lengths = np.minimum(rng.integers(1, 13, 5).cumsum(), left)
                ends = np.unique(lengths)
                ids = rng.integers(FIRST_WORD, size, ends[-1])
                writer.add(split, ids, sentence_ends=ends)
                left -= int(ends[-1])
    return TokenShards(folder, splits[0])


def sentencepiece_model(num_pieces: int) -> bytes:
    """A sentencepiece model of XLNet's special pieces, the space and letters: so many in all."""
    letters = "".join(chr(ord("a") + i) for i in range(num_pieces - 10))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([letters] * 20),
        model_writer=model,
        model_type="char",
        vocab_size=num_pieces,
        character_coverage=1.0,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        control_symbols=["<cls>", "<sep>", "<pad>", "<mask>", "<eod>"],
        user_defined_symbols=["<eop>"],
        minloglevel=2,
    )
    return model.getvalue()
