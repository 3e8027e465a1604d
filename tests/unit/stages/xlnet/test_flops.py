"""The arithmetic of a step against numbers worked out by hand."""

import pytest

from stages.xlnet.config import ModelConfig, RowsConfig
from stages.xlnet.flops import forward_flops, train_flops

ROWS = RowsConfig()
"""L = 512, M = 384, P = 85."""


@pytest.mark.parametrize(
    ("preset", "forward", "step"), [("base", 148.6, 430.0), ("large", 492.8, 1422.0)]
)
def test_flops_of_the_papers_models_with_eight_rows_a_pass(
    preset: str, forward: float, step: float
) -> None:
    model = ModelConfig.model_validate({"preset": preset})
    assert forward_flops(model, ROWS, 32_000, rows_per_forward=8) / 1e9 == pytest.approx(
        forward, abs=0.1
    )
    assert train_flops(model, ROWS, 32_000, rows_per_forward=8) / 1e9 == pytest.approx(
        step, abs=0.5
    )


def test_flops_without_memory_cost_nothing_for_it() -> None:
    """Of a layer that is one of everything, term by term."""
    model = ModelConfig(num_layers=1, d_model=2, num_heads=1, d_inner=3)
    rows = RowsConfig(
        seq_len=16, reuse_len=8, mem_len=0, perm_size=8, num_predict=2, bidirectional=False
    )
    projections, positions = 4 * 16 * 4, 31 / 4 * 4
    content = projections + positions + 2 * 16 * 2 * 3 + 3 * 16 * 16 * 2
    query = 2 * 2 * 4 + 2 * 2 * 2 * 3 + 3 * 2 * 16 * 2
    forward = 2 * (content + query + 2 * 2 * 11)
    assert forward_flops(model, rows, 11, rows_per_forward=4) == forward
    assert train_flops(model, rows, 11, rows_per_forward=4) == 3 * forward - 2 * positions
