"""The traps of attention-augmented convolution."""

import pytest
import torch
from torch import Tensor

from pipeline.errors import ConfigError
from stages.vision.layers.attention import AAConv2d, Heads, RelativeAttention, attention_widths
from stages.vision.layers.convolution import Conv2d, Window

EXACT = 1e-12  # float64


def _attention(grid: tuple[int, int], heads: Heads | None = None) -> RelativeAttention:
    torch.manual_seed(0)
    return RelativeAttention(heads or Heads(8, 4, 2), grid).double()


def _layer(out: int = 12, window: Window | None = None, *, pooled: bool = False) -> AAConv2d:
    torch.manual_seed(0)
    heads, grid = Heads(8, 4, 2), (4, 3) if pooled else (8, 6)
    return AAConv2d(5, out, window or Window(3), heads=heads, grid=grid, pooled=pooled).double()


def _input(height: int = 8, width: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 5, height, width, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_position_product_is_that_of_the_offset(length: int) -> None:
    attention = _attention((length, length))
    query = torch.randn(1, 2, length * length, 4, dtype=torch.float64)
    by_row, by_column = attention.position_products(query, (length, length))
    assert attention.rows is not None
    assert attention.columns is not None
    for i in range(length * length):
        for j in range(length):
            row = query[0, :, i] @ attention.rows[j - i // length + length - 1]
            column = query[0, :, i] @ attention.columns[j - i % length + length - 1]
            assert (by_row[0, :, i, j] - row).abs().max() < EXACT
            assert (by_column[0, :, i, j] - column).abs().max() < EXACT


def test_attention_to_one_position_gives_its_value_everywhere() -> None:
    attention = _attention((3, 4), Heads(8, 4, 2, relative=False))
    kqv = torch.zeros(1, 20, 3, 4, dtype=torch.float64)
    kqv[:, :8, 1, 2] = 1e4  # the key of one position meets every query
    kqv[:, 8:16] = 1.0
    kqv[:, 16:] = torch.arange(48, dtype=torch.float64).view(1, 4, 3, 4)
    out = attention(kqv)
    assert torch.equal(out, kqv[:, 16:, 1:2, 2:3].expand(1, 4, 3, 4))


def test_logits_of_a_constant_map_depend_on_the_offset_alone() -> None:
    attention = _attention((4, 5))
    query = torch.ones(1, 2, 20, 4, dtype=torch.float64)
    by_row, by_column = attention.position_products(query, (4, 5))
    logits = (by_row[..., :, None] + by_column[..., None, :]).view(1, 2, 4, 5, 4, 5)
    assert (logits[:, :, 1:, 1:, 1:, 1:] - logits[:, :, :-1, :-1, :-1, :-1]).abs().max() < EXACT
    assert (logits[:, :, 0, 0, 1, 1] - logits[:, :, 1, 1, 0, 0]).abs().max() > 1e-3


def test_shifted_object_on_an_empty_canvas_gives_a_shifted_output() -> None:
    attention = _attention((12, 12))
    kqv = torch.zeros(1, 20, 12, 12, dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    patch = torch.randn(1, 20, 3, 3, dtype=torch.float64, generator=generator)
    patch[:, :8] *= 20  # its keys outweigh the empty ones, whatever border is near
    moved = kqv.clone()
    kqv[:, :, 4:7, 4:7] = patch
    moved[:, :, 6:9, 5:8] = patch
    first, second = attention(kqv)[:, :, 4:7, 4:7], attention(moved)[:, :, 6:9, 5:8]
    strong = first.abs() > 0.5
    assert strong.any()
    assert ((first - second).abs()[strong] / first.abs()[strong]).median() < 0.05


def test_relative_term_is_scaled_as_the_content_is() -> None:
    attention = _attention((2, 2))
    kqv = torch.randn(1, 20, 2, 2, dtype=torch.float64)
    expected = attention(kqv)
    with torch.no_grad():
        for table in (attention.rows, attention.columns):
            assert table is not None
            table.mul_(0.5)
    kqv[:, :8] *= 0.5  # keys
    kqv[:, 8:16] *= 2.0  # queries: every logit is what it was
    assert (attention(kqv) - expected).abs().max() < EXACT


def test_tables_are_shared_by_the_heads() -> None:
    attention = RelativeAttention(Heads(160, 8, 8), (14, 10))
    assert sum(p.numel() for p in attention.parameters()) == (2 * (14 + 10) - 2) * 20


def test_heads_do_not_see_each_other() -> None:
    attention, kqv = _attention((3, 3)), torch.randn(1, 20, 3, 3, dtype=torch.float64)
    changed = kqv.clone()
    changed[:, 8:12] += 1.0  # queries of head 0
    difference = (attention(changed) - attention(kqv)).abs().amax(dim=(0, 2, 3))
    assert (difference[:2] > 1e-6).all()
    assert (difference[2:] == 0).all()


@pytest.mark.parametrize(("out", "expected"), [(128, (160, 8)), (256, (160, 24)), (512, (160, 48))])
def test_widths_of_bottleneck_stages_are_the_published_ones(
    out: int, expected: tuple[int, int]
) -> None:
    assert attention_widths(out, 0.2, 0.1, 8) == expected


def test_upsilon_one_leaves_no_convolution() -> None:
    layer = AAConv2d(5, 8, Window(3), heads=Heads(8, 8, 2), grid=(4, 4))
    assert layer.conv is None
    assert layer(torch.randn(1, 5, 4, 4)).shape == (1, 8, 4, 4)


def test_upsilon_zero_is_the_convolution() -> None:
    layer = AAConv2d(5, 8, Window(3), heads=Heads(8, 0, 2), grid=(4, 4))
    assert [name for name, _ in layer.named_parameters()] == ["conv.weight"]
    x = torch.randn(1, 5, 4, 4)
    assert isinstance(layer.conv, Conv2d)
    assert torch.equal(layer(x), layer.conv(x))


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_first_channels_are_the_convolution_alone(stride: int, pooled: bool) -> None:
    layer, x = _layer(window=Window(3, stride), pooled=pooled), _input()
    assert layer.conv is not None
    alone = layer.conv(x)
    assert torch.equal(layer(x)[:, :8], alone)


@pytest.mark.parametrize("size", [(8, 6), (7, 5), (8, 5), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("pooled", [False, True])
def test_both_parts_have_one_size(size: tuple[int, int], stride: int, pooled: bool) -> None:
    layer = _layer(window=Window(3, stride), pooled=pooled)
    out = layer(_input(*size))
    assert out.shape == (2, 12, *(-(-n // stride) for n in size))


def test_layer_has_no_bias() -> None:
    assert not [name for name, _ in _layer().named_parameters() if "bias" in name]


def test_larger_map_than_the_tables_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match="image_size"):
        _attention((3, 3))(torch.zeros(1, 20, 4, 3, dtype=torch.float64))


def test_resized_tables_keep_offset_zero_in_the_middle() -> None:
    attention = _attention((3, 4))
    assert attention.rows is not None
    middle, first = attention.rows[2].clone(), attention.rows[0].clone()
    attention.resize_tables((6, 4))
    assert attention.rows.shape == (11, 4)
    assert (attention.rows[5] - middle).abs().max() < EXACT
    assert (attention.rows[0] - first).abs().max() < EXACT
    attention(torch.zeros(1, 20, 6, 4, dtype=torch.float64))


@pytest.mark.parametrize(
    ("init", "mean", "deviation"), [("centred", 0.0, 20**-0.5), ("listing", 20**-0.5, 1.0)]
)
def test_tables_begin_as_chosen(init: str, mean: float, deviation: float) -> None:
    torch.manual_seed(0)
    heads = Heads(160, 8, 8, table_init=init)  # type: ignore[arg-type]
    table = RelativeAttention(heads, (500, 2)).rows
    assert table is not None
    assert abs(float(table.mean().detach()) - mean) < 0.03
    assert abs(float(table.std().detach()) / deviation - 1.0) < 0.03


def test_bfloat16_stays_near_float32() -> None:
    torch.manual_seed(0)
    attention, kqv = RelativeAttention(Heads(160, 48, 8), (14, 14)), torch.randn(2, 368, 14, 14)
    with torch.no_grad():
        exact = attention(kqv)
        rough = attention.bfloat16()(kqv.bfloat16()).float()
    assert (rough - exact).norm() / exact.norm() < 2e-2
