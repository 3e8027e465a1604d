"""Which images a stage prepares: split, class and unit of work of each, known before any is read."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from data_prep.image_files import ImageFile, image_files
from data_prep.images_config import ImagesConfig
from data_prep.records import Columns, read_jsonl, read_separated
from data_prep.streams import Span
from pipeline.errors import DataError
from pipeline.shards.subset import choose_per_class
from pipeline.storage.sources import source_files

logger = logging.getLogger(__name__)

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Names of folders that hold a split."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One image that is prepared; `label` None where there are no classes."""

    file: ImageFile
    split: str
    label: str | None


@dataclass(frozen=True)
class Listing:
    """All images of a stage.

    Attributes:
        class_names: label -> name; empty without classes.
        units: of work; all images of one are of one split.
    """

    class_names: tuple[str, ...]
    units: Sequence[Sequence[Entry]]


def list_images(config: ImagesConfig, folder: Path | None, scratch: Path, seed: int) -> Listing:
    """Lists the sources; every worker does, and finds the same.

    Args:
        config: names the sources.
        folder: behind the `images` input where images come from there.
        scratch: for archives.
        seed: of the labelled subset.

    Raises:
        DataError: a source has no images, an image no class, or a list names what is not there.
    """
    source = folder if folder is not None else config.source
    if source is None:  # cannot be: the port is there exactly when there is no source
        msg = "no images: neither source nor the input is there"
        raise DataError(msg)
    files = image_files(source, scratch)
    entries = _listed(config, files) if config.list_file else _by_folder(config, files, scratch)
    names = _class_names(config, entries)
    entries = [_held_out(entry, config.validation_fraction) for entry in entries]
    entries = _subset(config, entries, names, seed)
    # Mixed by the hash of the name, so that reading the shards in order mixes the classes too.
    mixed = sorted(entries, key=lambda entry: (entry.split, _hash(entry.file.name, "order")))
    units = []
    for split in sorted({entry.split for entry in mixed}):
        members = [entry for entry in mixed if entry.split == split]
        size = config.unit_images
        units += [members[i : i + size] for i in range(0, len(members), size)]
    return Listing(names, units)


def _by_folder(config: ImagesConfig, files: Sequence[ImageFile], scratch: Path) -> list[Entry]:
    entries = list(_placed(config, files, None))
    for split, source in (("validation", config.validation_source), ("test", config.test_source)):
        if source is not None:
            entries += _placed(config, image_files(source, scratch), split)
    return entries


def _placed(config: ImagesConfig, files: Sequence[ImageFile], split: str | None) -> Iterator[Entry]:
    """Splits and classes from the folders; `split` None looks for folders called like splits."""
    folders = [PurePosixPath(file.name).parts[:-1] for file in files]
    skip = 0
    needed = 0 if config.label == "none" else 1
    while all(len(f) > skip + needed for f in folders) and len({f[skip] for f in folders}) == 1:
        if split is None and folders[0][skip] in _SPLITS:
            break
        skip += 1
    by_folder = split is None and all(len(f) > skip and f[skip] in _SPLITS for f in folders)
    for file, parts in zip(files, folders, strict=True):
        below = parts[skip:]
        chosen = split or "train"
        if by_folder:
            chosen, below = _SPLITS[below[0]], below[1:]
        if config.label == "none":
            yield Entry(file, chosen, None)
            continue
        if not below:
            msg = (
                f"{file.path}: lies in no class folder; name the folder above the class folders, "
                "use a list_file, or set label: none"
            )
            raise DataError(msg)
        yield Entry(file, chosen, below[0])


def _listed(config: ImagesConfig, files: Sequence[ImageFile]) -> list[Entry]:
    by_name = {file.name: file for file in files}
    lists = {
        "train": config.list_file,
        "validation": config.validation_list_file,
        "test": config.test_list_file,
    }
    entries: list[Entry] = []
    for split, source in lists.items():
        if source is None:
            continue
        seen: set[str] = set()
        for name, label in _records(config, str(source)):
            if name not in by_name:
                msg = f"{source}: names {name!r}, which is no image of the source"
                raise DataError(msg)
            if name in seen:
                msg = f"{source}: names {name!r} twice"
                raise DataError(msg)
            seen.add(name)
            if config.label == "folder":
                entries += _placed_one(by_name[name], split)
            else:
                entries.append(Entry(by_name[name], split, label))
    if not entries:
        msg = f"{config.list_file}: names no image"
        raise DataError(msg)
    return entries


def _placed_one(file: ImageFile, split: str) -> Iterator[Entry]:
    folders = PurePosixPath(file.name).parts[:-1]
    if not folders:
        msg = f"{file.path}: lies in no class folder; set label: column or label: none"
        raise DataError(msg)
    yield Entry(file, split, folders[-1])


def _records(config: ImagesConfig, source: str) -> Iterator[tuple[str, str | None]]:
    """(name, label) of each line of a list file."""
    column = config.label_column if config.label == "column" else None
    columns = Columns(config.path_column, column)
    for file in source_files(source):
        span = Span(file)
        if ".jsonl" in file.name:
            documents = read_jsonl(span, columns)
        elif ".csv" in file.name or ".tsv" in file.name:
            documents = read_separated(span, columns, "," if ".csv" in file.name else "\t")
        else:
            msg = f"{file.path}: a list of images is a .csv, .tsv or .jsonl file"
            raise DataError(msg)
        for document in documents:
            yield document.text, document.label


def _class_names(config: ImagesConfig, entries: Sequence[Entry]) -> tuple[str, ...]:
    if config.label == "none":
        return ()
    found = {entry.label for entry in entries if entry.label is not None}
    if config.classes is None:
        if len(found) < 2:
            place = entries[0].file.path
            msg = f"{place} and what follows: all of class {', '.join(found)}; there must be two"
            raise DataError(msg)
        return tuple(sorted(found))
    foreign = next((entry for entry in entries if entry.label not in config.classes), None)
    if foreign is not None:
        msg = f"{foreign.file.path}: class {foreign.label!r} is none of {', '.join(config.classes)}"
        raise DataError(msg)
    return config.classes


def _held_out(entry: Entry, fraction: float) -> Entry:
    if entry.split == "train" and fraction and _share(entry.file.name) < fraction:
        return Entry(entry.file, "validation", entry.label)
    return entry


def _subset(
    config: ImagesConfig, entries: list[Entry], class_names: Sequence[str], seed: int
) -> list[Entry]:
    if config.subset is None:
        return entries
    train = [entry for entry in entries if entry.split == "train"]
    number = {name: i for i, name in enumerate(class_names)}
    try:
        kept = choose_per_class(
            [entry.file.name for entry in train],
            np.array([number[entry.label or ""] for entry in train], np.int64),
            seed=seed,
            fraction=config.subset.fraction,
            per_class=config.subset.per_class,
        )
    except ValueError as exc:
        msg = f"subset: {exc} ({', '.join(class_names)})"
        raise DataError(msg) from exc
    logger.info("subset: keeps %d of %d labelled images", len(kept), len(train))
    return [train[i] for i in kept] + [entry for entry in entries if entry.split != "train"]


def _hash(name: str, purpose: str) -> bytes:
    text = name.encode(errors="surrogateescape")
    return hashlib.blake2b(text, digest_size=8, person=purpose.encode()).digest()


def _share(name: str) -> float:
    return int.from_bytes(_hash(name, "validation"), "big") / (1 << 64)
