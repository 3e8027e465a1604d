"""`pipeline run --detach` and `pipeline attach`: a runner inside the cluster, and a look at it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.options import StoreUrl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.executors.kubernetes.client import Cluster
    from pipeline.runner.record import Request
    from pipeline.spec.dag import Dag
    from pipeline.storage import Store

Whom = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN", help="A run's id, or a runner's Job; default the last that was detached."
    ),
]
Namespace = Annotated[
    str | None, typer.Option("--namespace", help="Of a runner's Job; default the last one's.")
]
_POLL_SECONDS = 1.0
_REPLACE_SECONDS = 120.0


def detach(request: Request, dag: Dag, arguments: Sequence[str], store: str | None = None) -> None:
    """Puts a runner for this DAG into the cluster, where it needs nobody.

    Args:
        request: of the run.
        dag: what it loads to.
        arguments: more of `pipeline run`'s.
        store: URL that takes the place of the DAG's.

    Raises:
        UserError: pods could not find what the DAG names, or it is to run elsewhere.
        InfrastructureError: the cluster refused.
    """
    from pipeline.cli.cluster import connect
    from pipeline.cli.session import remember_detached, remember_store
    from pipeline.errors import UserError
    from pipeline.executors.kubernetes.manifest.checks import check_cluster
    from pipeline.executors.kubernetes.manifest.runner import RunRequest, runner_objects
    from pipeline.storage import Store

    if dag.on != "kubernetes":
        msg = f"--detach puts the runner into a cluster, but this is to run on: {dag.on}. Add --on kubernetes"
        raise UserError(msg)
    check_cluster(dag)
    asked = RunRequest(
        dag=dag.name,
        text=request.text,
        profile=request.profile,
        values=[text for _, text in request.values],
        sets=[one for one in request.sets if not one.startswith("on=")],
        arguments=arguments,
    )
    objects = runner_objects(asked, dag.cluster)
    name = objects[-1]["metadata"]["name"]
    cluster = connect(dag.cluster.namespace)
    try:
        if _make_room(cluster, name):
            _apply(cluster, objects)
            print(f"runner {name} started in namespace {dag.cluster.namespace}")
        else:
            print(f"runner {name} is at work already in namespace {dag.cluster.namespace}")
    finally:
        cluster.close()
    note = {"job": name, "namespace": dag.cluster.namespace}
    if url := store or dag.store:
        # What `status`, `logs`, `cancel` and `resume` ask, also where an older run was elsewhere.
        place = Store(url)
        remember_store(place)
        note["store"] = place.url
    remember_detached(note)
    print(f"follow it with `pipeline attach {name}`; stop it with `pipeline cancel`, or all of it")
    print(f"with `kubectl -n {dag.cluster.namespace} delete job {name}`")


def _apply(cluster: Cluster, objects: Sequence[dict[str, Any]]) -> None:
    """Applies ConfigMap and Job; the first goes when the second does."""
    from pipeline.executors.kubernetes.resources import resource_of

    config_map, job = objects
    cluster.apply(resource_of(config_map), config_map)
    there = cluster.apply(resource_of(job), job)
    owner = {
        "apiVersion": job["apiVersion"],
        "kind": job["kind"],
        "name": job["metadata"]["name"],
        "uid": there["metadata"]["uid"],
    }
    metadata = {**config_map["metadata"], "ownerReferences": [owner]}
    cluster.apply(resource_of(config_map), {**config_map, "metadata": metadata})


def _make_room(cluster: Cluster, name: str) -> bool:
    """Removes an ended runner of the same name; False when it is still at work."""
    from pipeline.errors import InfrastructureError
    from pipeline.executors.kubernetes.resources import JOB, POD

    job = cluster.get(JOB, name)
    if job is None:
        return True
    if _verdict(job) is None:
        return False
    pods, _ = cluster.list(POD, labels=f"batch.kubernetes.io/job-name={name}")
    for pod in pods:
        cluster.delete(POD, pod["metadata"]["name"])
    # Stages that it left at work are its own too: the new runner takes them over.
    cluster.delete(JOB, name, keep_owned=True)
    give_up = time.monotonic() + _REPLACE_SECONDS
    while cluster.get(JOB, name) is not None:
        if time.monotonic() > give_up:
            msg = f"the Job {name} of an earlier run does not go away"
            raise InfrastructureError(msg)
        time.sleep(_POLL_SECONDS)
    return True


def attach(run_id: Whom = None, store: StoreUrl = None, namespace: Namespace = None) -> None:
    """Follows a run that goes on elsewhere, and ends as it does. Ctrl-C leaves it alone."""
    from pipeline.cli.session import find_run, last_detached, open_store
    from pipeline.errors import UserError

    note = last_detached()
    is_runner = namespace is not None or run_id in (None, note.get("job"))
    if note and is_runner:
        job = run_id or note["job"]
        _follow_runner(job, namespace or note["namespace"])
        return
    if namespace is not None:
        if run_id is None:
            msg = "name the runner's Job, or a run"
            raise UserError(msg)
        _follow_runner(run_id, namespace)
        return
    place = open_store(store)
    _follow_run(place, find_run(place, run_id))


def _follow_run(store: Store, run: str) -> None:
    """Prints a run's events as they come, from its store."""
    from pipeline.cli.sentences import sentence
    from pipeline.runner.journal import read_entries
    from pipeline.runner.outcome import RunOutcome
    from pipeline.runner.run import current_state
    from pipeline.runner.state import RunState

    state = RunState(run)
    while True:
        # Before the events: whatever they say after this was said while it ran.
        now = current_state(store, run)
        for entry in read_entries(store, run, state.entries + 1):
            state.apply(entry)
            if text := sentence(entry.event, state):
                print(f"{time.strftime('%H:%M:%S', time.localtime(entry.time))} {text}", flush=True)
        if now.status != "running":
            break
        time.sleep(_POLL_SECONDS)
    outcome = RunOutcome(now)
    if outcome.error is not None:
        raise outcome.error


