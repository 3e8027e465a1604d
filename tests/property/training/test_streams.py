"""Laws of the order of examples: nothing lost, nothing repeated, whoever takes part."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.training.method import Picks, StreamSpec
from pipeline.training.permutation import TABLE_LIMIT, permutation
from pipeline.training.streams import Streams

SIZES = st.integers(1, 3 * TABLE_LIMIT)
CUTS = st.tuples(st.sampled_from([1, 2, 3, 4]), st.sampled_from([1, 2, 3]))
"""Ranks, and micro-batches of each."""


@settings(deadline=None, max_examples=30)
@given(size=SIZES, seed=st.integers(0, 2**40))
def test_permutation_holds_every_element_once(size: int, seed: int) -> None:
    values = permutation(size, seed, "x")(np.arange(size))
    assert np.array_equal(np.sort(values), np.arange(size))


@settings(deadline=None, max_examples=30)
@given(size=SIZES, seed=st.integers(0, 2**40), data=st.data())
def test_permutation_does_not_depend_on_what_is_asked_together(
    size: int, seed: int, data: st.DataObject
) -> None:
    look_up = permutation(size, seed, "x")
    some = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=5)))
    assert np.array_equal(look_up(some), look_up(np.arange(size))[some])


def _step(spec: StreamSpec, step: int, cut: tuple[int, int], seed: int) -> list[tuple[int, ...]]:
    """(epoch, index, position) of a step in global order, put together from all ranks."""
    ranks, num_micro = cut
    parts = [
        picks["stream"]
        for rank in range(ranks)
        for picks in Streams(
            {"stream": spec}, seed=seed, rank=rank, size=ranks, num_micro=num_micro
        ).picks(step)
    ]
    return [row for part in parts for row in _rows(part)]


def _rows(picks: Picks) -> list[tuple[int, ...]]:
    return list(
        zip(picks.epoch.tolist(), picks.index.tolist(), picks.position.tolist(), strict=True)
    )


@settings(deadline=None, max_examples=60)
@given(
    size=st.integers(1, 40),
    parts=st.integers(1, 3),
    cut=CUTS,
    order=st.sampled_from(["shuffled", "rows"]),
    seed=st.integers(0, 99),
    step=st.integers(0, 12),
)
def test_step_is_the_same_however_it_is_cut(
    size: int, parts: int, cut: tuple[int, int], order: str, seed: int, step: int
) -> None:
    batch_size = parts * cut[0] * cut[1]
    spec = StreamSpec(size=size, batch_size=batch_size, order=order)  # type: ignore[arg-type]
    assert _step(spec, step, cut, seed) == _step(spec, step, (1, 1), seed)


@settings(deadline=None, max_examples=60)
@given(size=st.integers(1, 40), batch_size=st.integers(1, 12), seed=st.integers(0, 99))
def test_shuffled_epochs_follow_one_another_without_loss_or_repeat(
    size: int, batch_size: int, seed: int
) -> None:
    spec = StreamSpec(size=size, batch_size=batch_size)
    steps = -(-3 * size // batch_size)
    drawn = list(itertools.chain(*(_step(spec, step, (1, 1), seed) for step in range(steps))))
    for epoch in range(3):
        mine = [row for row in drawn if row[0] == epoch]
        assert sorted(index for _, index, _ in mine) == list(range(size))
        assert [position for *_, position in mine] == list(range(size))


@settings(deadline=None, max_examples=60)
@given(
    size=st.integers(1, 40),
    ranks=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 99),
    start=st.integers(0, 30),
)
def test_streams_entered_in_the_middle_give_what_they_would_have_given(
    size: int, ranks: int, seed: int, start: int
) -> None:
    spec = {"stream": StreamSpec(size=size, batch_size=4)}

    def fresh() -> Streams:
        return Streams(spec, seed=seed, rank=ranks - 1, size=ranks, num_micro=1)

    whole = fresh()
    expected = [_rows(whole.picks(step)[0]["stream"]) for step in range(start + 3)]
    resumed = fresh()
    for step in range(start, start + 3):
        assert _rows(resumed.picks(step)[0]["stream"]) == expected[step]


@settings(deadline=None, max_examples=30)
@given(rows=st.sampled_from([2, 4, 8]), size=st.integers(1, 6), ranks=st.sampled_from([1, 2]))
def test_rows_keep_their_rank_and_go_on_by_one_position_a_step(
    rows: int, size: int, ranks: int
) -> None:
    spec = {"stream": StreamSpec(size=size, batch_size=rows, order="rows")}
    streams = Streams(spec, seed=0, rank=ranks - 1, size=ranks, num_micro=1)
    for step in range(3 * size):
        picks = streams.picks(step)[0]["stream"]
        assert picks.index.tolist() == list(range(rows - rows // ranks, rows))
        assert set(picks.position.tolist()) == {step % size}
        assert set(picks.epoch.tolist()) == {step // size}
