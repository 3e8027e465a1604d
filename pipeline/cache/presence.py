"""Whether an artifact is in the store, as far as a look without reading its content can tell."""

from pipeline.cache.manifest import Manifest
from pipeline.storage import Store


def manifest_key(digest: str) -> str:
    """Key of an artifact's manifest; the artifact is visible when this file is there."""
    return f"artifacts/{digest}/manifest.json"


def files_key(digest: str) -> str:
    """Key of the folder with an artifact's files."""
    return f"artifacts/{digest}/files"


def read_manifest(store: Store, digest: str) -> Manifest:
    """The manifest of an artifact.

    Raises:
        KeyError: there is no such artifact.
        ValueError: its manifest is damaged; says how.
        StoreError: the store failed.
    """
    return Manifest.from_bytes(store.read(manifest_key(digest)), digest)


def size_problem(store: Store, digest: str, manifest: Manifest) -> str | None:
    """What is missing or has another size than the manifest says; None when nothing.

    Raises:
        StoreError: the store failed.
    """
    found = store.walk(files_key(digest))
    for name, entry in manifest.files.items():
        if name not in found:
            return f"its file {name} is missing"
        if found[name].size != entry.size:
            return f"its file {name} has {found[name].size} bytes, not {entry.size}"
    return None


def absence(store: Store, digest: str) -> str | None:
    """Why an artifact cannot be used; None when manifest and sizes are right.

    Raises:
        StoreError: the store failed.
    """
    try:
        manifest = read_manifest(store, digest)
    except KeyError:
        return "it is not in the store"
    except ValueError as exc:
        return str(exc)
    return size_problem(store, digest, manifest)
