"""The API server: authenticated requests that are tried again while that can help.

The one place that imports the Kubernetes client: it reads kubeconfigs and service accounts and
keeps tokens fresh. Objects stay plain JSON, so whatever a manifest says is sent as it is.
"""

import json
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode

from pipeline.errors import InfrastructureError
from pipeline.executors.kubernetes.resources import Resource
from pipeline.executors.kubernetes.wire import (
    ApiError,
    Stream,
    refusal,
    unreachable,
    urllib3_errors,
)

Object: TypeAlias = dict[str, Any]
"""A Kubernetes object, as JSON has it."""

FIELD_MANAGER = "pipeline"
"""Owns the fields we set; others' fields of the same object are left alone."""

_TRIED_AGAIN = frozenset({429, 500, 502, 503, 504})
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 8.0
_REQUEST_SECONDS = 30.0
_PATIENCE_SECONDS = 120.0
"""How long a request is tried: an API server that restarts is back by then."""
_QUIET_SECONDS = 100.0
"""A watch hears at least a bookmark a minute; one that is silent for longer is dead."""
_PAGE = 500
_CONFLICT_TRIES = 5
_log = logging.getLogger(__name__)


class Cluster:
    """One namespace of one cluster. Safe to use from several threads.

    Attributes:
        calls: "verb plural" -> requests sent, repetitions included.
    """

    def __init__(
        self,
        namespace: str,
        *,
        kubeconfig: str | None = None,
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        """Reads the kubeconfig, or in a pod the service account; sends nothing yet.

        Args:
            namespace: where all objects are.
            kubeconfig: its file, or several as KUBECONFIG has them; None for ~/.kube/config.
            patience_seconds: how long a request is tried while the server is away.

        Raises:
            InfrastructureError: there is neither.
        """
        self.namespace = namespace
        self._patience = patience_seconds
        self._api = _connect(kubeconfig)
        self._host = self._api.configuration.host.rstrip("/")
        self._pool = self._api.rest_client.pool_manager
        self._lock = threading.Lock()
        self.calls: Counter[str] = Counter()

    @property
    def host(self) -> str:
        """URL of the API server."""
        return str(self._host)

    def close(self) -> None:
        """Closes idle connections."""
        self._pool.clear()

    # --- objects

    def apply(self, resource: Resource, item: Object, *, dry_run: bool = False) -> Object:
        """Creates an object or brings its fields to what `item` says (server-side apply).

        Raises:
            ApiError: refused; a conflict names who else manages the field.
        """
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        path = self._path(resource, item["metadata"]["name"])
        for attempt in range(_CONFLICT_TRIES):
            try:
                return self._json("apply", resource, "PATCH", path, query, item)
            except ApiError as exc:
                if exc.status != 409 or "FieldManager" in exc.reason or attempt == 4:
                    raise
                time.sleep(_pause(attempt))  # changed by another between its read and its write
        raise AssertionError  # the last try returns or raises

    def get(self, resource: Resource, name: str) -> Object | None:
        """An object; None when there is none of that name."""
        try:
            return self._json("get", resource, "GET", self._path(resource, name))
        except ApiError as exc:
            if exc.status == 404:
                return None
            raise

    def list(
        self, resource: Resource, *, labels: str = "", fields: str = ""
    ) -> tuple[list[Object], str]:
        """All objects that match, and the resource version to watch from."""
        items: list[Object] = []
        query = {"limit": str(_PAGE)} | _selectors(labels, fields)
        while True:
            page = self._json("list", resource, "GET", self._path(resource), query)
            items += page.get("items") or ()
            following = page["metadata"].get("continue")
            if not following:
                return items, str(page["metadata"].get("resourceVersion", ""))
            query["continue"] = following

    def delete(
        self,
        resource: Resource,
        name: str,
        *,
        grace_seconds: int | None = None,
        keep_owned: bool = False,
    ) -> bool:
        """Deletes an object and, in the background, what it owns; False when it was not there.

        With `keep_owned` what it owns stays, and is nobody's.
        """
        body: Object = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": "Orphan" if keep_owned else "Background",
        }
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        try:
            self._json("delete", resource, "DELETE", self._path(resource, name), {}, body)
        except ApiError as exc:
            if exc.status == 404:
                return False
            raise
        return True

    def create_review(self, resource: Resource, item: Object) -> Object:
        """Posts a question (a SelfSubjectAccessReview) and returns it with its answer."""
        path = self._path(resource)
        return self._json("create", resource, "POST", path, {}, item)

    def raw(self, path: str) -> Object | None:
        """A document of the server itself, `/version` or `/apis/GROUP`; None when not there."""
        try:
            return self._json("get", Resource("", "", path, ""), "GET", path)
        except ApiError as exc:
            if exc.status == 404:
                return None
            raise

    def served(self, resource: Resource) -> Resource:
        """The kind in the version that this server has: its own where it is there, else another.

        Only for kinds of which every version says what we read.
        """
        answer = self.raw(f"/apis/{resource.group}") or {}
        versions = [str(one["version"]) for one in answer.get("versions") or ()]
        if not versions or resource.version in versions:
            return resource
        return replace(resource, version=versions[0])

    # --- streams

    def watch(
        self, resource: Resource, version: str, *, labels: str = "", fields: str = ""
    ) -> Stream:
        """Changes after a resource version, one JSON document a line; ends after some minutes.

        Raises:
            ApiError: refused; 410 when the version is too old, then list anew.
        """
        # Not all of them at the same moment.
        seconds = 240 + random.randrange(60)
        query = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        } | _selectors(labels, fields)
        return self._stream("watch", resource, self._path(resource), query, _QUIET_SECONDS)

    def log(
        self,
        pod: str,
        *,
        container: str,
        follow: bool = False,
        tail_lines: int | None = None,
        since: str | None = None,
    ) -> Stream:
        """What a pod's container printed; each line begins with its time.

        Args:
            pod: its name.
            container: its container.
            follow: go on until the container ends.
            tail_lines: only the last so many.
            since: RFC 3339 time to begin at.

        Raises:
            ApiError: 404 when the pod is gone, 400 when its container has not started.
        """
        query = {"container": container, "timestamps": "true"}
        if follow:
            query["follow"] = "true"
        if tail_lines is not None:
            query["tailLines"] = str(tail_lines)
        if since is not None:
            query["sinceTime"] = since
        resource = Resource("", "v1", "pods", "Pod")
        # A container may be silent for hours; only a broken connection ends a followed log.
        quiet = None if follow else _REQUEST_SECONDS
        return self._stream("log", resource, f"{self._path(resource, pod)}/log", query, quiet)

    # --- the wire

    def _path(self, resource: Resource, name: str | None = None) -> str:
        root = f"/apis/{resource.group}" if resource.group else "/api"
        space = f"/namespaces/{quote(self.namespace)}" if resource.namespaced else ""
        tail = f"/{quote(name)}" if name else ""
        return f"{root}/{resource.version}{space}/{resource.plural}{tail}"

    def _json(
        self,
        verb: str,
        resource: Resource,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
    ) -> Object:
        """Sends a request, again while that can help, and reads its whole answer."""
        give_up = time.monotonic() + self._patience
        attempt = 0
        while True:
            wait: float | None = None
            try:
                response = self._send(verb, resource, method, path, query, body)
                data = response.read()
                status = response.status
                response.release_conn()
                if status < 300:
                    return json.loads(data) if data else {}
                error = refusal(status, data, method, path)
                wait = _retry_after(response.headers)
            except (urllib3_errors(), ValueError, OSError) as exc:
                error = unreachable(self._host, exc)
            if error.status not in _TRIED_AGAIN | {0}:
                raise error
            pause = _pause(attempt) if wait is None else wait
            if time.monotonic() + pause > give_up:
                raise error
            _log.info("%s %s: %s; again in %.1f s", method, path, error, pause)
            time.sleep(pause)
            attempt += 1

    def _stream(
        self,
        verb: str,
        resource: Resource,
        path: str,
        query: Mapping[str, str],
        quiet_seconds: float | None,
    ) -> Stream:
        """Opens an answer that is read while it is written; tried once."""
        try:
            response = self._send(
                verb, resource, "GET", path, query, None, read_seconds=quiet_seconds
            )
            if response.status >= 300:
                data = response.read()
                response.release_conn()
                raise refusal(response.status, data, "GET", path)
        except (urllib3_errors(), OSError) as exc:
            raise unreachable(self._host, exc) from exc
        return Stream(response)

    def _send(
        self,
        verb: str,
        resource: Resource,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Object | None,
        read_seconds: float | None = _REQUEST_SECONDS,
    ) -> Any:
        import urllib3  # noqa: PLC0415 - planning and --help stay free of it

        with self._lock:
            self.calls[f"{verb} {resource.plural}"] += 1
            # Renews a token that has run out.
            auth = self._api.configuration.auth_settings()
        headers = {"Accept": "application/json", "User-Agent": FIELD_MANAGER}
        headers |= {one["key"]: one["value"] for one in auth.values() if one.get("value")}
        if body is not None:
            patch = "application/apply-patch+yaml"  # of which JSON is a part
            headers["Content-Type"] = patch if method == "PATCH" else "application/json"
        return self._pool.request(
            method,
            f"{self._host}{path}{'?' + urlencode(query) if query else ''}",
            headers=headers,
            body=None if body is None else json.dumps(body).encode(),
            preload_content=False,
            retries=False,
            timeout=urllib3.Timeout(connect=10, read=read_seconds),
        )


