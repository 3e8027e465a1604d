"""What becomes of an exception in a worker."""

import errno

import pytest

from pipeline import errors
from pipeline.errors import NEVER_RETRIED, StoreError, UserError
from pipeline.node.worker import describe_failure


def _raised(exc: BaseException) -> BaseException:
    try:
        raise exc
    except BaseException as caught:  # noqa: BLE001 - that is what it is for
        return caught


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("UsageError", 64),
        ("DataError", 65),
        ("InputError", 66),
        ("Diverged", 70),
        ("Preempted", 75),
        ("ConfigError", 78),
    ],
)
def test_failure_of_a_worker_error_has_its_code_and_no_frames(name: str, code: int) -> None:
    failure = describe_failure(_raised(getattr(errors, name)("why")))
    assert (failure.type, failure.message, failure.exit_code) == (name, "why", code)
    assert failure.traceback == ""


def test_failure_of_a_bug_keeps_the_last_frames() -> None:
    def deeper(depth: int) -> None:
        if depth == 0:
            message = "why"
            raise ValueError(message)
        deeper(depth - 1)

    with pytest.raises(ValueError, match="why") as caught:
        deeper(100)
    failure = describe_failure(caught.value)
    assert failure.exit_code == 1
    assert failure.traceback.endswith("ValueError: why")
    assert len(failure.traceback.splitlines()) <= 40


@pytest.mark.parametrize(
    "exc",
    [
        KeyError("x"),
        MemoryError(),
        StoreError("store file:///s: no space left"),
        OSError(errno.ENOSPC, "No space left on device", "/d"),
        KeyboardInterrupt(),
        SystemExit(),
        SystemExit(0),
        SystemExit("no"),
    ],
)
def test_failure_that_may_pass_is_tried_again(exc: BaseException) -> None:
    failure = describe_failure(_raised(exc))
    assert failure.exit_code != 0
    assert failure.exit_code not in NEVER_RETRIED


def test_failure_of_a_full_disk_says_what_to_do() -> None:
    failure = describe_failure(_raised(OSError(errno.ENOSPC, "No space left on device", "/d")))
    assert failure.message.startswith("the disk is full: ")
    assert "'/d'" in failure.message
    assert "Free space" in failure.message


def test_failure_of_a_user_error_is_one_of_configuration() -> None:
    assert describe_failure(_raised(UserError("no such preset"))).exit_code == 78


def test_failure_of_an_exit_keeps_its_code() -> None:
    assert describe_failure(_raised(SystemExit(65))).exit_code == 65
