"""A small cluster behind the scripted API server: controllers, a scheduler, and pods that run.

Of JobSet, Job, scheduler and kubelet it plays what a runner can see: the objects they make, the
order in which status changes, the words they use. Pods are processes with the pod's own command.
"""

import os
import re
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kubelet import Kubelet, Pod, pod_template
from tests.kubernetes.api_server import ApiServer, Object, now

JOBSET_NAME = "jobset.sigs.k8s.io/jobset-name"
RESTART = "jobset.sigs.k8s.io/restart-attempt"
JOB_NAME = "batch.kubernetes.io/job-name"
INDEX = "batch.kubernetes.io/job-completion-index"
UID = "batch.kubernetes.io/controller-uid"
_TICK_SECONDS = 0.02


@dataclass
class Running:
    """A pod's process; `kill_at` is when its grace is over."""

    pod: Pod
    reader: threading.Thread
    kill_at: float | None = None


@dataclass
class Simulation:
    """The cluster.

    Attributes:
        server: the API server.
        nodes: name -> pods it can hold.
        images: those that can be pulled.
        oom: names of stages whose next pod is killed for its memory.
        queue_is_full: new workloads are suspended, as Kueue does.
    """

    server: ApiServer
    kubelet: Kubelet
    nodes: dict[str, int] = field(default_factory=lambda: {"worker-1": 4, "worker-2": 4})
    images: set[str] = field(default_factory=lambda: {"pipeline:test"})
    queue_is_full: bool = False
    _running: dict[str, Running] = field(default_factory=dict)
    _doomed: set[str] = field(default_factory=set)
    _count: int = 0
    _end: bool = False
    problem: str = ""

    def start(self) -> None:
        self.server.on_delete = self._on_delete
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._end = True
        self._thread.join(10)
        self.kubelet.close()
        assert not self.problem, self.problem

    # --- what a test does

    def pods(self, **labels: str) -> list[Object]:
        return [
            pod
            for pod in self.server.all("pods")
            if labels.items() <= pod["metadata"]["labels"].items()
        ]

    def kill(self, pod: str, number: int = signal.SIGKILL) -> None:
        """Kills a pod's container from outside of it; its status says so."""
        os.killpg(self._running[pod].pod.process.pid, number)

    def doom(self, pod: str, **status: Any) -> None:
        """Kills a pod; its status then holds `status` too: a reason, conditions, OOMKilled."""
        self._doomed.add(pod)
        self.server.edit("pods", pod, lambda item: item["status"].update(doom=status))
        self.kill(pod)

    def delete(self, pod: str, grace: int = 30) -> None:
        """`kubectl delete pod`."""
        item = self.server.get("pods", pod)
        assert item is not None
        self._on_delete("pods", item, grace)

    # --- controllers

    def _loop(self) -> None:
        while not self._end:
            try:
                with self.server.lock:
                    for item in self.server.all("jobsets"):
                        self._jobset(item)
                    for item in self.server.all("jobs"):
                        self._job(item)
                    for item in self.server.all("pods"):
                        self._pod(item)
            except Exception as exc:
                self.problem = repr(exc)
                raise
            time.sleep(_TICK_SECONDS)

    def _jobset(self, item: Object) -> None:
        name, status = item["metadata"]["name"], item.get("status") or {}
        if _verdict(item) or self._held_back("jobsets", item):
            return
        restarts = status.get("restarts", 0)
        jobs = [
            j for j in self.server.all("jobs") if j["metadata"]["labels"].get(JOBSET_NAME) == name
        ]
        if not jobs:
            if not self.pods(**{JOBSET_NAME: name}):
                self._make_job(item, restarts)
            return
        (job,) = jobs
        labels = job["metadata"]["labels"]
        if int(labels[RESTART]) < restarts:
            self._on_delete("jobs", job, None)
            self.server.remove("jobs", job["metadata"]["name"])
        elif _verdict(job) == "Complete":
            self._set(item, "jobsets", terminalState="Completed", conditions=[_true("Completed")])
        elif _verdict(job) == "Failed":
            self._jobset_failed(item, job, restarts)

    def _jobset_failed(self, item: Object, job: Object, restarts: int) -> None:
        failed = next(c for c in job["status"]["conditions"] if c["type"] == "Failed")
        policy = item["spec"]["failurePolicy"]
        counted = (item.get("status") or {}).get("restartsCountTowardsMax", 0)
        action = "RestartJobSet"
        for rule in policy.get("rules", ()):
            reasons = rule.get("onJobFailureReasons") or [failed["reason"]]
            patterns = rule.get("onJobFailureMessagePatterns") or [""]
            if failed["reason"] in reasons and any(
                re.search(one, failed["message"]) for one in patterns
            ):
                action = rule["action"]
                break
        if action == "FailJobSet" or (
            action == "RestartJobSet" and counted >= policy["maxRestarts"]
        ):
            reason = (
                "FailJobSetFailurePolicyAction" if action == "FailJobSet" else "ReachedMaxRestarts"
            )
            condition = _true("Failed", reason, f"jobset failed: {failed['message']}")
            self._set(item, "jobsets", terminalState="Failed", conditions=[condition])
        else:
            more = 1 if action == "RestartJobSet" else 0
            self._set(
                item, "jobsets", restarts=restarts + 1, restartsCountTowardsMax=counted + more
            )

    def _make_job(self, jobset: Object, restarts: int) -> None:
        (replicated,) = jobset["spec"]["replicatedJobs"]
        name = jobset["metadata"]["name"]
        labels = {
            **replicated["template"]["metadata"]["labels"],
            JOBSET_NAME: name,
            RESTART: str(restarts),
        }
        self._count += 1
        metadata = {
            "name": f"{name}-{replicated['name']}-0",
            "uid": f"{self._count:08}-job",
            "labels": labels,
            "annotations": {JOBSET_NAME: name},
            "ownerReferences": [{"kind": "JobSet", "name": name}],
        }
        spec = replicated["template"]["spec"]
        self.server.put("jobs", {"metadata": metadata, "spec": spec, "status": {}})

    def _job(self, item: Object) -> None:
        name, spec = item["metadata"]["name"], item["spec"]
        is_child = JOBSET_NAME in item["metadata"]["labels"]
        is_runner = item["metadata"]["labels"].get("app.kubernetes.io/component") == "runner"
        if is_runner or _verdict(item) or (not is_child and self._held_back("jobs", item)):
            return
        pods = self.pods(**{JOB_NAME: name})
        ended = [pod for pod in pods if pod["status"]["phase"] in ("Failed", "Succeeded")]
        conditions = (item.get("status") or {}).get("conditions") or []
        if conditions:  # FailureTarget: failed once all others have ended
            if len(ended) == len(pods):
                target = conditions[0]
                failed = _true("Failed", target["reason"], target["message"])
                self._set(item, "jobs", conditions=[target, failed])
            return
        done = {_index(pod) for pod in ended if pod["status"]["phase"] == "Succeeded"}
        wanted = set(range(spec["completions"]))
        if done == wanted:
            self._set(item, "jobs", conditions=[_true("Complete")])
            return
        if self._judge(item, [pod for pod in ended if pod["status"]["phase"] == "Failed"]):
            return
        alive = {_index(pod) for pod in pods if pod not in ended}
        for index in sorted(wanted - done - alive):
            self._make_pod(item, index)

    def _judge(self, job: Object, failed: list[Object]) -> bool:
        """Whether the failed pods fail the Job."""
        spec = job["spec"]
        counted: dict[int, int] = {}
        for pod in failed:
            action, message = _policy(job, pod)
            if action == "FailJob":
                self._fail(job, "PodFailurePolicy", message)
                return True
            if action == "Count":
                counted[_index(pod)] = counted.get(_index(pod), 0) + 1
        if "backoffLimitPerIndex" in spec:
            if any(number > spec["backoffLimitPerIndex"] for number in counted.values()):
                self._fail(job, "FailedIndexes", "Job has failed indexes")
                return True
        elif sum(counted.values()) > spec["backoffLimit"]:
            self._fail(job, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
            return True
        return False

    def _fail(self, job: Object, reason: str, message: str) -> None:
        self._set(job, "jobs", conditions=[_true("FailureTarget", reason, message)])
        for pod in self.pods(**{JOB_NAME: job["metadata"]["name"]}):
            if pod["status"]["phase"] in ("Pending", "Running"):
                self._on_delete("pods", pod, None)

    def _make_pod(self, job: Object, index: int) -> None:
        self._count += 1
        template = job["spec"]["template"]
        name = f"{job['metadata']['name']}-{index}-x{self._count:04}"
        labels = {
            **template["metadata"]["labels"],
            JOB_NAME: job["metadata"]["name"],
            UID: job["metadata"]["uid"],
            INDEX: str(index),
        }
        for key in (JOBSET_NAME, RESTART):
            if key in job["metadata"]["labels"]:
                labels[key] = job["metadata"]["labels"][key]
        self.server.put(
            "pods",
            {
                "metadata": {"name": name, "labels": labels},
                "spec": {"nodeName": "", **template["spec"]},
                "status": {"phase": "Pending", "conditions": [], "containerStatuses": []},
            },
        )

    # --- scheduler and kubelet

    def _pod(self, item: Object) -> None:
        name, status = item["metadata"]["name"], item["status"]
        if status["phase"] == "Pending":
            self._schedule(item)
        elif name in self._running:
            running = self._running[name]
            if running.kill_at is not None and time.monotonic() > running.kill_at:
                running.kill_at = None
                with suppress(ProcessLookupError):
                    self.kill(name)
            if running.pod.process.poll() is not None:
                running.reader.join(5)
                self._ended(item, running)

    def _schedule(self, item: Object) -> None:
        metadata, spec = item["metadata"], item["spec"]
        if "deletionTimestamp" in metadata:
            self.server.remove("pods", metadata["name"])
            return
        if not spec["nodeName"]:
            used = [
                pod["spec"]["nodeName"]
                for pod in self.server.all("pods")
                if pod["status"]["phase"] in ("Pending", "Running")
            ]
            free = {name: size - used.count(name) for name, size in self.nodes.items()}
            node = max(free, key=lambda name: free[name], default="")
            if not node or free[node] <= 0:
                message = f"0/{len(self.nodes)} nodes are available: 1 Insufficient cpu."
                unscheduled = {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": message,
                }
                if item["status"]["conditions"] != [unscheduled]:
                    self._set(item, "pods", conditions=[unscheduled])
                return
            spec["nodeName"] = node
            item["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}]
            self.server.put("pods", item)
        container = spec["containers"][0]
        if container["image"] not in self.images:
            message = f'failed to pull image "{container["image"]}": not found'
            waiting = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
            if not item["status"]["containerStatuses"]:
                self._container(item, waiting)
            return
        self._run(item)

    def _run(self, item: Object) -> None:
        labels = item["metadata"]["labels"]
        owner = self.server.get("jobs", labels[JOB_NAME])
        if owner is None:
            return
        workload = {"kind": "Job", "spec": {"template": {**pod_template({**owner, "kind": "Job"})}}}
        workload["spec"]["template"]["metadata"]["labels"] = labels  # type: ignore[index]
        indexed = owner["spec"].get("completionMode") == "Indexed"
        pod = self.kubelet.start(
            [workload],
            index=int(labels[INDEX]) if indexed else None,
            uid=labels[UID],
            restart=int(labels[RESTART]) if RESTART in labels else None,
        )
        name = item["metadata"]["name"]
        lines = self.server.logs.setdefault(name, [])
        reader = threading.Thread(target=_read, args=(pod, lines), daemon=True)
        reader.start()
        self._running[name] = Running(pod, reader)
        item["status"]["phase"] = "Running"
        self._container(item, {"running": {"startedAt": now()}})

    def _ended(self, item: Object, running: Running) -> None:
        name, code = item["metadata"]["name"], running.pod.process.returncode
        del self._running[name]
        self.server.ended_logs.add(name)
        doom = item["status"].pop("doom", {})
        told = running.pod.folder / "termination"
        terminated = {
            "exitCode": code if code >= 0 else 128 - code,
            "reason": doom.pop("container_reason", "Error" if code else "Completed"),
            "finishedAt": now(),
            "message": told.read_text() if told.exists() else "",
        }
        item["status"].update(doom)
        item["status"]["phase"] = "Failed" if code else "Succeeded"
        self._container(item, {"terminated": terminated})
        if "deletionTimestamp" in item["metadata"]:
            # The Job's controller counts it first; then its finalizer goes, and the pod.
            threading.Timer(0.1, self.server.remove, ("pods", name)).start()

    def _container(self, item: Object, state: Mapping[str, Any]) -> None:
        item["status"]["containerStatuses"] = [{"name": "agent", "state": dict(state)}]
        self.server.put("pods", item)

    # --- deleting

    def _on_delete(self, plural: str, item: Object, grace: int | None) -> bool:
        with self.server.lock:
            name = item["metadata"]["name"]
            if plural == "pods":
                self._delete_pod(item, grace)
                return True
            label = JOBSET_NAME if plural == "jobsets" else JOB_NAME
            if plural == "jobsets":
                for job in self.server.all("jobs"):
                    if job["metadata"]["labels"].get(JOBSET_NAME) == name:
                        self.server.remove("jobs", job["metadata"]["name"])
            for pod in self.pods(**{label: name}):
                self._delete_pod(pod, None)
            return False

    def _delete_pod(self, item: Object, grace: int | None) -> None:
        name = item["metadata"]["name"]
        if item["status"]["phase"] in ("Failed", "Succeeded"):
            self.server.remove("pods", name)
            return
        if grace is None:
            grace = item["spec"].get("terminationGracePeriodSeconds", 30)
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + grace))
        self.server.edit(
            "pods",
            name,
            lambda pod: pod["metadata"].update(
                deletionTimestamp=at, deletionGracePeriodSeconds=grace
            ),
        )
        running = self._running.get(name)
        if running is not None:
            running.kill_at = min(running.kill_at or float("inf"), time.monotonic() + grace)
            running.pod.delete()

    def _held_back(self, plural: str, item: Object) -> bool:
        is_suspended = bool(item["spec"].get("suspend"))
        if is_suspended != self.queue_is_full and not (item.get("status") or {}).get("started"):
            item["spec"]["suspend"] = self.queue_is_full
            self.server.put(plural, item)
        if not self.queue_is_full:
            self._set(item, plural, started=True)
        return self.queue_is_full

    def _set(self, item: Object, plural: str, **status: Any) -> None:
        before = item.setdefault("status", {})
        if any(before.get(key) != value for key, value in status.items()):
            before.update(status)
            self.server.put(plural, item)