def is_in_pod() -> bool:
    """Whether this process is in a pod that may talk to its cluster."""
    return Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists()


def _connect(kubeconfig: str | None) -> Any:
    """An API client with its configuration; nothing is sent."""
    from kubernetes import client, config  # noqa: PLC0415 - half a second, and only here

    loaders: list[Callable[[Any], None]] = [
        lambda into: config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=kubeconfig or "~/.kube/config",  # the library read KUBECONFIG at import
            client_configuration=into,
            persist_config=False,
        )
    ]
    if kubeconfig is None and is_in_pod():
        loaders.append(_load_service_account)
    problems = []
    for load in loaders:
        configuration = client.Configuration()
        try:
            load(configuration)
        except (config.ConfigException, OSError, ValueError, TypeError) as exc:
            problems.append(str(exc))
            continue
        configuration.connection_pool_maxsize = 32
        return client.ApiClient(configuration)
    msg = (
        f"no access to a cluster: {'; '.join(problems)}. Set KUBECONFIG to a kubeconfig file whose "
        "current context is the cluster (`kubectl config get-contexts` lists them)."
    )
    raise InfrastructureError(msg)


def _load_service_account(into: Any) -> None:
    from kubernetes import config  # noqa: PLC0415 - as in `_connect`

    config.load_incluster_config(client_configuration=into)  # type: ignore[no-untyped-call]


def _selectors(labels: str, fields: str) -> dict[str, str]:
    named = {"labelSelector": labels, "fieldSelector": fields}
    return {name: value for name, value in named.items() if value}


def _pause(attempt: int) -> float:
    longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(attempt, 10))
    return longest * (0.5 + random.random() / 2)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None
