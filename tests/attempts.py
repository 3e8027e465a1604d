"""Attempts as a worker would make them, for tests of the cache."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.cache import Artifacts, Result, Results
from pipeline.spec.ports import FOLDER, Port
from pipeline.storage import Store

PLAN_KEY = "a" * 64
CONTENT_KEY = "b" * 64
PORTS: Mapping[str, Port] = {"out": FOLDER}
Files = Mapping[str, bytes]


def write_files(folder: Path, files: Files) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def stage_parts(
    artifacts: Artifacts,
    parts: Sequence[Files],
    *,
    attempt_id: str = "attempt-1",
    plan_key: str = PLAN_KEY,
    ports: Mapping[str, Port] = PORTS,
) -> None:
    """Every process writes its files into each port, and its part."""
    for rank, files in enumerate(parts):
        for port in ports:
            write_files(artifacts.staging(plan_key, attempt_id, port, rank=rank), files)
        artifacts.write_part(plan_key, attempt_id, ports, rank=rank)


def make_artifact(
    artifacts: Artifacts,
    parts: Sequence[Files],
    *,
    attempt_id: str = "attempt-1",
    plan_key: str = PLAN_KEY,
    ports: Mapping[str, Port] = PORTS,
    lease_token: str = "",
) -> dict[str, str]:
    """A whole attempt without a lease, up to its commit."""
    stage_parts(artifacts, parts, attempt_id=attempt_id, plan_key=plan_key, ports=ports)
    return artifacts.commit(
        plan_key, attempt_id, ports, lease_token=lease_token, num_parts=len(parts)
    )


def make_result(
    store: Store, artifacts: Mapping[str, str], *, plan_key: str = PLAN_KEY, stage: str = "stage"
) -> Result:
    """Records a result under its plan key and a content key of its own."""
    result = Result(
        artifacts=dict(artifacts),
        plan_key=plan_key,
        content_key=plan_key[::-1] + "c",
        stage=stage,
        kind="command",
        run="run-1",
        attempt_id="attempt-1",
        key_parts={"with.steps": 3, "seed": None},
        provenance={"commit": "abc", "versions": {"torch": "2"}},
    )
    Results(store).record([result.plan_key, result.content_key], result)
    return result


def content(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
