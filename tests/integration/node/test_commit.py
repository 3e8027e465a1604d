"""What an attempt leaves in the store: whole artifacts, or none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cache import Artifacts, Leases
from pipeline.executors.local.executor import LocalExecutor
from pipeline.spec.stage import Launch
from pipeline.storage import Store
from tests.attempts import make_artifact
from tests.integration.node.attempts import MakeJob, Submit


def test_commit_without_the_lease_leaves_no_artifact(submit: Submit) -> None:
    attempt = submit("write", lease_token="lost")
    end = attempt.end()
    assert end.exit_code == 74
    assert end.cause.startswith("rank 0: LeaseLost: ")
    assert attempt.artifacts() == []


def test_commit_under_the_lease_the_runner_holds_passes(
    executor: LocalExecutor, make_job: MakeJob
) -> None:
    job = make_job({}, lease_token="mine")
    assert Leases(Store(job.store)).acquire(job.plan_key, "mine")
    executor.submit(job)
    (end,) = executor.wait(30)
    assert end.exit_code == 0


def test_stage_reads_one_input_and_a_list_of_inputs(
    executor: LocalExecutor, make_job: MakeJob, tmp_path: Path
) -> None:
    artifacts = Artifacts(Store(tmp_path / "store"))
    digests = [
        make_artifact(artifacts, [{"text": text}], plan_key=text.decode() * 64)["out"]
        for text in (b"a", b"b")
    ]
    config = {"do": "join inputs"}
    executor.submit(make_job(config, inputs={"one": digests[0], "all": digests}))
    (end,) = executor.wait(30)
    assert end.cause == ""
    (written,) = (tmp_path / "store" / "artifacts").glob("*/files/joined.txt")
    assert written.read_text() == "a+ab"


def test_input_that_was_changed_in_the_store_exits_66_and_is_named(
    executor: LocalExecutor, make_job: MakeJob, tmp_path: Path
) -> None:
    digest = make_artifact(Artifacts(Store(tmp_path / "store")), [{"text": b"a"}])["out"]
    damaged = tmp_path / "store" / "artifacts" / digest / "files" / "text"
    damaged.chmod(0o644)
    damaged.write_bytes(b"b")
    executor.submit(make_job({"do": "join inputs"}, inputs={"one": digest, "all": []}))
    (end,) = executor.wait(30)
    assert end.exit_code == 66
    assert "text" in end.cause


def test_gang_on_an_object_store_commits_what_all_ranks_wrote(
    make_job: MakeJob, s3_bucket: str
) -> None:
    job = make_job({}, store=f"{s3_bucket}/gang", launch=Launch.GANG, nodes=2)
    executor = LocalExecutor()  # now, so that its workers have the environment of the bucket
    executor.submit(job)
    (end,) = executor.wait(60)
    executor.close()
    assert end.cause == ""
    store = Store(job.store)
    (digest,) = store.list("artifacts")
    names = sorted(Artifacts(store).manifest(digest).files)
    assert names == ["part-0.txt", "part-1.txt"]


def test_commit_on_a_full_disk_says_so_and_leaves_no_artifact(
    make_job: MakeJob, tmp_path: Path
) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(tmp_path / "store")]
    (tmp_path / "store").mkdir()
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    executor = LocalExecutor()
    try:
        first = make_job({"text": "x" * 200_000})
        executor.submit(first)
        (end,) = executor.wait(30)
        assert not list((tmp_path / "store").glob("artifacts/*"))
        # As the runner does behind a failed attempt; now the next one has space.
        Artifacts(Store(tmp_path / "store")).discard(first.plan_key, first.attempt_id)
        executor.submit(make_job({"text": "x"}, plan_key=first.plan_key))
        (again,) = executor.wait(30)
    finally:
        executor.close()
        subprocess.run(["umount", str(tmp_path / "store")], check=True)
    assert end.exit_code == 74
    assert "No space left on device" in end.cause
    assert again.exit_code == 0


def test_worker_of_a_new_interpreter_writes_the_same_bytes(submit: Submit) -> None:
    attempt = submit("hash order")
    assert attempt.end().exit_code == 0
    (artifact,) = attempt.artifacts()
    written = json.loads((artifact / "files" / "order.json").read_text())
    code = "import json; print(json.dumps(list({'a', 'b', 'c', 'd', 'e'})))"
    fresh = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert written == json.loads(fresh.stdout)
