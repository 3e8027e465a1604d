"""Documents to shards of token ids: the stage kind `data_prep.text`."""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_prep.config import TextConfig
from data_prep.corpus import Unit, corpus_files, cut_units
from data_prep.documents import CHUNK_CHARACTERS
from data_prep.encode import Ends, Ids, TextEncoder
from data_prep.labels import class_names
from data_prep.placing import Placing
from pipeline.errors import DataError, Preempted
from pipeline.shards.writer import TokenShardWriter, joined_ends
from pipeline.spec.context import StageContext


@dataclass
class _Batch:
    """Normalised texts to be encoded together; lists run in parallel."""

    texts: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    ends: list[bool] = field(default_factory=list)
    num_characters: int = 0


def run(ctx: StageContext[TextConfig]) -> None:
    """Writes the shards of this worker's units.

    Raises:
        DataError: the corpus is empty, or a document is bad; names file and offset.
        InputError: the tokenizer is damaged.
        Preempted: asked to stop; a unit that is not finished leaves no file.
    """
    encoder = TextEncoder(ctx.input("tokenizer"), threads=ctx.threads)
    units = text_units(ctx.config, ctx.input("text") if ctx.config.reads_input else None)
    names = class_names(ctx.config, units)
    mine = range(ctx.world.rank, len(units), ctx.world.size)
    for done, number in enumerate(mine, 1):
        begun = time.monotonic()
        placing = Placing(ctx.config, units[number], names)
        writer = TokenShardWriter(
            ctx.outputs["shards"],
            vocab_size=encoder.tokenizer.vocab_size,
            tokenizer=encoder.tokenizer.sha256,
            class_names=names,
            unit=number,
            num_units=len(units),
        )
        with writer:
            labelled = names is not None
            num_tokens = _write_unit(ctx, encoder, placing, writer, labelled=labelled)
            _refuse_empty_split(placing, units[number], units)
        rate = num_tokens / max(time.monotonic() - begun, 1e-9)
        ctx.recorder.progress(done, len(mine), None, rate, "tokens")


def _refuse_empty_split(placing: Placing, unit: Unit, units: Sequence[Unit]) -> None:
    """A split that is one unit without a document; the same whichever worker has it."""
    if placing.num_placed or sum(other.split == unit.split for other in units) > 1:
        return
    path = unit.spans[0].file.path
    msg = f"{path}: no document with text in {len(unit.spans)} files, the corpus is empty"
    raise DataError(msg)


def text_units(config: TextConfig, text: Path | None) -> list[Unit]:
    """All units of all splits; the number of a unit is its place in this list.

    Args:
        config: names the sources.
        text: folder behind the `text` input where documents come from there.
    """
    sources: Mapping[str, str | Path | None] = {
        "train": text if config.reads_input else config.source,
        "validation": config.validation_source,
        "test": config.test_source,
    }
    units = []
    for split, source in sources.items():
        if source is not None or (split == "train" and config.format == "stdlib"):
            files = corpus_files(source)
            units += cut_units(config, files, split, config.unit_bytes)
    return units


def _write_unit(
    ctx: StageContext[TextConfig],
    encoder: TextEncoder,
    placing: Placing,
    writer: TokenShardWriter,
    *,
    labelled: bool,
) -> int:
    """Reads the next batch while the model encodes this one: it lets go of the GIL.

    Returns the number of tokens.
    """
    num_tokens = 0
    with ThreadPoolExecutor(1) as pool:
        pending: tuple[_Batch, Future[tuple[Ids, Ends]]] | None = None
        for batch in _batches(placing, encoder):
            if ctx.should_stop():
                msg = "asked to stop; the units of this attempt are thrown away"
                raise Preempted(msg)
            future = pool.submit(encoder.encode, batch.texts)
            if pending is not None:
                num_tokens += _add(writer, encoder, pending, labelled=labelled)
            pending = batch, future
        if pending is not None:
            num_tokens += _add(writer, encoder, pending, labelled=labelled)
    return num_tokens


def _add(
    writer: TokenShardWriter,
    encoder: TextEncoder,
    encoded: tuple[_Batch, Future[tuple[Ids, Ends]]],
    *,
    labelled: bool,
) -> int:
    """Hands an encoded batch to the writer, each split's documents together; returns tokens."""
    batch, future = encoded
    ids, text_ends = future.result()
    splits = np.array(batch.splits)
    ends_document = np.array(batch.ends, bool)
    lengths = np.diff(text_ends, prepend=0)
    for split in dict.fromkeys(batch.splits):
        chosen = splits == split
        part = ids if chosen.all() else ids[np.repeat(chosen, lengths)]
        document_ends = np.cumsum(lengths[chosen])[ends_document[chosen]]
        sentence_ends = joined_ends(encoder.sentence_ends(part), document_ends)
        labels = None
        if labelled:
            labels = np.array(batch.labels, np.int32)[chosen & ends_document]
        else:
            # <eod> is a sentence of its own: every end moves by the <eod>s before it.
            sentence_ends += np.searchsorted(document_ends, sentence_ends)
            part = np.insert(part, document_ends, encoder.tokenizer.special("eod"))
            document_ends = document_ends + np.arange(1, len(document_ends) + 1)
        writer.add_packed(
            split,
            part,
            document_ends=document_ends,
            sentence_ends=sentence_ends,
            labels=labels,
        )
    return len(ids)


def _batches(placing: Placing, encoder: TextEncoder) -> Iterator[_Batch]:
    """What is placed, in batches of about CHUNK_CHARACTERS."""
    batch = _Batch()
    for placed in placing.place(encoder.normalise):
        batch.texts.append(placed.text)
        batch.splits.append(placed.split)
        batch.labels.append(placed.label)
        batch.ends.append(placed.ends)
        batch.num_characters += len(placed.text)
        if batch.num_characters >= CHUNK_CHARACTERS:
            yield batch
            batch = _Batch()
    if batch.texts:
        yield batch
