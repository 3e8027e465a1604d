"""Images to shards: the stage kind `data_prep.images`."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from data_prep.image_bytes import BrokenImageError, prepare
from data_prep.image_files import MAX_FILE_BYTES
from data_prep.image_listing import Entry, list_images
from data_prep.images_config import ImagesConfig
from pipeline.errors import DataError, Preempted
from pipeline.shards.image_writer import ImageShardWriter
from pipeline.spec.context import StageContext

logger = logging.getLogger(__name__)

_SHOWN = 20
"""Corrupt files that one message names."""

_Prepared = tuple[bytes, str] | BrokenImageError
_ItemT = TypeVar("_ItemT")
_ResultT = TypeVar("_ResultT")


def run(ctx: StageContext[ImagesConfig]) -> None:
    """Writes the shards of this worker's units.

    Raises:
        DataError: no images, an image without a class, or corrupt ones, which it names.
        Preempted: asked to stop; a unit that is not finished leaves no file.
    """
    folder = ctx.input("images") if ctx.config.reads_input else None
    listing = list_images(ctx.config, folder, ctx.scratch, ctx.seed)
    numbers = {name: number for number, name in enumerate(listing.class_names)}
    mine = range(ctx.world.rank, len(listing.units), ctx.world.size)
    with ThreadPoolExecutor(ctx.threads) as pool:
        for done, unit in enumerate(mine, 1):
            begun = time.monotonic()
            writer = ImageShardWriter(
                ctx.outputs["shards"],
                class_names=listing.class_names,
                unit=unit,
                num_units=len(listing.units),
            )
            entries = listing.units[unit]
            with writer:
                _write_unit(ctx, pool, writer, entries, numbers)
            rate = len(entries) / max(time.monotonic() - begun, 1e-9)
            ctx.recorder.progress(done, len(mine), None, rate, "images")


def _write_unit(
    ctx: StageContext[ImagesConfig],
    pool: ThreadPoolExecutor,
    writer: ImageShardWriter,
    entries: Sequence[Entry],
    numbers: dict[str, int],
) -> None:
    broken: list[str] = []

    def work(entry: Entry) -> _Prepared:
        if entry.file.size > MAX_FILE_BYTES:
            return BrokenImageError(f"{entry.file.size} bytes; over {MAX_FILE_BYTES} are refused")
        try:
            return prepare(entry.file.read(), ctx.config)
        except BrokenImageError as exc:
            return exc

    for entry, result in ordered(pool, work, entries, ahead=4 * ctx.threads):
        if ctx.should_stop():
            msg = "asked to stop; the units of this attempt are thrown away"
            raise Preempted(msg)
        if isinstance(result, BrokenImageError):
            broken.append(f"{entry.file.path}: {result}")
            writer.skip(entry.file.name)
            continue
        data, suffix = result
        label = None if entry.label is None else numbers[entry.label]
        writer.add(entry.split, data, suffix=suffix, name=entry.file.name, label=label)
    if broken:
        _report(broken, len(entries), skip=ctx.config.on_corrupt == "skip")


def _report(broken: Sequence[str], num_images: int, *, skip: bool) -> None:
    shown = "\n  ".join(broken[:_SHOWN])
    more = f"\n  and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
    if skip and len(broken) < num_images:
        logger.warning("skipped %d of %d images:\n  %s%s", len(broken), num_images, shown, more)
        return
    msg = (
        f"{len(broken)} of {num_images} images are corrupt:\n  {shown}{more}\n"
        "Repair or remove them, or set on_corrupt: skip."
    )
    raise DataError(msg)


def ordered(
    pool: ThreadPoolExecutor,
    work: Callable[[_ItemT], _ResultT],
    items: Iterable[_ItemT],
    *,
    ahead: int,
) -> Iterator[tuple[_ItemT, _ResultT]]:
    """Items with their results in order, at most `ahead` of them under way: memory stays small."""
    pending: deque[tuple[_ItemT, Future[_ResultT]]] = deque()
    try:
        for item in items:
            pending.append((item, pool.submit(work, item)))
            if len(pending) >= ahead:
                first, future = pending.popleft()
                yield first, future.result()
        while pending:
            first, future = pending.popleft()
            yield first, future.result()
    finally:
        for _, future in pending:
            future.cancel()