def _policy(job: Object, pod: Object) -> tuple[str, str]:
    """What podFailurePolicy makes of a failed pod, in the controller's words."""
    state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    conditions = {(c["type"], c["status"]) for c in pod["status"].get("conditions") or ()}
    name = f"default/{pod['metadata']['name']}"
    for number, rule in enumerate(job["spec"].get("podFailurePolicy", {}).get("rules", ())):
        codes = rule.get("onExitCodes")
        if codes and state["exitCode"] in codes["values"]:
            text = (
                f"Container agent for pod {name} failed with exit code {state['exitCode']} "
                f"matching {rule['action']} rule at index {number}"
            )
            return rule["action"], text
        for one in rule.get("onPodConditions", ()):
            if (one["type"], one["status"]) in conditions:
                text = f"Pod {name} has condition {one['type']} matching {rule['action']} rule at index {number}"
                return rule["action"], text
    return "Count", ""


def _true(kind: str, reason: str = "", message: str = "") -> Object:
    return {"type": kind, "status": "True", "reason": reason, "message": message}


def _verdict(item: Object) -> str:
    status = item.get("status") or {}
    kinds = {one["type"] for one in status.get("conditions") or ()}
    return next((one for one in ("Complete", "Completed", "Failed") if one in kinds), "")


def _index(pod: Object) -> int:
    return int(pod["metadata"]["labels"][INDEX])


def _read(pod: Pod, lines: list[str]) -> None:
    assert pod.process.stdout is not None
    for line in pod.process.stdout:
        lines.append(line.rstrip("\n"))


@contextmanager
def simulation(server: ApiServer, folder: Path) -> Iterator[Simulation]:
    """A cluster for a block."""
    running = Simulation(server, Kubelet(folder / "pods"))
    running.start()
    try:
        yield running
    finally:
        running.close()
