"""What following many stages on a cluster costs: watches, memory, requests and time.

    python tests/bench/bench_k8s_executor.py [--stages 500] [--side-by-side 100]

The real client talks to the scripted API server in another process; objects end as soon as they
are there. Counted: API requests of a stage's life from its submission to its end, open watches of a
kind at one time, the growth of this process, and its CPU time.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pipeline.executors.kubernetes.client import Cluster
from pipeline.executors.kubernetes.executor import KubernetesExecutor
from pipeline.executors.kubernetes.manifest.order import make_order, read_order
from pipeline.executors.kubernetes.manifest.stages import stage_objects
from pipeline.spec.cluster import ClusterSettings
from pipeline.spec.job import Job
from pipeline.storage.digests import sha256_bytes
from tests.jobs import job_of
from tests.kubernetes.api_server import ApiServer
from tests.kubernetes.objects import pod, terminated, true

SETTINGS = ClusterSettings(image="registry.example/pipeline:1")
MAX_MEMORY_BYTES = 200 * 2**20


def serve(folder: str, line: Connection) -> None:
    """The API server, and a controller that runs each JobSet's two pods to their end."""
    server = ApiServer()
    server.kubeconfig(Path(folder))
    line.send("ready")
    done: set[str] = set()
    while not line.poll(0.01):
        with server.lock:
            there = server.objects.get("jobsets", {})
            new = {name: dict(there[name]["metadata"]["labels"]) for name in there.keys() - done}
        done |= new.keys()
        for name, labels in new.items():
            _run(server, name, labels)
    counts = {"requests": dict(server.requests), "watches": dict(server.most_watching)}
    line.send(json.dumps(counts))
    server.close()


def _run(server: ApiServer, name: str, labels: dict[str, str]) -> None:
    phases: Sequence[tuple[str, dict[str, Any]]] = (("Pending", {}), ("Running", {"running": {}}))
    ended = ("Succeeded", terminated(0, 1, reason="Completed"))
    for phase, state in (*phases, ended):
        for index in (0, 1):
            item = pod(index, owner=name, restart=0, phase=phase, state=state)
            item["metadata"]["labels"] |= labels
            server.put("pods", item)
    status = {"terminalState": "Completed", "conditions": [true("Completed")]}
    server.edit("jobsets", name, lambda one: one.update(status=status))


def render(job: Job) -> list[dict[str, object]]:
    return stage_objects(make_order(job, SETTINGS, environ={}), SETTINGS)


def jobs(count: int) -> list[Job]:
    return [
        job_of(
            pipeline="bench",
            stage=f"train[{number}]",
            attempt_id=f"attempt-{number}",
            plan_key=sha256_bytes(str(number).encode()),
            launch="gang",
            nodes=2,
            config={"text": "x" * 2000},
            store="s3://bucket/store",
        )
        for number in range(count)
    ]


def follow(executor: KubernetesExecutor, waiting: list[Job], side_by_side: int) -> float:
    """Seconds from the first submission to the last end."""
    began, running = time.monotonic(), 0
    while waiting or running:
        while waiting and running < side_by_side:
            executor.submit(waiting.pop())
            running += 1
        running -= len(executor.wait(1.0))
    return time.monotonic() - began


def memory_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--stages", type=int, default=500)
    parser.add_argument("--side-by-side", type=int, default=500)
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(folder, theirs), daemon=True
        )
        process.start()
        ours.recv()
        cluster = Cluster("pipeline", kubeconfig=f"{folder}/kubeconfig")
        executor = KubernetesExecutor(cluster, render, read_order, image=SETTINGS.image or "")
        cpu = time.process_time()
        seconds = follow(executor, jobs(options.stages), options.side_by_side)
        cpu = time.process_time() - cpu
        executor.close()
        ours.send("end")
        counts = json.loads(ours.recv())
        process.join()
    calls = sum(cluster.calls.values())
    print(f"stages                    {options.stages}, {options.side_by_side} side by side")
    print(f"wall, CPU of the runner   {seconds:.1f} s, {cpu:.1f} s")
    print(f"peak memory of the runner {memory_bytes() / 2**20:.0f} MiB (allowed: 200)")
    print(f"watches of a kind at most {max(counts['watches'].values())}: {counts['watches']}")
    print(f"API calls                 {calls}, {calls / options.stages:.2f} a stage's life")
    for call, number in sorted(cluster.calls.items()):
        print(f"  {call:23} {number}")
    assert max(counts["watches"].values()) == 1
    assert memory_bytes() < MAX_MEMORY_BYTES


if __name__ == "__main__":
    main()
