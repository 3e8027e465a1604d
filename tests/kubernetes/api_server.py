"""A small API server at HTTP level: what the real client library sends is what it answers.

It keeps objects, their versions and the changes since; it lists, watches, applies, deletes and
serves logs. Faults are scripted: each takes the place of one answer.
"""

import copy
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from typing_extensions import override

Object = dict[str, Any]

GROUPS = {
    "apis/batch/v1": "Job",
    "apis/jobset.x-k8s.io/v1alpha2": "JobSet",
    "apis/kueue.x-k8s.io/v1beta2": "Workload",
    "api/v1": "",
}


@dataclass
class Fault:
    """Takes the place of the answer to a request that fits, `times` times.

    Attributes:
        method: of the request; "WATCH" and "LOG" stand for those two.
        path: a part of its path.
        status: answered, with `headers`; 0 cuts the connection without an answer.
        after: a watch answers so many lines, and then does what `kind` says.
        kind: `answer`, `gone` (an ERROR event), `cut` (in the middle of a line), `end`, `slow`.
    """

    method: str
    path: str
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "answer"
    after: int = 0
    times: int = 1
    reason: str = ""


class ApiServer:
    """Holds the objects. Used from the test's thread and from the handlers'.

    Attributes:
        requests: "METHOD path" -> how often it came, watches as WATCH.
        on_delete: is told of each object whose deletion was asked for, instead of removing it.
        logs: pod -> its lines; a followed log goes on until `ended_logs` names the pod.
        forbidden: plurals that answer 403.
        missing: API groups that are not installed.
    """

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.objects: dict[str, dict[str, Object]] = {}
        self.version = 100
        self.oldest = 0
        self.epoch = 0
        self.changes: list[tuple[int, str, str, Object]] = []
        self.faults: list[Fault] = []
        self.requests: Counter[str] = Counter()
        self.watching: Counter[str] = Counter()
        self.most_watching: Counter[str] = Counter()
        self.on_delete: Callable[[str, Object, int | None], bool] | None = None
        self.logs: dict[str, list[str]] = {}
        self.ended_logs: set[str] = set()
        self.forbidden: set[str] = set()
        self.refused: set[tuple[str, str]] = set()
        self.missing: set[str] = set()
        self.closed = False
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def close(self) -> None:
        with self.lock:
            self.closed = True
            self.lock.notify_all()
        self._http.shutdown()
        self._http.server_close()

    def kubeconfig(self, folder: Path) -> Path:
        """A kubeconfig file that leads here."""
        file = folder / "kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "me", "user": {"token": "secret"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "me"}}],
            "current-context": "test",
        }
        file.write_text(json.dumps(config))
        return file

    # --- objects

    def put(self, plural: str, item: Object) -> Object:
        """Creates or replaces an object and tells the watches."""
        with self.lock:
            kept = copy.deepcopy(item)
            metadata = kept["metadata"]
            before = self.objects.setdefault(plural, {}).get(metadata["name"])
            self.version += 1
            metadata["resourceVersion"] = str(self.version)
            metadata.setdefault(
                "uid", before["metadata"]["uid"] if before else f"uid-{self.version}"
            )
            metadata.setdefault("creationTimestamp", now())
            self.objects[plural][metadata["name"]] = kept
            self._tell("MODIFIED" if before else "ADDED", plural, kept)
            return copy.deepcopy(kept)

    def edit(self, plural: str, name: str, change: Callable[[Object], None]) -> None:
        """Changes an object in place; nothing happens when it is gone."""
        with self.lock:
            item = self.objects.get(plural, {}).get(name)
            if item is not None:
                changed = copy.deepcopy(item)
                change(changed)
                self.put(plural, changed)

    def remove(self, plural: str, name: str) -> None:
        """Deletes an object for good."""
        with self.lock:
            item = self.objects.get(plural, {}).pop(name, None)
            if item is not None:
                self.version += 1
                item["metadata"]["resourceVersion"] = str(self.version)
                self._tell("DELETED", plural, item)

    def get(self, plural: str, name: str) -> Object | None:
        with self.lock:
            return copy.deepcopy(self.objects.get(plural, {}).get(name))

    def all(self, plural: str) -> list[Object]:
        with self.lock:
            return copy.deepcopy(list(self.objects.get(plural, {}).values()))

    def compact(self) -> None:
        """Forgets all changes so far: who watches from before gets 410."""
        with self.lock:
            self.oldest = self.version

    def drop_watches(self) -> None:
        """Ends every open watch, as a restarting server does."""
        with self.lock:
            self.epoch += 1
            self.lock.notify_all()

    def _tell(self, kind: str, plural: str, item: Object) -> None:
        self.changes.append((self.version, kind, plural, copy.deepcopy(item)))
        self.lock.notify_all()

    # --- faults

    def fault(self, method: str, path: str, **more: Any) -> Fault:
        fault = Fault(method, path, **more)
        with self.lock:
            self.faults.append(fault)
        return fault

    def take_fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.method == method and fault.path in path and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def selected(item: Object, selector: str) -> bool:
    labels = item["metadata"].get("labels") or {}
    pairs = [one.split("=", 1) for one in selector.split(",") if one]
    return all(labels.get(key) == value for key, value in pairs)


