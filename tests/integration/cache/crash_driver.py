"""Kills a process before every single change it makes to a local store, one run per change.

Run as a program: `python crash_driver.py FOLDER`. Each run forks a child that goes through a whole
attempt; the n-th child is killed by SIGKILL before its n-th change (file opened for writing,
rename, link, removal, new folder). The parent then looks at the store as the next runner would,
finishes the stage, and compares. It prints the number of changes; any mistake is a traceback.
"""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from pipeline.cache import Artifacts, Leases, Results
from pipeline.cache.inventory import verify_artifacts
from pipeline.spec.ports import CHECKPOINT, SCORES, Port
from pipeline.storage import Store
from tests.attempts import PLAN_KEY, make_artifact, make_result

PORTS: Mapping[str, Port] = {"checkpoint": CHECKPOINT("xlnet"), "scores": SCORES}
PARTS = ({"a.bin": b"a" * 1000, "deep/b.bin": b"b"}, {"c.bin": b"c"})
CHANGES = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.utime"}


def attempt(store: Store, name: str) -> dict[str, str]:
    """One attempt as the processes of a stage and their runner make it."""
    assert Leases(store).acquire(PLAN_KEY, name)
    artifacts = Artifacts(store)
    for left in store.list(f"staging/{PLAN_KEY}"):
        artifacts.discard(PLAN_KEY, left)
    digests = make_artifact(artifacts, PARTS, attempt_id=name, ports=PORTS, lease_token=name)
    make_result(store, digests)
    artifacts.discard(PLAN_KEY, name)
    Leases(store).release(PLAN_KEY, name)
    return digests


def die_before_change(number: int) -> None:
    """Lets the process kill itself instead of making its change of that number."""
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE
        if event in CHANGES or writes:
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def crashed(folder: Path, number: int) -> bool:
    """Runs a child that dies before its change of that number; False when it had fewer."""
    child = os.fork()
    if not child:
        die_before_change(number)
        attempt(Store(folder), "first")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def check(folder: Path, expected: Mapping[str, str]) -> None:
    """What the next runner finds is nothing or complete, and it can finish."""
    store = Store(folder)
    for verdict in verify_artifacts(store):
        assert verdict.problem is None, verdict
        assert verdict.digest in expected.values()
    for key in store.list("results"):
        found = Results(store).find(key.removesuffix(".json"))
        assert found.result, found.reason
        assert found.result.artifacts == expected
    assert attempt(store, "second") == expected
    assert [verdict.problem for verdict in verify_artifacts(store)] == [None, None]
    assert len(store.list("results")) == 2
    assert store.walk("staging") == {}


def main() -> None:
    """Every crash point in turn."""
    root = Path(sys.argv[1])
    expected = attempt(Store(root / "undisturbed"), "only")
    number = 1
    while crashed(root / str(number), number):
        check(root / str(number), expected)
        number += 1
    check(root / str(number), expected)
    print(number - 1)  # noqa: T201 - a program


if __name__ == "__main__":
    main()
