"""Rendered stages, run as their pods would run: processes with a pod's environment and files."""

import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from pipeline.cache import Artifacts, Leases, Results
from pipeline.executors.kubernetes.manifest.order import make_order
from pipeline.executors.kubernetes.manifest.stages import stage_objects
from pipeline.planner.code_digest import CodeDigests
from pipeline.planner.memo import Memo
from pipeline.spec.cluster import ClusterSettings, SecretKey
from pipeline.spec.job import EnvironmentValue
from pipeline.spec.kinds import load_kind
from pipeline.spec.pod import InputPort, Upstream
from pipeline.storage import Store
from pipeline.storage.digests import sha256_bytes
from tests.attempts import make_artifact, make_result
from tests.integration.node.attempts import TOYS, wait_for
from tests.jobs import job_of
from tests.kubelet import Kubelet, Pod

KIND = f"{TOYS}:TOY"
PLAN_KEY = sha256_bytes(b"plan")
CONTENT_KEY = sha256_bytes(b"content")
GANG: dict[str, Any] = {"launch": "gang", "nodes": 2}


@pytest.fixture
def kubelet(tmp_path: Path) -> Iterator[Kubelet]:
    kubelet = Kubelet(tmp_path / "pods")
    yield kubelet
    kubelet.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def code_parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    memo = Memo(tmp_path_factory.mktemp("memo") / "digests.db")
    digests = CodeDigests(memo).of(load_kind(KIND), KIND)
    memo.close()
    return {f"code.{name}": digest for name, digest in digests.items()}


class Stage:
    """A toy stage as the runner would submit it, or as it would be applied by hand."""

    def __init__(self, store: Store, parts: dict[str, str], kubelet: Kubelet) -> None:
        self.store = store
        self._parts = parts
        self._kubelet = kubelet
        self.settings = ClusterSettings(image="registry:5000/pipeline:1.4", grace_seconds=10)

    def objects(
        self,
        do: str,
        *,
        by: int | None = None,
        otherwise: str = "write",
        by_hand: dict[str, InputPort] | None = None,
        environ: dict[str, str] | None = None,
        **fields: Any,
    ) -> list[dict[str, Any]]:
        values: dict[str, Any] = {
            "run": "r",
            "stage": "toy",
            "attempt_id": "r-1",
            "pipeline": "dag",
            "kind": KIND,
            "config": {"do": do, "by": by, "otherwise": otherwise},
            "plan_key": PLAN_KEY,
            "content_key": CONTENT_KEY if by_hand is None else "",
            "key_parts": self._parts,
            "code_digest": "c0de" * 16,
            "store": self.store.url,
        }
        job = job_of(**values | fields)
        order = make_order(job, self.settings, environ=environ or {}, inputs=by_hand)
        return stage_objects(order, self.settings)

    def start(self, do: str, *, pods: int = 1, uid: str = "1" * 12, **fields: Any) -> list[Pod]:
        objects = self.objects(do, **fields)
        return [self._kubelet.start(objects, index=index, uid=uid) for index in range(pods)]

    def texts(self) -> dict[str, str]:
        result = Results(self.store).lookup(PLAN_KEY)
        assert result is not None
        folder = Artifacts(self.store).open(result.artifacts["out"])
        return {path.name: path.read_text() for path in sorted(folder.iterdir())}


@pytest.fixture
def stage(store: Store, code_parts: dict[str, str], kubelet: Kubelet) -> Stage:
    return Stage(store, code_parts, kubelet)


def test_process_records_its_result_under_both_keys(stage: Stage) -> None:
    (pod,) = stage.start("write")
    assert pod.wait() == 0, pod.output
    assert stage.texts() == {"part-0.txt": "x"}
    for key in (PLAN_KEY, CONTENT_KEY):
        result = Results(stage.store).lookup(key)
        assert result is not None
        assert result.attempt_id == "r-1-11111111"
    assert Results(stage.store).latest("dag", "toy") == PLAN_KEY
    assert stage.store.list(f"staging/{PLAN_KEY}") == []


