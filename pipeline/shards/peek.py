"""The first samples of an artifact of shards, as a person would look at them."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pipeline.shards.images import ImageIndex, ImageShards
from pipeline.shards.index import read_indexes, read_unit_indexes
from pipeline.shards.reader import TokenShards


@dataclass(frozen=True)
class TokenSample:
    """The beginning of a document.

    Attributes:
        split: where it is.
        number: its place in the split.
        label: name of its class, None when the shards have no labels.
        num_tokens: length of the whole document.
        ids: its first token ids; what text they stand for only its tokenizer knows.
    """

    split: str
    number: int
    label: str | None
    num_tokens: int
    ids: tuple[int, ...]


def peek(folder: Path, num_samples: int, num_tokens: int = 64) -> list[TokenSample]:
    """The first `num_samples` documents of each split, each cut after `num_tokens` tokens.

    Raises:
        DataError: the shards are damaged; names file and offset.
    """
    splits = sorted({shard.split for index in read_indexes(folder) for shard in index.shards})
    samples = []
    for split in splits:
        shards = TokenShards(folder, split)
        for i in islice(range(shards.num_documents), num_samples):
            ids = shards.document(i)
            label = shards.class_names[shards.labels[i]] if shards.class_names else None
            samples.append(TokenSample(split, i, label, len(ids), tuple(ids[:num_tokens].tolist())))
    return samples


@dataclass(frozen=True)
class ImageSample:
    """One encoded picture.

    Attributes:
        split: where it is.
        number: its place in the split.
        label: name of its class, None when the shards have no labels.
        num_bytes: of the encoded picture.
        name: what it was called in its source.
    """

    split: str
    number: int
    label: str | None
    num_bytes: int
    name: str


def peek_images(folder: Path, num_samples: int) -> list[ImageSample]:
    """The first `num_samples` pictures of each split.

    Raises:
        DataError: the shards are damaged; names file and offset.
    """
    indexes = read_unit_indexes(folder, ImageIndex)
    samples = []
    for split in sorted({shard.split for index in indexes for shard in index.shards}):
        shards = ImageShards(folder, split)
        for i in range(min(len(shards), num_samples)):
            label = shards.class_names[shards.labels[i]] if shards.class_names else None
            size = len(shards.encoded(i))
            samples.append(ImageSample(split, i, label, size, shards.names[i]))
    return samples
