"""What a store holds: every result with size and age, and whether artifacts still are intact."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.cache.manifest import Manifest, check_file, check_files
from pipeline.cache.presence import files_key, manifest_key, read_manifest, size_problem
from pipeline.cache.results import Result, Results
from pipeline.errors import InputError
from pipeline.storage import FileInfo, Store
from pipeline.storage.failures import store_failure


@dataclass(frozen=True)
class StoredResult:
    """One computed stage.

    Attributes:
        result: as it was recorded.
        keys: under which it is recorded.
        artifact_bytes: digest -> size of its artifacts' files.
        used: when it was last recorded or (on a local store) reused, seconds since the epoch.
        latest_of: "dag/stage" names of which this is the last computed result.
        problem: why it cannot be reused, None when it can.
    """

    result: Result
    keys: tuple[str, ...]
    artifact_bytes: Mapping[str, int]
    used: float
    latest_of: tuple[str, ...]
    problem: str | None

    @property
    def num_bytes(self) -> int:
        """Size of all its artifacts, shared ones too."""
        return sum(self.artifact_bytes.values())


@dataclass(frozen=True)
class Verdict:
    """What reading an artifact in full showed; `problem` is None when it is intact."""

    digest: str
    num_bytes: int
    problem: str | None


def list_results(store: Store) -> list[StoredResult]:
    """Every readable result, the last used first.

    Raises:
        StoreError: the store failed.
    """
    latest = _latest_names(store)
    found: dict[str, list[tuple[str, float, Result]]] = {}
    results = Results(store)
    for name, info in store.walk("results").items():
        key = name.removesuffix(".json")
        if (result := results.read(key).result) is not None:
            found.setdefault(result.model_dump_json(), []).append((key, info.modified, result))
    sizes: dict[str, int | str] = {}
    listed = [_stored(store, entries, latest, sizes) for entries in found.values()]
    return sorted(listed, key=lambda stored: (-stored.used, stored.result.plan_key))


def verify_artifacts(store: Store) -> Iterator[Verdict]:
    """Reads every artifact in full, in the order of their digests, one verdict at a time.

    A damaged one is taken out of use, so that the next run makes it again: look-ups trust sizes,
    and would offer it for ever. Its files stay until they are made anew or evicted. Folders without
    a manifest are no artifacts (a commit under way, or one that was killed) and are left out.

    Raises:
        StoreError: the store failed.
    """
    for digest in store.list("artifacts"):
        if not store.exists(manifest_key(digest)):
            continue
        verdict = verify_artifact(store, digest)
        if verdict.problem:
            _take_out_of_use(store, digest)
        yield verdict


def verify_artifact(store: Store, digest: str) -> Verdict:
    """Reads one artifact in full; changes nothing.

    Raises:
        StoreError: the store failed.
    """
    try:
        manifest = read_manifest(store, digest)
    except KeyError:
        return Verdict(digest, 0, "it has no manifest")
    except ValueError as exc:
        return Verdict(digest, 0, str(exc))
    problem = size_problem(store, digest, manifest)
    if problem is None:
        try:
            _read_through(store, digest, manifest)
        except InputError as exc:
            problem = str(exc)
        except OSError as exc:
            raise store_failure(store.url, f"verify artifact {digest}", exc) from exc
    return Verdict(digest, manifest.num_bytes, problem)


def by_folder(files: Mapping[str, FileInfo]) -> dict[str, FileInfo]:
    """First part of the names -> size of all files and time of the newest."""
    found: dict[str, FileInfo] = {}
    for name, info in files.items():
        top = name.split("/", maxsplit=1)[0]
        old = found.get(top, FileInfo(0, 0.0))
        found[top] = FileInfo(old.size + info.size, max(old.modified, info.modified))
    return found


def _take_out_of_use(store: Store, digest: str) -> None:
    """Renames the manifest, without which an artifact is not visible; a person may undo it."""
    try:
        damaged = store.read(manifest_key(digest))
    except KeyError:
        return
    store.write(f"artifacts/{digest}/damaged-manifest.json", damaged)
    store.remove(manifest_key(digest))


def _stored(
    store: Store,
    entries: list[tuple[str, float, Result]],
    latest: Mapping[str, tuple[str, ...]],
    sizes: dict[str, int | str],
) -> StoredResult:
    result = entries[0][2]
    problem = None
    for digest in result.artifacts.values():
        if digest not in sizes:
            sizes[digest] = _size_or_problem(store, digest)
        if isinstance(sizes[digest], str):
            problem = problem or f"artifact {digest[:12]}: {sizes[digest]}"
    known = ((digest, sizes[digest]) for digest in result.artifacts.values())
    return StoredResult(
        result=result,
        keys=tuple(sorted(key for key, _, _ in entries)),
        artifact_bytes={digest: size for digest, size in known if isinstance(size, int)},
        # S3 gives whole seconds; the writer's clock tells apart what it wrote in one of them.
        used=max(result.created, *(used for _, used, _ in entries)),
        latest_of=latest.get(result.plan_key, ()),
        problem=problem,
    )


def _size_or_problem(store: Store, digest: str) -> int | str:
    try:
        manifest = read_manifest(store, digest)
    except KeyError:
        return "it is not in the store"
    except ValueError as exc:
        return str(exc)
    return size_problem(store, digest, manifest) or manifest.num_bytes


def _latest_names(store: Store) -> dict[str, tuple[str, ...]]:
    """Plan key -> "dag/stage" names, as the pointers are named."""
    names: dict[str, list[str]] = {}
    for name in store.walk("latest"):
        try:
            plan_key = store.read(f"latest/{name}").decode("ascii", errors="replace").strip()
        except KeyError:
            continue
        names.setdefault(plan_key, []).append(name.removesuffix(".txt"))
    return {plan_key: tuple(sorted(found)) for plan_key, found in names.items()}


def _read_through(store: Store, digest: str, manifest: Manifest) -> None:
    local = store.local_path(files_key(digest))
    if local is not None:
        check_files(local, manifest)
        return
    with tempfile.TemporaryDirectory(prefix="pipeline-verify-") as folder:
        # One file at a time: an artifact may be larger than the disk of this machine.
        for name, entry in manifest.files.items():
            path = Path(folder, "file")
            try:
                store.download(f"{files_key(digest)}/{name}", path)
            except KeyError:
                msg = f"{name}: is missing"
                raise InputError(msg) from None
            check_file(path, entry, shown=name)