def test_gang_of_two_pods_meets_and_commits_every_ranks_files(stage: Stage) -> None:
    pods = stage.start("meet", pods=2, **GANG)
    assert [pod.wait() for pod in pods] == [0, 0], "\n".join(pod.output for pod in pods)
    assert stage.texts() == {"part-0.txt": "2.0", "part-1.txt": "2.0"}
    assert "[rank 1] met 2" in pods[1].output


def test_gang_whose_pod_is_deleted_saves_and_ends_with_75_everywhere(stage: Stage) -> None:
    pods = stage.start("wait for stop", pods=2, **GANG)
    for pod in pods:
        wait_for(lambda pod=pod: _is_running(pod), 30)  # type: ignore[misc]
    pods[1].delete()
    assert [pod.wait() for pod in pods] == [75, 75], pods[0].output


@pytest.mark.parametrize(("do", "code"), [("bad data", 65), ("bug", 1), ("segfault", 139)], ids=str)
def test_gang_in_which_one_rank_fails_ends_everywhere_with_its_code_and_cause(
    stage: Stage, do: str, code: int
) -> None:
    pods = stage.start(do, by=1, otherwise="wait for stop", pods=2, **GANG)
    assert [pod.wait() for pod in pods] == [code, code], pods[0].output
    ends = [pod.termination for pod in pods]
    assert ends[0] == ends[1]
    assert ends[0] is not None
    assert ends[0].rank == 1


def test_gang_that_loses_a_pod_ends_soon_and_for_free(stage: Stage) -> None:
    pods = stage.start("wait for stop", pods=2, **GANG)
    for pod in pods:
        wait_for(lambda pod=pod: _is_running(pod), 30)  # type: ignore[misc]
    began = time.monotonic()
    pods[0].kill()
    assert pods[1].wait() == 75, pods[1].output
    assert time.monotonic() - began < 15
    assert pods[1].termination is not None
    assert "node 0 is gone" in pods[1].termination.cause


@pytest.mark.slow
def test_gang_started_anew_meets_no_pod_of_the_start_before(stage: Stage, kubelet: Kubelet) -> None:
    objects = stage.objects("meet", **GANG)
    old = kubelet.start(objects, index=0, uid="0" * 12)
    new = kubelet.start(objects, index=1, uid="1" * 12, restart=1)
    time.sleep(3)
    assert new.process.poll() is None  # it waits, and has not met the old one
    old.kill()
    old.wait()
    again = kubelet.start(objects, index=0, uid="1" * 12, restart=1)
    assert [again.wait(), new.wait()] == [0, 0], new.output


@pytest.mark.slow
def test_gang_started_anew_after_its_end_has_nothing_to_do(stage: Stage, kubelet: Kubelet) -> None:
    objects = stage.objects("write", **GANG)
    for uid in ("1" * 12, "2" * 12):
        pods = [kubelet.start(objects, index=index, uid=uid) for index in range(2)]
        assert [pod.wait() for pod in pods] == [0, 0], pods[0].output
    result = Results(stage.store).lookup(PLAN_KEY)
    assert result is not None
    assert result.attempt_id == "r-1-11111111"


def test_workers_are_joined_by_whoever_is_last(stage: Stage) -> None:
    pods = stage.start("write", pods=3, launch="workers", processes_per_node=3)
    assert [pod.wait() for pod in pods] == [0, 0, 0], pods[0].output
    assert sorted(stage.texts()) == ["part-0.txt", "part-1.txt", "part-2.txt"]


def test_image_with_other_code_refuses_and_names_the_tag_to_build(
    stage: Stage, code_parts: dict[str, str]
) -> None:
    other = code_parts | dict.fromkeys(list(code_parts)[:1], "0" * 64)
    (pod,) = stage.start("write", key_parts=other)
    assert pod.wait() == 78
    assert pod.termination is not None
    name = next(iter(code_parts)).removeprefix("code.")
    assert f"planned with: {name}." in pod.termination.cause
    assert "registry:5000/pipeline:code-c0dec0dec0de" in pod.termination.cause


