"""Artifacts: how an attempt's files become one, all or nothing, and how a stage gets at them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue, ValidationError

from pipeline.cache.leases import LeaseLost, Leases
from pipeline.cache.local_copy import LocalCopies, for_each
from pipeline.cache.manifest import FileEntry, Manifest, Part, take_files
from pipeline.cache.placement import Source, join_parts, place_artifact
from pipeline.cache.presence import read_manifest
from pipeline.errors import InputError, OutputError, StoreError
from pipeline.spec.ports import Port
from pipeline.storage import Store
from pipeline.storage.failures import store_failure
from pipeline.storage.files import make_folder

_MAKE_AGAIN = "Run the stage that makes it again."


class Artifacts:
    """The artifacts of a store.

    An attempt goes through `staging` and `write_part` in each of its processes, then `commit` in
    one process after all parts are written, then `discard`. Every process writes into folders of
    its own: which file belongs to whom needs no guessing, and a laptop shows the same error as a
    cluster when one rank reads what another wrote. The commit joins the parts and refuses a name
    that two of them hold.
    """

    def __init__(
        self, store: Store, *, cache_folder: Path | None = None, memo_folder: Path | None = None
    ) -> None:
        """Opens nothing yet.

        Args:
            store: where artifacts are.
            cache_folder: local folder for copies of an object store's artifacts and for what is
                staged; shared by the processes of a machine and kept between runs. Needed by
                `staging` and `open` on an object store; a local store needs none.
            memo_folder: local folder that lives as long as a run, in which the processes of a
                machine note what they verified, so that one of them reads an artifact's bytes
                for all. Without it every process verifies for itself.
        """
        self._store = store
        self._cache_folder = cache_folder
        self._copies = LocalCopies(store, cache_folder, memo_folder)
        self._manifests: dict[str, Manifest] = {}

    def staging(self, plan_key: str, attempt_id: str, port: str, *, rank: int = 0) -> Path:
        """The empty folder into which process `rank` of an attempt writes one output port.

        Raises:
            StoreError: the folder cannot be made.
        """
        folder = self._folder(plan_key, attempt_id, rank, port)
        try:
            make_folder(folder, durable=False)
        except OSError as exc:
            raise store_failure(self._store.url, f"stage in {folder}", exc) from exc
        return folder

    def write_part(
        self, plan_key: str, attempt_id: str, ports: Mapping[str, Port], *, rank: int = 0
    ) -> None:
        """Hashes what process `rank` wrote, makes it durable (uploads it), and notes it as a part.

        The process must not write there afterwards. Repeating it is harmless.

        Raises:
            OutputError: an output holds something that is no plain file.
            StoreError: disk or store failed.
        """
        found: dict[str, dict[str, FileEntry]] = {}
        for port in ports:
            folder = self._folder(plan_key, attempt_id, rank, port)
            try:
                found[port] = take_files(folder)
            except FileNotFoundError:
                found[port] = {}
            except OSError as exc:
                raise store_failure(self._store.url, f"take in {folder}", exc) from exc
            if self._store.local_path() is None:
                self._upload(folder, found[port], _port_key(plan_key, attempt_id, rank, port))
        part = Part(rank=rank, ports=found)
        key = _part_key(plan_key, attempt_id, rank)
        # Not fsynced: when the machine goes down the attempt is over, whatever this file says.
        self._store.write(key, part.model_dump_json().encode(), durable=False)

    def missing_parts(self, plan_key: str, attempt_id: str, num_parts: int) -> list[int]:
        """Ranks that have not written their part yet.

        Raises:
            StoreError: the store failed.
        """
        names = self._store.list(f"{_attempt_key(plan_key, attempt_id)}/parts")
        return [rank for rank in range(num_parts) if f"{rank}.json" not in names]

    def commit(
        self,
        plan_key: str,
        attempt_id: str,
        ports: Mapping[str, Port],
        *,
        lease_token: str,
        num_parts: int = 1,
        meta: Mapping[str, JsonValue] | None = None,
        is_repetition: bool = False,
    ) -> dict[str, str]:
        """Joins the parts of an attempt and makes each port an artifact, visible all at once.

        A kill between any two lines leaves each artifact absent or complete. Repeating the commit,
        or committing the same content from another attempt, gives the same digests.

        Args:
            plan_key: as in staging.
            attempt_id: as in staging.
            ports: output port -> type.
            lease_token: must hold the lease `plan_key`; "" commits without one.
            num_parts: processes of the attempt; each must have written its part.
            meta: goes into the manifests; the first commit of a content decides.
            is_repetition: a process of this attempt has committed: what is there is not checked
                once more. Otherwise the bytes of an artifact that was there before are.

        Returns:
            port -> digest; an optional port without files is absent.

        Raises:
            OutputError: a port is empty, or two processes wrote the same name.
            LeaseLost: somebody else holds the lease; nothing became visible.
            StoreError: a part is missing, or disk or store failed.
        """
        parts = [self._read_part(plan_key, attempt_id, rank) for rank in range(num_parts)]
        planned: dict[str, tuple[Manifest, list[Source]]] = {}
        for port, kind in ports.items():
            prefixes = [_port_key(plan_key, attempt_id, part.rank, port) for part in parts]
            sources = join_parts(port, parts, prefixes)
            if sources:
                planned[port] = (_joined_manifest(kind, sources, meta or {}), sources)
            elif not kind.optional:
                msg = f"output port {port}: the stage wrote no file into it"
                raise OutputError(msg)
        if lease_token and not Leases(self._store).held_by(plan_key, lease_token):
            msg = f"attempt {attempt_id} no longer holds the lease of {plan_key}; it cannot commit"
            raise LeaseLost(msg)
        for port, (manifest, sources) in planned.items():
            joined = f"{_attempt_key(plan_key, attempt_id)}/joined/{port}"
            place_artifact(self._store, manifest, sources, joined, trusting=is_repetition)
        return {port: manifest.digest for port, (manifest, _) in planned.items()}

    def discard(self, plan_key: str, attempt_id: str) -> None:
        """Removes all that an attempt staged; after its results are recorded, or when it failed."""
        self._store.remove_tree(_attempt_key(plan_key, attempt_id))
        self._copies.discard_staged(_attempt_key(plan_key, attempt_id))

    def manifest(self, digest: str) -> Manifest:
        """The manifest of an artifact.

        Raises:
            InputError: there is none, or it is damaged.
            StoreError: the store failed.
        """
        if digest not in self._manifests:
            try:
                self._manifests[digest] = read_manifest(self._store, digest)
            except KeyError:
                msg = f"store {self._store.url}: has no artifact {digest}. {_MAKE_AGAIN}"
                raise InputError(msg) from None
            except ValueError as exc:
                msg = f"store {self._store.url}: artifact {digest}: {exc}. {_MAKE_AGAIN}"
                raise InputError(msg) from exc
        return self._manifests[digest]

    def open(self, digest: str) -> Path:
        """A local, read-only folder with an artifact's files, verified on first use in a process.

        Raises:
            InputError: a file is missing or its content differs from the manifest; names it.
            StoreError: the store or the local disk failed.
        """
        return self._copies.open(digest, self.manifest(digest))

    def _folder(self, plan_key: str, attempt_id: str, rank: int, port: str) -> Path:
        """Local folder of one process's port, on the store itself where that is local."""
        key = _port_key(plan_key, attempt_id, rank, port)
        local = self._store.local_path(key)
        return local if local is not None else self._copies.folder() / key

    def _upload(self, folder: Path, names: Iterable[str], prefix: str) -> None:
        for_each(lambda name: self._store.upload(folder / name, f"{prefix}/{name}"), names)

    def _read_part(self, plan_key: str, attempt_id: str, rank: int) -> Part:
        key = _part_key(plan_key, attempt_id, rank)
        try:
            return Part.model_validate_json(self._store.read(key))
        except (KeyError, ValidationError) as exc:
            what = "is missing" if isinstance(exc, KeyError) else "is damaged"
            msg = (
                f"store {self._store.url}: {key} {what}: process {rank} did not finish. "
                "Run the stage again."
            )
            raise StoreError(msg) from None


def _joined_manifest(
    kind: Port, sources: Sequence[Source], meta: Mapping[str, JsonValue]
) -> Manifest:
    files = {name: entry for source in sources for name, entry in source.files.items()}
    return Manifest(kind=kind.kind, schema_name=kind.schema, files=files, meta=dict(meta))


def _attempt_key(plan_key: str, attempt_id: str) -> str:
    return f"staging/{plan_key}/{attempt_id}"


def _port_key(plan_key: str, attempt_id: str, rank: int, port: str) -> str:
    return f"{_attempt_key(plan_key, attempt_id)}/{rank}/{port}/files"


def _part_key(plan_key: str, attempt_id: str, rank: int) -> str:
    return f"{_attempt_key(plan_key, attempt_id)}/parts/{rank}.json"