def selected_fields(item: Object, selector: str) -> bool:
    pairs = [one.split("=", 1) for one in selector.split(",") if one]
    return all(str(item.get(key)) == value for key, value in pairs)


def _handler_of(server: ApiServer) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        api = server

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: ApiServer

    @override
    def log_message(self, format: str, *args: Any) -> None:
        return

    def do_GET(self) -> None:
        path, query = self._address()
        watches = query.get("watch") == "true"
        method = "WATCH" if watches else "LOG" if path.endswith("/log") else "GET"
        fault = self._note(method, path)
        if fault is not None and (not watches or fault.kind == "answer"):
            if fault.kind != "slow":
                self._answer_fault(fault)
                return
            time.sleep(0.3)
        if path in ("/version", "/apis", "/api"):
            self._answer_root(path)
        elif path.startswith("/apis/") and path.count("/") == 2:
            group = path.split("/")[2]
            here = any(group in one for one in GROUPS) and group not in self.api.missing
            version = next((one.split("/")[2] for one in GROUPS if group in one), "v1")
            answer = {"name": group, "versions": [{"version": version}]}
            self._answer(200, answer) if here else self._status(404, "NotFound", path)
        elif method == "LOG":
            self._log(path, query)
        else:
            self._read(path, query, fault)

    def _read(self, path: str, query: dict[str, str], fault: Fault | None) -> None:
        plural, name = self._resource(path)
        if plural in self.api.forbidden:
            self._status(403, "Forbidden", f"{plural} is forbidden")
        elif name:
            item = self.api.get(plural, name)
            self._answer(200, item) if item else self._status(404, "NotFound", f"{name} not found")
        elif query.get("watch") == "true":
            with self.api.lock:
                self.api.watching[plural] += 1
                most = max(self.api.most_watching[plural], self.api.watching[plural])
                self.api.most_watching[plural] = most
            try:
                self._watch(plural, query, fault)
            finally:
                with self.api.lock:
                    self.api.watching[plural] -= 1
        else:
            self._list(plural, query)

    def do_PATCH(self) -> None:
        path, query = self._address()
        body = self._body()
        if fault := self._note("PATCH", path):
            self._answer_fault(fault)
            return
        if self.headers["Content-Type"] != "application/apply-patch+yaml":
            self._status(415, "UnsupportedMediaType", "not a server-side apply")
            return
        if not query.get("fieldManager"):
            self._status(400, "BadRequest", "fieldManager is required for apply patch")
            return
        plural, _ = self._resource(path)
        if plural in self.api.forbidden or plural in self.api.missing:
            self._status(403, "Forbidden", f"{plural} is forbidden")
            return
        with self.api.lock:
            before = self.api.get(plural, body["metadata"]["name"])
            merged = _merge(before or {}, body)
            if query.get("dryRun"):
                self._answer(200, merged)
                return
            stored = self.api.put(plural, merged)
        self._answer(200 if before else 201, stored)

    def do_DELETE(self) -> None:
        path, _ = self._address()
        body = self._body()
        if fault := self._note("DELETE", path):
            self._answer_fault(fault)
            return
        plural, name = self._resource(path)
        item = self.api.get(plural, name)
        if item is None:
            self._status(404, "NotFound", f"{name} not found")
            return
        hook = self.api.on_delete
        if hook is None or not hook(plural, item, body.get("gracePeriodSeconds")):
            self.api.remove(plural, name)
        self._answer(200, {"kind": "Status", "status": "Success"})

    def do_POST(self) -> None:
        path, _ = self._address()
        body = self._body()
        self._note("POST", path)
        asked = body["spec"]["resourceAttributes"]
        plural = asked["resource"] + (
            f"/{asked['subresource']}" if asked.get("subresource") else ""
        )
        allowed = (
            plural not in self.api.forbidden and (asked["verb"], plural) not in self.api.refused
        )
        self._answer(201, {**body, "status": {"allowed": allowed}})

    # --- answers

    def _list(self, plural: str, query: dict[str, str]) -> None:
        with self.api.lock:
            found = [
                one
                for one in self.api.all(plural)
                if selected(one, query.get("labelSelector", ""))
                and selected_fields(one, query.get("fieldSelector", ""))
            ]
            version = str(self.api.version)
        start = int(query.get("continue", "0"))
        limit = int(query.get("limit", "0")) or len(found)
        metadata = {"resourceVersion": version}
        if start + limit < len(found):
            metadata["continue"] = str(start + limit)
        page = found[start : start + limit]
        self._answer(200, {"kind": "List", "metadata": metadata, "items": page})

    def _watch(self, plural: str, query: dict[str, str], fault: Fault | None) -> None:
        version = int(query.get("resourceVersion") or 0)
        if version < self.api.oldest:
            self._status(410, "Expired", "too old resource version")
            return
        self._begin()
        for lines, event in enumerate(self._events(plural, query, version)):
            line = json.dumps(event).encode() + b"\n"
            if fault is not None and lines >= fault.after:
                self._break(fault, line)
                return
            self._chunk(line)
        self._chunk(b"")

    def _break(self, fault: Fault, line: bytes) -> None:
        if fault.kind == "gone":
            status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
            self._chunk(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
        elif fault.kind == "cut":
            self._chunk(line[: len(line) // 2])
            self.close_connection = True
            return
        self._chunk(b"")

    def _events(self, plural: str, query: dict[str, str], version: int) -> Iterator[Object]:
        deadline = time.monotonic() + float(query.get("timeoutSeconds", "60"))
        with self.api.lock:
            seen = next(
                (i for i, one in enumerate(self.api.changes) if one[0] > version),
                len(self.api.changes),
            )
            epoch = self.api.epoch
        while True:
            with self.api.lock:
                while seen >= len(self.api.changes) and epoch == self.api.epoch:
                    left = deadline - time.monotonic()
                    if left <= 0 or self.api.closed:
                        return
                    self.api.lock.wait(left)
                fresh, seen = self.api.changes[seen:], len(self.api.changes)
                is_dropped = epoch != self.api.epoch
            for _, kind, of, item in fresh:
                is_asked_for = of == plural and selected(item, query.get("labelSelector", ""))
                if is_asked_for and selected_fields(item, query.get("fieldSelector", "")):
                    yield {"type": kind, "object": item}
            if is_dropped:
                return

    def _log(self, path: str, query: dict[str, str]) -> None:
        pod = path.split("/")[-2]
        if pod not in self.api.logs:
            self._status(404, "NotFound", f'pods "{pod}" not found')
            return
        self._begin()
        sent = 0
        while True:
            with self.api.lock:
                lines = list(self.api.logs[pod])
                is_over = pod in self.api.ended_logs or query.get("follow") != "true"
            if query.get("tailLines") and not sent:
                sent = max(0, len(lines) - int(query["tailLines"]))
            for line in lines[sent:]:
                self._chunk(f"{now()} {line}\n".encode())
            sent = len(lines)
            if is_over or self.api.closed:
                break
            time.sleep(0.02)
        self._chunk(b"")

    def _answer_root(self, path: str) -> None:
        if path == "/version":
            self._answer(200, {"major": "1", "minor": "36", "gitVersion": "v1.36.0"})
        else:
            self._answer(200, {"kind": "APIGroupList", "groups": []})

    def _answer_fault(self, fault: Fault) -> None:
        if fault.status == 0:
            self.close_connection = True
            return
        causes = [{"reason": fault.reason}] if fault.reason else []
        body = {
            "kind": "Status",
            "message": f"scripted {fault.status}",
            "reason": "Conflict" if fault.status == 409 else "",
            "details": {"causes": causes},
        }
        self._answer(fault.status, body, fault.headers)

    def _status(self, code: int, reason: str, message: str) -> None:
        self._answer(code, {"kind": "Status", "reason": reason, "message": message, "code": code})

    def _answer(self, code: int, body: Object, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()

    def _chunk(self, data: bytes) -> None:
        try:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()
        except OSError:
            self.close_connection = True

    # --- requests

    def _address(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        return parts.path, dict(parse_qsl(parts.query))

    def _note(self, method: str, path: str) -> Fault | None:
        with self.api.lock:
            plural, _ = self._resource(path)
            self.api.requests[f"{method} {plural}"] += 1
        return self.api.take_fault(method, path)

    def _body(self) -> Object:
        length = int(self.headers.get("Content-Length") or 0)
        body: Object = json.loads(self.rfile.read(length) or b"{}")
        return body

    @staticmethod
    def _resource(path: str) -> tuple[str, str]:
        """(plural, name or "")."""
        parts = path.strip("/").split("/")
        rest = parts[3:] if parts[0] == "apis" else parts[2:]
        if rest[:1] == ["namespaces"] and len(rest) > 2:
            rest = rest[2:]
        return (rest[0] if rest else ""), (rest[1] if len(rest) > 1 else "")


def _merge(before: Any, patch: Any) -> Any:
    if not isinstance(before, dict) or not isinstance(patch, dict):
        return patch
    return {**before, **{key: _merge(before.get(key), value) for key, value in patch.items()}}


@contextmanager
def api_server() -> Iterator[ApiServer]:
    """A server for a block."""
    server = ApiServer()
    try:
        yield server
    finally:
        server.close()
