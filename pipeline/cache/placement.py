"""Joins the parts of an output and makes it visible as an artifact, in one step or not at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.cache.manifest import FileEntry, Manifest, Part, check_files
from pipeline.cache.presence import absence, files_key, manifest_key
from pipeline.errors import InputError, OutputError, StoreError
from pipeline.storage import Store
from pipeline.storage.failures import store_failure
from pipeline.storage.files import place, sync_folders


@dataclass(frozen=True)
class Source:
    """What one process wrote into a port: the key of its folder, ending in `/files`, and files."""

    prefix: str
    files: Mapping[str, FileEntry]


def join_parts(port: str, parts: Sequence[Part], prefix_of: Sequence[str]) -> list[Source]:
    """The sources of a port, one for each process that wrote into it.

    Args:
        port: name of the output port.
        parts: one for each process.
        prefix_of: key of each process's folder of this port.

    Raises:
        OutputError: two processes wrote the same name, or one's file is another's folder.
    """
    sources: list[Source] = []
    owner: dict[str, int] = {}
    for part, prefix in zip(parts, prefix_of, strict=True):
        files = part.ports.get(port, {})
        for name in files:
            if name in owner:
                msg = (
                    f"output port {port}: processes {owner[name]} and {part.rank} both wrote "
                    f"{name!r}. Each must write names of its own, e.g. with its rank in them."
                )
                raise OutputError(msg)
            owner[name] = part.rank
        if files:
            sources.append(Source(prefix, files))
    for name, rank in owner.items():
        folders = [name[:end] for end, letter in enumerate(name) if letter == "/"]
        if clash := next((folder for folder in folders if folder in owner), None):
            msg = (
                f"output port {port}: process {owner[clash]} wrote {clash!r} as a file, "
                f"process {rank} as a folder. Use different names."
            )
            raise OutputError(msg)
    return sources


def place_artifact(
    store: Store, manifest: Manifest, sources: Sequence[Source], joined: str, *, trusting: bool
) -> None:
    """Moves (local) or copies (object store) the sources to `artifacts/<digest>`.

    Locally everything, the manifest too, is put together inside the staging area and appears by
    one rename; in an object store the manifest is written last. Two processes may place the same
    content at the same time: neither ever takes away what the other has completed.

    Args:
        store: where to.
        manifest: of the joined files.
        sources: where the files are; not empty.
        joined: key of a folder in which several sources may be put together.
        trusting: takes an artifact that is there, with the right sizes, as it is. Otherwise its
            bytes are checked, and damage is mended: whoever builds it anew may do so for that.

    Raises:
        StoreError: disk or store failed; the artifact is absent or complete.
    """
    digest = manifest.digest
    is_there = absence(store, digest) is None
    if is_there and (trusting or _is_whole(store, manifest)):
        store.touch(manifest_key(digest))  # eviction goes by age, and it has just become young
    elif store.local_path() is None:
        _copy_remotely(store, manifest, sources)
        if is_there:  # whose manifest says who was first
            store.touch(manifest_key(digest))
        else:
            store.write(manifest_key(digest), manifest.to_bytes())
    else:
        base = sources[0].prefix.removesuffix("/files") if len(sources) == 1 else joined
        if len(sources) > 1:
            _join_locally(store, sources, joined)
        store.write(f"{base}/manifest.json", manifest.to_bytes())
        _move_locally(store, manifest, base, is_damaged=is_there)


def _is_whole(store: Store, manifest: Manifest) -> bool:
    """Whether every byte is right; False on an object store: copying again is cheaper there."""
    folder = store.local_path(files_key(manifest.digest))
    if folder is None:
        return False
    try:
        check_files(folder, manifest)
    except InputError:
        return False
    except OSError as exc:
        raise store_failure(store.url, f"verify artifact {manifest.digest}", exc) from exc
    return True


def _copy_remotely(store: Store, manifest: Manifest, sources: Sequence[Source]) -> None:
    target = files_key(manifest.digest)
    pairs = [
        (f"{source.prefix}/{name}", f"{target}/{name}")
        for source in sources
        for name in source.files
    ]
    try:
        store.copy(pairs)
    except KeyError as exc:
        msg = f"store {store.url}: staged file {exc} is gone. Run the stage again."
        raise StoreError(msg) from None


def _join_locally(store: Store, sources: Sequence[Source], joined: str) -> None:
    """Renames every file into one folder; a repetition finds some of them there already."""
    target = _local(store, f"{joined}/files")
    try:
        for source in sources:
            for name in source.files:
                path = _local(store, f"{source.prefix}/{name}")
                if path.exists() or not (target / name).exists():
                    place(path, target / name, durable=False)
        sync_folders(target)
    except OSError as exc:
        raise store_failure(store.url, f"join {joined}", exc) from exc


def _move_locally(store: Store, manifest: Manifest, base: str, *, is_damaged: bool) -> None:
    digest = manifest.digest
    try:
        if store.move_tree(base, f"artifacts/{digest}"):
            return
    except KeyError:
        msg = f"store {store.url}: staged folder {base} is gone. Run the stage again."
        raise StoreError(msg) from None
    if not is_damaged and absence(store, digest) is None:
        return  # another process was first with the same content
    _mend_locally(store, manifest, base)
    if problem := absence(store, digest):
        msg = f"store {store.url}: artifact {digest} cannot be mended: {problem}. Run again."
        raise StoreError(msg)


def _mend_locally(store: Store, manifest: Manifest, base: str) -> None:
    """Puts each file in the place of what is damaged or missing, the manifest last.

    Taking the damaged folder away first would be wrong: by the time it goes, another process with
    the same content may have mended it and told its runner so.
    """
    target = _local(store, files_key(manifest.digest))
    try:
        for name in manifest.files:
            path = _local(store, f"{base}/files/{name}")
            if path.exists():
                place(path, target / name, durable=False)
        sync_folders(target)
    except OSError as exc:
        raise store_failure(store.url, f"mend artifact {manifest.digest}", exc) from exc
    store.write(manifest_key(manifest.digest), manifest.to_bytes())


def _local(store: Store, key: str) -> Path:
    path = store.local_path(key)
    assert path is not None, "only called on a local store"
    return path
