"""Processes that are killed at every point, and processes that fight for the same thing."""

import os
import random
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.cache import Artifacts
from pipeline.storage import Store
from tests.attempts import PLAN_KEY, content, make_artifact

HERE = Path(__file__).parent
ENVIRONMENT = {"PYTHONPATH": str(HERE.parents[2])}
NUM_RACERS = 3
NUM_KILLS = 8
TURNS_BETWEEN_KILLS = 20


def program(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | ENVIRONMENT,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Its output; fails with its errors."""
    out, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    return out


def test_attempt_killed_before_any_change_leaves_nothing_or_everything() -> None:
    # In memory where there is such a disk: a kill loses nothing that was not fsynced.
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        points = int(finish(program(str(HERE / "crash_driver.py"), folder)))
    # Acquire, stage, two parts, two ports, two results, discard, release: far more than these.
    assert points > 60


def test_lease_has_one_holder_however_holders_die(local_store: Store, tmp_path: Path) -> None:
    draw = random.Random(17)
    command = (str(HERE / "lease_racer.py"), local_store.url, PLAN_KEY, str(tmp_path))
    reading, writing = os.pipe()
    running = [program(*command, stdout=writing) for _ in range(NUM_RACERS)]
    lines: list[str] = []
    try:
        with os.fdopen(reading) as stream:
            # By turns, not by time: a busy machine makes few of them a second.
            for _ in range(NUM_KILLS):
                lines += [stream.readline().strip() for _ in range(TURNS_BETWEEN_KILLS)]
                victim = running.pop(draw.randrange(NUM_RACERS))
                victim.kill()
                victim.communicate()
                running.append(program(*command, stdout=writing))
    finally:
        for process in running:
            process.kill()
            process.communicate()
        os.close(writing)
    assert set(lines) == {"turn"}


OPEN = """
import sys
from pathlib import Path
from pipeline.cache import Artifacts
from pipeline.storage import Store
folder = Path(sys.argv[2])
artifacts = Artifacts(Store(sys.argv[1]), cache_folder=folder, memo_folder=folder / "memo")
print(artifacts.open(sys.argv[3]))
"""


def test_artifact_opened_by_several_processes_is_downloaded_once_and_whole(
    s3_bucket: str, tmp_path: Path
) -> None:
    store = Store(f"{s3_bucket}/several")
    files = {f"deep/{number}.bin": bytes([number]) * 20_000 for number in range(20)}
    digest = make_artifact(Artifacts(store, cache_folder=tmp_path / "first"), [files])["out"]
    folder = tmp_path / "second"
    arguments = ("-c", OPEN, store.url, str(folder), digest)
    opened = {finish(process).strip() for process in [program(*arguments) for _ in range(3)]}
    assert opened == {str(folder / "artifacts" / digest)}
    assert content(folder / "artifacts" / digest) == files
    assert list((folder / "tmp").iterdir()) == []
