"""Pods of rendered objects as processes of this machine: the same command, environment and files.

What a cluster gives a pod beside its template (addresses, indexes, labels) is given here too; what
it isolates (file systems, networks) is kept apart by folders and by addresses of the loopback.
"""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.executors.local.machine import reserve_port
from pipeline.spec.attempt import NodeExit

_NUMBERS = itertools.count(1)


@dataclass
class Pod:
    """A pod that runs."""

    process: "subprocess.Popen[str]"
    folder: Path
    port: int
    """Where its agent serves /metrics and /healthz."""

    def wait(self, seconds: float = 60.0) -> int:
        """The exit code of its container."""
        self.output = self.process.communicate(timeout=seconds)[0]
        return self.process.returncode

    def delete(self) -> None:
        """As `kubectl delete pod`: SIGTERM first."""
        self.process.terminate()

    def kill(self) -> None:
        """As a node that is gone."""
        self.process.kill()

    @property
    def termination(self) -> NodeExit | None:
        """What the cluster shows of its end."""
        return NodeExit.read(self.folder / "termination")

    output: str = ""


class Kubelet:
    """Runs pods; `close` kills what is left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pods: list[Pod] = []
        with reserve_port() as reserved:
            self._hub_port = reserved.getsockname()[1]

    def start(
        self,
        objects: Sequence[Mapping[str, Any]],
        *,
        index: int | None = None,
        uid: str = "0123456789ab",
        restart: int | None = None,
        **environment: str,
    ) -> Pod:
        """A pod of the workload that the objects begin with.

        Args:
            objects: as `stage_objects` gives them.
            index: completion index; None for a Job that has none.
            uid: of the pod's Job.
            restart: of its JobSet.
            environment: what `cluster.env` would bring out of Secrets.
        """
        template = pod_template(objects[0])
        folder = self._folder / f"pod-{next(_NUMBERS)}"
        folder.mkdir(parents=True)
        labels = template["metadata"]["labels"] | {"batch.kubernetes.io/controller-uid": uid}
        if restart is not None:
            labels["jobset.sigs.k8s.io/restart-attempt"] = str(restart)
        metadata = {**template["metadata"], "labels": labels, "name": "pod", "namespace": "test"}
        facts = {"metadata": metadata, "status": {"podIP": f"127.0.0.{10 + (index or 0)}"}}
        container = template["spec"]["containers"][0]
        for volume in template["spec"]["volumes"]:
            for item in volume.get("downwardAPI", {}).get("items", ()):
                mount = _mount_of(container, volume["name"])
                path = folder / mount.lstrip("/") / item["path"]
                path.parent.mkdir(parents=True)
                path.write_text(_fact(facts, item["fieldRef"]["fieldPath"]))
        variables = {one["name"]: _value(one, facts, environment) for one in container["env"]}
        for name in ("scratch", "etc/pipeline", "dev/termination-log"):
            local = str(folder / name.replace("dev/termination-log", "termination"))
            variables = {key: _moved(text, f"/{name}", local) for key, text in variables.items()}
        with reserve_port() as reserved:
            port = reserved.getsockname()[1]
        variables |= {
            "PATH": os.environ["PATH"],
            "PIPELINE_METRICS_PORT": str(port),
            "PIPELINE_HUB_PORT": str(self._hub_port),
            # One core a test: what it computes with is the job's matter.
            "MKL_THREADING_LAYER": "SEQUENTIAL",
        }
        if "PIPELINE_MEETING_ADDRESS" in variables:
            variables["PIPELINE_MEETING_ADDRESS"] = "127.0.0.10"  # what the DNS would say
        if index is not None:
            variables["JOB_COMPLETION_INDEX"] = str(index)
        (folder / "scratch").mkdir()
        process = subprocess.Popen(
            [sys.executable, *container["command"][1:]],
            env=variables,
            cwd=folder / "scratch",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        pod = Pod(process, folder, port)
        self._pods.append(pod)
        return pod

    def close(self) -> None:
        for pod in self._pods:
            if pod.process.poll() is None:
                os.killpg(pod.process.pid, signal.SIGKILL)
            pod.process.wait(10)
            assert pod.process.stdout is not None
            pod.process.stdout.close()


def pod_template(workload: Mapping[str, Any]) -> dict[str, Any]:
    """The pod template of a Job, or of a JobSet's one replicated job."""
    spec = workload["spec"]
    if workload["kind"] == "JobSet":
        (replicated,) = spec["replicatedJobs"]
        spec = replicated["template"]["spec"]
    template: dict[str, Any] = spec["template"]
    return template


def _mount_of(container: Mapping[str, Any], volume: str) -> str:
    (mount,) = (m["mountPath"] for m in container["volumeMounts"] if m["name"] == volume)
    return str(mount)


def _value(
    variable: Mapping[str, Any], facts: Mapping[str, Any], secrets: Mapping[str, str]
) -> str:
    if "value" in variable:
        return str(variable["value"])
    source = variable["valueFrom"]
    if "fieldRef" in source:
        return _fact(facts, source["fieldRef"]["fieldPath"])
    return secrets[variable["name"]]


def _fact(facts: Mapping[str, Any], path: str) -> str:
    """A field as the downward API gives it; a label that is not there is empty."""
    head, bracket, key = path.partition("['")
    value: Any = facts
    for part in head.split("."):
        value = value[part]
    return str(value.get(key.removesuffix("']"), "")) if bracket else str(value)


def _moved(text: str, mount: str, local: str) -> str:
    return local + text[len(mount) :] if text == mount or text.startswith(f"{mount}/") else text
