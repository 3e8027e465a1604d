"""What the cluster holds of ours, kept current by one watch a kind, whatever the number of stages.

A watch goes: list, watch from there, list anew when the server no longer knows the version (410),
reconnect with growing pauses when it is away. Who reads is told which objects changed.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from pipeline.executors.kubernetes.client import Cluster, Object
from pipeline.executors.kubernetes.resources import Resource
from pipeline.executors.kubernetes.wire import ApiError, Stream

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 30.0
_REFUSED_SECONDS = 90.0
"""A server that has just started refuses for a moment what it will allow."""
_HEALTHY_SECONDS = 5.0
"""A watch that lived so long begins with short pauses again."""
_log = logging.getLogger(__name__)

Trim = Callable[[Object], Object | None]
"""What is kept of an object; None for one that is nobody's."""


@dataclass(frozen=True)
class Watched:
    """One kind to follow.

    Attributes:
        resource: the kind.
        labels, fields: selectors; "" for all of the namespace.
        trim: what is kept.
        is_optional: a cluster without the kind, or without the right to read it, is fine.
    """

    resource: Resource
    trim: Trim
    labels: str = ""
    fields: str = ""
    is_optional: bool = False


class Mirror:
    """Objects by kind and name. One thread a kind writes; `take_changes` is for one reader.

    Objects that were deleted are handed out once more, with `deleted: True` beside `metadata`:
    how a pod ended is known from its last state alone.
    """

    def __init__(self, cluster: Cluster, kinds: Collection[Watched]) -> None:
        """Starts to watch."""
        self._cluster = cluster
        self._condition = threading.Condition()
        self._objects: dict[str, dict[str, Object]] = {one.resource.plural: {} for one in kinds}
        self._changes: dict[tuple[str, str], Object] = {}
        self._waiting = {one.resource.plural for one in kinds}
        self._failures: dict[str, ApiError] = {}
        self._failing_since: dict[str, float] = {}
        self._streams: dict[str, Stream] = {}
        self._end = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._follow, args=(one,), name=f"watch {one.resource.plural}", daemon=True
            )
            for one in kinds
        ]
        for thread in self._threads:
            thread.start()

    def wait_until_complete(self, timeout_seconds: float) -> None:
        """Returns once each kind was listed.

        Raises:
            ApiError: a kind cannot be read, or not within this time.
        """
        deadline = time.monotonic() + timeout_seconds
        with self._condition:
            while self._waiting:
                self._raise_refused(0.0)
                left = deadline - time.monotonic()
                if left <= 0 or not self._condition.wait(left):
                    names = ", ".join(sorted(self._waiting))
                    why = "; ".join(str(one) for one in self._failures.values())
                    msg = f"{names} of namespace {self._cluster.namespace} could not be listed"
                    raise ApiError(0, "Unreachable", f"{msg}: {why or 'no answer'}")

    def objects(self, resource: Resource) -> Mapping[str, Object]:
        """Name -> object of a kind, as last seen."""
        with self._condition:
            return dict(self._objects[resource.plural])

    def get(self, resource: Resource, name: str) -> Object | None:
        """An object as last seen; None when it is not there."""
        with self._condition:
            return self._objects[resource.plural].get(name)

    def take_changes(self, timeout_seconds: float) -> dict[tuple[str, str], Object]:
        """(plural, name) -> object that changed since; waits for the first of them.

        Raises:
            ApiError: a kind may no longer be read (rights were taken away).
        """
        with self._condition:
            if not self._changes:
                self._condition.wait(timeout_seconds)
            self._raise_refused(_REFUSED_SECONDS)
            changes, self._changes = self._changes, {}
            return changes

    def close(self) -> None:
        """Ends all watches."""
        self._end.set()
        with self._condition:
            streams = list(self._streams.values())
        for stream in streams:
            stream.close()
        for thread in self._threads:
            thread.join(5.0)

    def _raise_refused(self, patience_seconds: float) -> None:
        for plural, error in self._failures.items():
            seconds = time.monotonic() - self._failing_since[plural]
            if error.status in (401, 403, 404) and seconds >= patience_seconds:
                raise error

    # --- in the thread of a kind

    def _follow(self, kind: Watched) -> None:
        pause, version = _FIRST_PAUSE_SECONDS, ""
        while not self._end.is_set():
            began, before = time.monotonic(), version
            try:
                version = version or self._list(kind)
                version = self._watch(kind, version)
            except ApiError as exc:
                if exc.status in (403, 404) and kind.is_optional:
                    _log.info("%s are not watched: %s", kind.resource.plural, exc)
                    self._listed(kind.resource.plural, {})
                    return
                # A list costs little and is right whatever was missed.
                version = ""
                if exc.status != 410 and exc.reason not in ("Expired", "Gone"):
                    self._failed(kind.resource.plural, exc)
            if time.monotonic() - began > _HEALTHY_SECONDS or version not in ("", before):
                pause = _FIRST_PAUSE_SECONDS
            # A watch that ended by itself is taken up soon, but never in a tight loop.
            self._end.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _list(self, kind: Watched) -> str:
        items, version = self._cluster.list(kind.resource, labels=kind.labels, fields=kind.fields)
        kept = ((item["metadata"]["name"], kind.trim(item)) for item in items)
        self._listed(kind.resource.plural, {name: item for name, item in kept if item})
        return version

    def _listed(self, plural: str, items: Mapping[str, Object]) -> None:
        with self._condition:
            before = self._objects[plural]
            for name, item in before.items():
                now = items.get(name)
                if now is None or now["metadata"].get("uid") != item["metadata"].get("uid"):
                    self._changes[plural, name] = item | {"deleted": True}
            for name, item in items.items():
                if before.get(name) != item:
                    # Replaced while nobody looked: the new one counts, the old one is gone.
                    self._changes[plural, name] = item
            self._objects[plural] = dict(items)
            self._waiting.discard(plural)
            self._works(plural)
            self._condition.notify_all()

    def _failed(self, plural: str, error: ApiError) -> None:
        _log.warning("watching %s: %s", plural, error)
        with self._condition:
            self._failures[plural] = error
            self._failing_since.setdefault(plural, time.monotonic())
            self._condition.notify_all()

    def _works(self, plural: str) -> None:
        self._failures.pop(plural, None)
        self._failing_since.pop(plural, None)

    def _watch(self, kind: Watched, version: str) -> str:
        """Takes changes in until the stream ends; the version to go on from."""
        plural = kind.resource.plural
        stream = self._cluster.watch(kind.resource, version, labels=kind.labels, fields=kind.fields)
        with self._condition:
            self._streams[plural] = stream
        if self._end.is_set():
            stream.close()
        with self._condition:
            self._works(plural)
        for line in stream:
            try:
                event = json.loads(line)
            except ValueError:
                break  # cut by a broken connection
            if event["type"] == "ERROR":
                status = event["object"]
                code, reason = int(status.get("code") or 500), str(status.get("reason", ""))
                raise ApiError(code, reason, f"watch {plural}: {status.get('message', reason)}")
            item = event["object"]
            version = item["metadata"].get("resourceVersion") or version
            if event["type"] != "BOOKMARK":
                self._take_in(kind, item, is_deleted=event["type"] == "DELETED")
        return version

    def _take_in(self, kind: Watched, item: Object, *, is_deleted: bool) -> None:
        plural, name, kept = kind.resource.plural, item["metadata"]["name"], kind.trim(item)
        with self._condition:
            objects = self._objects[plural]
            if is_deleted or kept is None:
                objects.pop(name, None)
            else:
                objects[name] = kept
            if kept is not None:
                self._changes[plural, name] = kept | {"deleted": True} if is_deleted else kept
                self._condition.notify_all()
