"""Batched operations against Pillow and torchvision.transforms.v2, image by image."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm.data.auto_augment as timm_policies
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as tv

from stages.vision.augment.autoaugment import POLICIES, V0_LEVELS
from stages.vision.augment.config import CropConfig, PolicyConfig
from stages.vision.augment.operations import Op, apply, squares
from stages.vision.augment.policies import (
    TORCHVISION_OPS,
    UDA_OPS,
    num_draws,
    plan,
    torchvision_value,
    uda_value,
)
from stages.vision.images.crops import random_box, resized
from tests.images import pixels

Picture = Image.Image
SIZES = ((32, 32), (31, 45))


def _batch(height: int, width: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    flat = np.full((1, height, width, 3), 77, np.uint8)
    narrow = (noise[:1] // 4 + 60).astype(np.uint8)
    smooth = np.stack([pixels(seed, height, width) for seed in (1, 2)])
    return np.concatenate([smooth, noise, flat, narrow])


def _applied(images: NDArray[np.uint8], op: Op, values: list[float]) -> NDArray[np.uint8]:
    batch = torch.from_numpy(images).permute(0, 3, 1, 2)
    covered = torch.ones_like(batch[:, :1], dtype=torch.bool)
    count = len(images)
    found, _ = apply(
        batch,
        covered,
        np.full(count, int(op)),
        np.array(values, np.float64),
        centres=np.full((count, 2), 0.5),
    )
    return found.permute(0, 2, 3, 1).numpy()


def _affine(matrix: tuple[float, ...]) -> Callable[[Picture], Picture]:
    return lambda p: p.transform(p.size, Image.Transform.AFFINE, matrix)


THEIRS: dict[Op, tuple[list[float], Callable[[Picture, float], Picture]]] = {
    Op.SHEAR_X: (
        [0.3, -0.27, 0.03],
        lambda p, v: tv.affine(
            p,
            0.0,
            [0, 0],
            1.0,
            [math.degrees(math.atan(v)), 0.0],
            InterpolationMode.NEAREST,
            center=[0, 0],
        ),
    ),
    Op.SHEAR_Y: (
        [0.3, -0.27, 0.03],
        lambda p, v: tv.affine(
            p,
            0.0,
            [0, 0],
            1.0,
            [0.0, math.degrees(math.atan(v))],
            InterpolationMode.NEAREST,
            center=[0, 0],
        ),
    ),
    # torchvision moves the picture the other way: to the right, and down.
    Op.TRANSLATE_X: (
        [5, -9, 0],
        lambda p, v: tv.affine(p, 0.0, [int(-v), 0], 1.0, [0.0, 0.0], InterpolationMode.NEAREST),
    ),
    Op.TRANSLATE_Y: (
        [5, -9, 0],
        lambda p, v: tv.affine(p, 0.0, [0, int(-v)], 1.0, [0.0, 0.0], InterpolationMode.NEAREST),
    ),
    Op.ROTATE: ([27.0, -3.0, 12.5], tv.rotate),
    Op.BRIGHTNESS: ([0.1, 1.9, 1.0], tv.adjust_brightness),
    Op.COLOR: ([0.1, 1.9, 0.64], tv.adjust_saturation),
    Op.CONTRAST: ([0.1, 1.9, 0.64], tv.adjust_contrast),
    Op.SHARPNESS: ([0.1, 1.9, 0.64], tv.adjust_sharpness),
    Op.POSTERIZE: ([4, 1, 8], lambda p, v: tv.posterize(p, int(v))),
    Op.SOLARIZE: ([0, 110, 255], tv.solarize),
    Op.AUTOCONTRAST: ([0], lambda p, _: tv.autocontrast(p)),
    Op.EQUALIZE: ([0], lambda p, _: tv.equalize(p)),
    Op.INVERT: ([0], lambda p, _: tv.invert(p)),
}


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("op", THEIRS, ids=lambda op: op.name)
def test_operation_is_torchvisions_on_pillow_images_to_the_bit(
    op: Op, size: tuple[int, int]
) -> None:
    images = _batch(*size)
    choices, theirs = THEIRS[op]
    values = [choices[i % len(choices)] for i in range(len(images))]
    found = _applied(images, op, values)
    for image, value, ours in zip(images, values, found, strict=True):
        wanted = np.asarray(theirs(Image.fromarray(image), value))
        np.testing.assert_array_equal(ours, wanted, err_msg=f"{op.name} {value}")


@pytest.mark.parametrize("op", [Op.CONTRAST, Op.SHARPNESS, Op.COLOR, Op.EQUALIZE, Op.AUTOCONTRAST])
def test_operation_is_within_a_level_of_torchvisions_on_tensors(op: Op) -> None:
    images = _batch(32, 32)
    tensors: dict[Op, Callable[[Tensor, float], Tensor]] = {
        Op.CONTRAST: tv.adjust_contrast,
        Op.SHARPNESS: tv.adjust_sharpness,
        Op.COLOR: tv.adjust_saturation,
        Op.EQUALIZE: lambda t, _: tv.equalize(t),
        Op.AUTOCONTRAST: lambda t, _: tv.autocontrast(t),
    }
    found = _applied(images, op, [1.3] * len(images))
    batch = torch.from_numpy(images).permute(0, 3, 1, 2)
    wanted = tensors[op](batch, 1.3).permute(0, 2, 3, 1).numpy()
    assert np.abs(found.astype(int) - wanted.astype(int)).max() <= 1


def test_uda_moves_are_pillows_affine_transform() -> None:
    images = _batch(32, 32)
    matrices: dict[Op, Callable[[float], tuple[float, ...]]] = {
        Op.SHEAR_X: lambda v: (1, v, 0, 0, 1, 0),
        Op.SHEAR_Y: lambda v: (1, 0, 0, v, 1, 0),
        Op.TRANSLATE_X: lambda v: (1, 0, v, 0, 1, 0),
        Op.TRANSLATE_Y: lambda v: (1, 0, 0, 0, 1, v),
    }
    for op, matrix in matrices.items():
        for magnitude in range(1, 10):
            value = float(uda_value(op, np.array(float(magnitude))))
            found = _applied(images[:1], op, [value])[0]
            wanted = _affine(matrix(value))(Image.fromarray(images[0]))
            np.testing.assert_array_equal(found, np.asarray(wanted), err_msg=f"{op.name} {value}")


def test_autoaugment_lists_are_torchvisions() -> None:
    for name, policy in (
        ("imagenet", v2.AutoAugmentPolicy.IMAGENET),
        ("cifar10", v2.AutoAugmentPolicy.CIFAR10),
        ("svhn", v2.AutoAugmentPolicy.SVHN),
    ):
        theirs = [
            tuple((_spelled(op), prob, level or 0) for op, prob, level in pair)
            for pair in v2.AutoAugment(policy)._policies
        ]
        ours = [
            tuple((Op(int(op)).name.replace("_", ""), prob, level) for op, prob, level in pair)
            for pair in POLICIES[f"autoaugment_{name}"]
        ]
        assert ours == theirs


def _spelled(name: str) -> str:
    return name.upper()


def test_v0_list_is_timms_and_its_levels_are_too() -> None:
    hparams: dict[str, Any] = {"translate_const": 250, "img_mean": (128, 128, 128)}
    theirs = timm_policies.auto_augment_policy_v0(hparams)  # type: ignore[no-untyped-call]
    ours = POLICIES["autoaugment_imagenet_v0"]
    assert len(ours) == len(theirs) == 25
    for pair, other in zip(ours, theirs, strict=True):
        for (number, prob, level), op in zip(pair, other, strict=True):
            name = op.name.removesuffix("Rel").upper()
            assert (Op(int(number)).name.replace("_", ""), prob, level) == (
                name,
                op.prob,
                op.magnitude,
            )
    for op, name in ((Op.POSTERIZE, "Posterize"), (Op.SOLARIZE, "Solarize")):
        for level in range(11):
            argument: Any = timm_policies.LEVEL_TO_ARG[name]
            (wanted,) = argument(level, hparams)
            assert float(V0_LEVELS[op](np.array(float(level)))) == wanted


@pytest.mark.parametrize("op", TORCHVISION_OPS, ids=lambda op: op.name)
def test_randaugment_strength_is_torchvisions(op: Op) -> None:
    names = {name.upper(): name for name in v2.RandAugment._AUGMENTATION_SPACE}
    magnitudes, _ = v2.RandAugment._AUGMENTATION_SPACE[names[op.name.replace("_", "")]]
    theirs = magnitudes(31, 40, 60)
    if theirs is None:
        return
    for magnitude in (0, 9, 15, 30):
        ours = float(torchvision_value(op, np.array(magnitude / 30), 40, 60))
        wanted = float(theirs[magnitude])
        if op in (Op.TRANSLATE_X, Op.TRANSLATE_Y):
            wanted = int(wanted)
        if op is Op.SOLARIZE:
            wanted *= 255
        assert ours == pytest.approx(wanted, abs=1e-4)


def test_uda_pool_and_strengths_are_the_papers() -> None:
    assert len(set(UDA_OPS)) == 15
    at = {m: {op: float(uda_value(op, np.array(float(m)))) for op in UDA_OPS} for m in range(1, 10)}
    assert [at[m][Op.POSTERIZE] for m in range(1, 10)] == [4, 4, 3, 3, 2, 2, 2, 1, 1]
    assert at[1][Op.BRIGHTNESS] == pytest.approx(0.28)
    assert at[9][Op.COLOR] == pytest.approx(1.72)
    assert [at[m][Op.SOLARIZE] for m in (1, 5, 9)] == [231, 128, 26]
    assert at[9][Op.ROTATE] == 27
    assert at[4][Op.CUTOUT] == 8


def test_uda_draws_every_operation_equally_and_a_quarter_gets_none() -> None:
    config = PolicyConfig(kind="randaugment_uda")
    draws = np.random.default_rng(0).random((40_000, num_draws(config)))
    found = plan(config, draws, 32, 32)
    none = (found.ops == Op.IDENTITY).all(1).mean()
    assert none == pytest.approx(0.25, abs=0.01)
    counts = np.bincount(found.ops.ravel(), minlength=17)
    done = counts[[int(op) for op in UDA_OPS]]
    assert done.min() > 0.9 * done.mean()
    assert done.max() < 1.1 * done.mean()


def test_uda_leaves_the_mean_where_a_picture_moved_away_until_a_colour_paints_it() -> None:
    images = torch.full((2, 3, 8, 8), 200, dtype=torch.uint8)
    covered = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    centres = np.full((2, 2), 0.5)
    moved, seen = apply(
        images, covered, np.full(2, int(Op.TRANSLATE_X)), np.array([3.0, 3.0]), centres=centres
    )
    assert not seen[:, :, :, 5:].any()
    assert seen[:, :, :, :5].all()
    ops = np.array([int(Op.INVERT), int(Op.BRIGHTNESS)])
    painted, after = apply(moved, seen, ops, np.array([0.0, 1.5]), centres=centres)
    assert after[0].all()
    assert (painted[0, :, :, 5:] == 255).all()
    assert not after[1, :, :, 5:].any()


def test_cutout_square_is_clipped_at_the_border() -> None:
    centres = np.array([[0.0, 0.0], [0.5, 0.5], [0.99, 0.5]])
    holes = squares(centres, np.full(3, 16), torch.empty(1, 3, 32, 32))
    assert [int(hole.sum()) for hole in holes] == [8 * 8, 16 * 16, 9 * 16]
    assert holes[0, 0, :8, :8].all()


@pytest.mark.parametrize("kind", ["bicubic", "bilinear"])
def test_crop_and_resize_is_torchvisions(kind: str) -> None:
    image = torch.from_numpy(_batch(50, 70)[2]).permute(2, 0, 1)
    draws = np.random.default_rng(3).random((20, 40))
    for row in draws:
        box = random_box(row, 50, 70, CropConfig())
        wanted = tv.resized_crop(image, *box, [24, 24], InterpolationMode(kind), antialias=True)
        torch.testing.assert_close(resized(image, box, 24, kind), wanted, rtol=0, atol=0)


def test_random_boxes_are_spread_as_torchvisions() -> None:
    config = CropConfig()
    draws = np.random.default_rng(1).random((3000, 40))
    ours = np.array([random_box(row, 60, 90, config) for row in draws], float)
    torch.manual_seed(1)
    transform = v2.RandomResizedCrop(10)
    image = torch.zeros(3, 60, 90, dtype=torch.uint8)
    theirs = [transform.make_params([image]) for _ in range(3000)]
    wanted = np.array([[p["top"], p["left"], p["height"], p["width"]] for p in theirs], float)
    np.testing.assert_allclose(ours.mean(0), wanted.mean(0), rtol=0.06)
    np.testing.assert_allclose(ours.std(0), wanted.std(0), rtol=0.06)
