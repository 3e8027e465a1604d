"""Events survive the way to the store and back."""

import json

import pytest

from pipeline.errors import StoreError
from pipeline.runner import events as ev
from pipeline.runner.events import Entry, Event, decode, encode

EVERY_KIND: list[Event] = [
    ev.RunStarted(dag="d", host="h", pid=1),
    ev.StagesPlanned(
        stages=(
            ev.PlannedEntry(
                stage="a[s=1]",
                kind="k",
                launch="gang",
                plan_key="f00",
                action="reuse",
                reasons=("hit: plan key",),
                upstream=("b",),
                artifacts={"out": "abc"},
            ),
        )
    ),
    ev.StageReused(stage="a", how="content key", reason="same inputs", artifacts={"out": "abc"}),
    ev.CodeAccepted(stage="a", code_digest="abc", plan_key="f00"),
    ev.StageWaiting(stage="a", holder="pid 3 on h"),
    ev.AttemptStarted(
        stage="a",
        attempt=1,
        attempt_id="i",
        content_key="c",
        folder="/f",
        nodes=2,
        processes_per_node=4,
    ),
    ev.AttemptPending(stage="a", why="no node"),
    ev.AttemptEnded(stage="a", attempt=1, exit_code=75, exit_class="free", cause="ü", step=3),
    ev.RetryScheduled(stage="a", attempt=2, delay_seconds=0.5, why="w"),
    ev.StageFinished(stage="a", content_key="c", artifacts={"out": "abc"}),
    ev.StageFailed(
        stage="a",
        attempt=2,
        rank=1,
        exit_code=65,
        exit_name="65 bad data",
        cause="c",
        log="/l",
        advice="do",
    ),
    ev.StageCancelled(stage="a", cause="asked"),
    ev.StageBlocked(stage="b", by="a"),
    ev.CellsProposed(
        stage="s",
        history=2,
        cells=(ev.ProposedCell(name="n", address="s/n", kind="k", plan_key="f"),),
    ),
    ev.CancelRequested(now=True),
    ev.RunEnded(status="failed", counts={"done": 1}, cause="c"),
]


@pytest.mark.parametrize("event", EVERY_KIND, ids=lambda event: event.kind)
def test_decode_gives_back_what_encode_took(event: Event) -> None:
    entry = Entry(7, 1234.5, event)
    assert decode(encode(entry), "here") == entry


def test_every_kind_of_event_is_tried_above() -> None:
    assert {type(event) for event in EVERY_KIND} == set(ev.Event.__args__)


def test_encode_is_one_flat_object() -> None:
    fields = json.loads(encode(Entry(3, 2.0, ev.CancelRequested(now=False))))
    assert fields == {"n": 3, "time": 2.0, "kind": "cancel_requested", "now": False}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b'{"n": 1, "time": 1.0, "kind": "moon_landing"}',
        b'{"time": 1.0, "kind": "cancel_requested", "now": true}',
        b'{"n": 1, "time": 1.0, "kind": "cancel_requested", "now": true, "extra": 1}',
        b'{"n": [], "time": 1.0, "kind": "cancel_requested", "now": true}',
    ],
)
def test_decode_anything_else_names_the_place(data: bytes) -> None:
    with pytest.raises(StoreError, match=r"^file:///s/runs/r/events/1\.json: not an event"):
        decode(data, "file:///s/runs/r/events/1.json")


def test_event_with_a_half_character_can_be_read_back() -> None:
    event = ev.AttemptEnded(
        stage="a", attempt=1, exit_code=65, exit_class="fatal", cause="bad file a\udcff.txt"
    )
    entry = Entry(1, 2.0, event)
    assert decode(encode(entry), "here") == entry
    assert event.cause == "bad file a\\udcff.txt"