def test_secret_is_taken_from_the_pods_environment_and_stands_in_no_object(
    stage: Stage, kubelet: Kubelet
) -> None:
    secret = SecretKey(secret="s", key="k")
    stage.settings = stage.settings.model_copy(update={"env": {"WORD": secret}})
    fields: dict[str, Any] = {
        "config": {"do": "write", "text": "say friend now"},
        "environment": (EnvironmentValue(path=("text",), variables=("WORD",)),),
        "environ": {"WORD": "friend"},
    }
    objects = stage.objects("write", **fields)
    assert "friend" not in str(objects)
    other = kubelet.start(objects, WORD="foe")
    assert other.wait() == 78
    assert "WORD of the environment is not what this was planned with" in other.output
    assert "foe" not in other.output
    pod = kubelet.start(objects, WORD="friend")
    assert pod.wait() == 0, pod.output
    assert stage.texts() == {"part-0.txt": "say friend now"}


def test_stage_applied_by_hand_names_the_stage_that_has_no_result(stage: Stage) -> None:
    stage.settings = stage.settings.model_copy(update={"input_wait_seconds": 1})
    above = Upstream(stage="above", plan_key="b" * 64, port="out")
    (pod,) = stage.start("write", by_hand={"one": InputPort(upstream=(above,))})
    assert pod.wait() == 66
    assert pod.termination is not None
    assert "stage toy needs above: no result after 1 s" in pod.termination.cause


def test_stage_applied_by_hand_waits_for_its_inputs_and_leaves_its_lease_free(
    stage: Stage,
) -> None:
    above = Upstream(stage="above", plan_key="b" * 64, port="out")
    inputs = {
        "one": InputPort(upstream=(above,)),
        "all": InputPort(upstream=(above, above), many=True),
    }
    (pod,) = stage.start("join inputs", by_hand=inputs)
    time.sleep(2)
    assert pod.process.poll() is None
    digests = make_artifact(Artifacts(stage.store), [{"text": b"a"}], plan_key="b" * 64)
    make_result(stage.store, digests, plan_key="b" * 64, stage="above")
    assert pod.wait() == 0, pod.output
    assert stage.texts() == {"joined.txt": "a+aa"}
    assert Leases(stage.store).holder(PLAN_KEY) is None


def test_gang_applied_by_hand_twice_builds_once(stage: Stage, kubelet: Kubelet) -> None:
    objects = stage.objects("write late", by_hand={}, **GANG)
    pods = [kubelet.start(objects, index=index, uid="1" * 12) for index in range(2)]
    assert [pod.wait() for pod in pods] == [0, 0], pods[0].output
    again = [kubelet.start(objects, index=index, uid="2" * 12) for index in range(2)]
    assert [pod.wait() for pod in again] == [0, 0], again[0].output
    assert "its result is in the store already" in again[0].output


def test_training_stage_that_does_not_step_is_unhealthy_and_ends_with_its_stacks(
    stage: Stage,
) -> None:
    stage.settings = stage.settings.model_copy(update={"stall_seconds": 2})
    (pod,) = stage.start("ignore stop", launch="gang")
    wait_for(lambda: _is_running(pod), 30)
    assert _health(pod) == 200
    assert pod.wait() == 1
    assert pod.termination is not None
    assert pod.termination.cause.startswith("no step for ")
    assert "Current thread" in pod.output  # where it hung, written by the rank itself


@pytest.mark.slow
def test_gang_that_starts_at_the_same_step_again_and_again_gives_up(
    stage: Stage, kubelet: Kubelet
) -> None:
    objects = stage.objects("preempted", launch="gang", retry={"max_attempts": 1})
    ends = []
    for restart in range(4):
        pod = kubelet.start(objects, index=0, uid=f"{restart}" * 12, restart=restart)
        ends.append((pod.wait(), "no progress: 4 starts in a row began before" in pod.output))
    assert ends == [(75, False), (75, False), (75, False), (70, True)]


def _is_running(pod: Pod) -> bool:
    """Whether its ranks have begun; read from their scratch, which they make first."""
    return any((pod.folder / "scratch" / "work").glob("*"))


def _health(pod: Pod) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{pod.port}/healthz", timeout=10) as answer:
            return int(answer.status)
    except HTTPError as exc:
        return exc.code
