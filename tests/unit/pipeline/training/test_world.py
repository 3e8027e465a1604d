"""Who trains together, and on what engine."""

import pytest

from pipeline.errors import UsageError
from pipeline.spec.context import World
from pipeline.spec.resources import EngineConfig
from pipeline.training.engines import uses_deepspeed
from pipeline.training.world import SingleProcessWorld, open_world


def test_open_world_of_ranks_without_a_meeting_place_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.setenv("MASTER_PORT", "1")
    with pytest.raises(UsageError, match="2 ranks cannot meet: MASTER_ADDR not set"):
        open_world(World(size=2), threads=1).__enter__()


def test_single_process_world_gives_back_what_it_gets() -> None:
    world = SingleProcessWorld()
    assert world.sum([1.5, 2.0]) == [1.5, 2.0]
    assert world.gather([3.0]).tolist() == [[3.0]]
    assert world.gather_bytes(b"x") == [b"x"]


@pytest.mark.parametrize(
    ("engine", "size", "expected"),
    [
        (EngineConfig(), 1, False),
        (EngineConfig(zero_stage=3, precision="bf16"), 1, False),
        (EngineConfig(), 2, True),
        (EngineConfig(engine="plain", zero_stage=2), 2, False),
        (EngineConfig(engine="deepspeed"), 1, True),
        (EngineConfig(zero_stage=1, precision="bf16"), 2, True),
        # DeepSpeed's first update would be wrong, see `uses_deepspeed`.
        (EngineConfig(precision="bf16"), 2, False),
        (EngineConfig(engine="deepspeed", precision="fp16"), 2, False),
    ],
)
def test_uses_deepspeed_unless_alone_or_half_precision_at_stage_0(
    engine: EngineConfig, size: int, *, expected: bool
) -> None:
    assert uses_deepspeed(engine, size) is expected
