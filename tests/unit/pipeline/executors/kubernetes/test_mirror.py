"""The mirror is what the server holds, whatever happens to its watches."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pipeline.executors.kubernetes.client import Cluster
from pipeline.executors.kubernetes.mirror import Mirror, Watched
from pipeline.executors.kubernetes.resources import JOB, POD
from pipeline.executors.kubernetes.wire import ApiError
from tests.kubernetes.api_server import ApiServer

PODS = Watched(POD, trim=dict, labels="ours=yes")


def pod(name: str, phase: str = "Pending") -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"ours": "yes"}}, "status": {"phase": phase}}


@contextmanager
def mirror(cluster: Cluster, *kinds: Watched) -> Iterator[Mirror]:
    running = Mirror(cluster, kinds or (PODS,))
    try:
        running.wait_until_complete(5.0)
        yield running
    finally:
        running.close()


def eventually(is_so: Callable[[], bool], seconds: float = 5.0) -> None:
    give_up = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < give_up, "it did not come to be"
        time.sleep(0.01)


def phases(running: Mirror) -> dict[str, str]:
    return {name: item["status"]["phase"] for name, item in running.objects(POD).items()}


def test_mirror_holds_what_was_there_and_what_comes(cluster: Cluster, server: ApiServer) -> None:
    server.put("pods", pod("a"))
    server.put("pods", {"metadata": {"name": "theirs"}})
    with mirror(cluster) as running:
        assert phases(running) == {"a": "Pending"}
        server.put("pods", pod("b"))
        server.put("pods", pod("a", "Running"))
        eventually(lambda: phases(running) == {"a": "Running", "b": "Pending"})


def test_deleted_object_is_told_once_more_with_its_last_state(
    cluster: Cluster, server: ApiServer
) -> None:
    server.put("pods", pod("a", "Failed"))
    with mirror(cluster) as running:
        assert running.take_changes(1.0)["pods", "a"]["status"]["phase"] == "Failed"
        server.remove("pods", "a")
        change = running.take_changes(5.0)["pods", "a"]
        assert (change["deleted"], change["status"]["phase"]) == (True, "Failed")
        assert phases(running) == {}


@pytest.mark.parametrize("kind", ["gone", "cut", "end"])
def test_watch_that_breaks_misses_nothing(cluster: Cluster, server: ApiServer, kind: str) -> None:
    server.fault("WATCH", "pods", kind=kind, after=1)
    with mirror(cluster) as running:
        for number in range(6):
            server.put("pods", pod("a", f"phase {number}"))
            server.put("pods", pod(f"b{number}"))
        eventually(lambda: len(phases(running)) == 7 and phases(running)["a"] == "phase 5")


def test_watch_from_a_version_that_was_compacted_lists_anew(
    cluster: Cluster, server: ApiServer
) -> None:
    with mirror(cluster) as running:
        server.put("pods", pod("a"))
        eventually(lambda: phases(running) == {"a": "Pending"})
        with server.lock:  # nothing is watched while all of this happens
            server.drop_watches()
            server.remove("pods", "a")
            server.put("pods", pod("b"))
            server.compact()
        eventually(lambda: phases(running) == {"b": "Pending"})
        eventually(lambda: running.take_changes(0.1).get(("pods", "a"), {}).get("deleted", False))


def test_server_that_is_away_is_waited_for(cluster: Cluster, server: ApiServer) -> None:
    with mirror(cluster) as running:
        server.fault("WATCH", "pods", status=503, times=2)
        server.fault("GET", "pods", status=500, times=2)
        server.drop_watches()
        server.put("pods", pod("a"))
        eventually(lambda: phases(running) == {"a": "Pending"}, 10.0)


def test_kind_that_may_not_be_read_is_refused_with_the_fix(
    cluster: Cluster, server: ApiServer
) -> None:
    server.forbidden.add("pods")
    running = Mirror(cluster, [PODS])
    with pytest.raises(ApiError, match="k8s/base"):
        running.wait_until_complete(5.0)
    running.close()


def test_optional_kind_that_may_not_be_read_is_empty(cluster: Cluster, server: ApiServer) -> None:
    server.forbidden.add("jobs")
    with mirror(cluster, PODS, Watched(JOB, trim=dict, is_optional=True)) as running:
        assert running.objects(JOB) == {}


def test_one_watch_a_kind_whatever_happens(cluster: Cluster, server: ApiServer) -> None:
    with mirror(cluster) as running:
        for number in range(5):
            server.put("pods", pod(f"a{number}"))
            server.drop_watches()
            names = {f"a{one}" for one in range(number + 1)}
            eventually(lambda names=names: names <= phases(running).keys())  # type: ignore[misc]
    assert server.most_watching["pods"] == 1


def test_close_returns_while_watches_are_silent(cluster: Cluster, server: ApiServer) -> None:
    with mirror(cluster) as running:
        began = time.monotonic()
        running.close()
        assert time.monotonic() - began < 2.0
        assert not any(thread.is_alive() for thread in running._threads)