def _follow_runner(name: str, namespace: str) -> None:
    """Prints what a runner's pods print, until its Job has ended."""
    from pipeline.cli.cluster import connect
    from pipeline.cli.waiting import Waiting
    from pipeline.errors import UserError
    from pipeline.executors.kubernetes.pods import view_pod
    from pipeline.executors.kubernetes.resources import JOB, POD

    cluster = connect(namespace)
    followed: set[str] = set()
    waiting = Waiting(name)
    try:
        while True:
            job = cluster.get(JOB, name)
            if job is None:
                msg = f"there is no runner {name} in namespace {namespace}"
                raise UserError(msg)
            pods, _ = cluster.list(POD, labels=f"batch.kubernetes.io/job-name={name}")
            for pod in sorted(pods, key=lambda one: str(one["metadata"].get("creationTimestamp"))):
                view = view_pod(pod)
                if view.name not in followed and (view.is_running or view.end is not None):
                    followed.add(view.name)
                    _print_pod(cluster, view.name)
            verdict = _verdict(job)
            if verdict is not None:
                _end_as(verdict, [view_pod(pod).end for pod in pods])
                return
            waiting.look(cluster, job, [view_pod(pod) for pod in pods])
            time.sleep(_POLL_SECONDS)
    finally:
        cluster.close()


def _print_pod(cluster: Cluster, pod: str) -> None:
    from pipeline.executors.kubernetes.wire import ApiError

    try:
        for line in cluster.log(pod, container="runner", follow=True):
            print(line.partition(b" ")[2].decode(errors="replace"), flush=True)
    except ApiError as exc:
        print(f"(no log of {pod}: {exc})", file=sys.stderr)


def _verdict(job: dict[str, Any]) -> str | None:
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("status") == "True" and condition.get("type") in ("Complete", "Failed"):
            return str(condition["type"])
    return None


def _end_as(verdict: str, ends: Sequence[Any]) -> None:
    """As the runner itself ended: its exit code is ours."""
    from pipeline.errors import ExitCode

    if verdict == "Complete":
        return
    codes = [end.exit_code for end in ends if end is not None and end.exit_code]
    known = [code for code in codes if code in list(ExitCode)]
    raise typer.Exit(known[-1] if known else ExitCode.INFRASTRUCTURE)
