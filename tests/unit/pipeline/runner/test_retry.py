"""Exit codes become decisions."""

import pytest

from pipeline.executors.base import AttemptEnd
from pipeline.runner.retry import (
    MAX_BACKOFF_SECONDS,
    ExitClass,
    GiveUp,
    PastAttempt,
    TryAgain,
    advice,
    classify,
    decide,
    exit_name,
)
from pipeline.spec.resources import Retry

COUNTED = PastAttempt(ExitClass.COUNTED, None)


def _end(code: int, *, lost_node: bool = False) -> AttemptEnd:
    return AttemptEnd("a", code, 0, f"exit {code}", lost_node=lost_node)


def _free(step: int | None) -> PastAttempt:
    return PastAttempt(ExitClass.FREE, step)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (0, ExitClass.DONE),
        (1, ExitClass.COUNTED),
        (64, ExitClass.FATAL),
        (65, ExitClass.FATAL),
        (66, ExitClass.FATAL),
        (70, ExitClass.FATAL),
        (74, ExitClass.COUNTED),
        (75, ExitClass.FREE),
        (78, ExitClass.FATAL),
        (134, ExitClass.COUNTED),
        (137, ExitClass.COUNTED),
    ],
)
def test_classify_follows_the_table(code: int, expected: ExitClass) -> None:
    assert classify(_end(code)) is expected


def test_classify_lost_node_is_free_whatever_the_code() -> None:
    assert classify(_end(137, lost_node=True)) is ExitClass.FREE


@pytest.mark.parametrize(("code", "expected"), [(1, GiveUp), (124, GiveUp), (137, TryAgain)])
def test_decide_without_retries_of_errors_goes_on_after_a_kill_only(
    code: int, expected: type
) -> None:
    assert isinstance(decide(Retry(errors=False), [COUNTED], _end(code)), expected)


def test_decide_crash_waits_twice_as_long_each_time() -> None:
    policy = Retry(max_attempts=4, backoff_seconds=3)
    delays = []
    for n in (1, 2, 3):
        decision = decide(policy, [COUNTED] * n, _end(1))
        assert isinstance(decision, TryAgain)
        delays.append(decision.delay_seconds)
    assert delays == [3, 6, 12]


def test_decide_backoff_is_bounded() -> None:
    decision = decide(Retry(max_attempts=2000, backoff_seconds=9), [COUNTED] * 1500, _end(1))
    assert isinstance(decision, TryAgain)
    assert decision.delay_seconds == MAX_BACKOFF_SECONDS


def test_decide_last_counted_attempt_gives_up_with_its_code() -> None:
    decision = decide(Retry(max_attempts=2), [COUNTED, COUNTED], _end(137))
    assert decision == GiveUp(137, "exit 137")


def test_decide_preemptions_do_not_use_up_attempts() -> None:
    past = [_free(step) for step in range(50)] + [COUNTED]
    assert isinstance(decide(Retry(max_attempts=2), past, _end(1)), TryAgain)


def test_decide_fatal_exit_is_not_repeated() -> None:
    past = [PastAttempt(ExitClass.FATAL, 10)]
    assert decide(Retry(max_attempts=9), past, _end(65)) == GiveUp(65, "exit 65")


def test_decide_preemption_with_progress_restarts_at_once() -> None:
    decision = decide(Retry(), [_free(10), _free(20), _free(30)], _end(75))
    assert isinstance(decision, TryAgain)
    assert decision.delay_seconds == 0


@pytest.mark.parametrize("step", [None, 10])
def test_decide_third_end_at_one_step_stops_the_run(step: int | None) -> None:
    assert isinstance(decide(Retry(), [_free(step)] * 2, _end(75)), TryAgain)
    decision = decide(Retry(), [_free(step)] * 3, _end(75))
    assert isinstance(decision, GiveUp)
    assert decision.exit_code == 70
    assert decision.cause.startswith("no progress: 3 attempts in a row")


def _crash(cause: str, step: int | None) -> PastAttempt:
    return PastAttempt(ExitClass.COUNTED, step, cause)


@pytest.mark.parametrize(
    ("before", "now", "code", "gives_up"),
    [
        (_crash("rank 1: E: <A at 0x7f01>", 5), _crash("rank 0: E: <A at 0x7fe2>", 5), 1, True),
        (_crash("rank 0: E: x", None), _crash("rank 0: E: x", 5), 1, False),
        (_crash("rank 0: E: x", 5), _crash("rank 0: E: y", 5), 1, False),
        (_crash("killed", 5), _crash("killed", 5), 137, False),
        (_crash("disk full", 5), _crash("disk full", 5), 74, False),
        (PastAttempt(ExitClass.FREE, 5, "E"), _crash("E", 5), 1, False),
    ],
)
def test_decide_same_crash_at_the_same_step_is_not_tried_a_third_time(
    before: PastAttempt, now: PastAttempt, code: int, gives_up: bool
) -> None:
    decision = decide(Retry(max_attempts=9), [before, now], AttemptEnd("", code, 0, now.cause))
    assert isinstance(decision, GiveUp) is gives_up


def test_decide_crash_between_preemptions_is_not_a_row() -> None:
    past = [_free(10), _free(10), COUNTED, _free(10)]
    assert isinstance(decide(Retry(), past, _end(75)), TryAgain)


def test_exit_name_says_the_class() -> None:
    assert exit_name(65) == "65 bad data"
    assert exit_name(137) == "137 killed"
    assert exit_name(140) == "140 signal 12"
    assert exit_name(3) == "3 crashed"


def test_advice_no_progress_differs_from_divergence() -> None:
    assert "preemptions" in advice(70, "no progress: 3 attempts")
    assert "learning rate" in advice(70, "loss is NaN at step 3")
