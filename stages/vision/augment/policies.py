"""Which operations an example gets, and how strong: RandAugment twice over, and AutoAugment."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.vision.augment.autoaugment import LEVELS_10, POLICIES, V0_LEVELS, Sub
from stages.vision.augment.config import PolicyConfig
from stages.vision.augment.operations import Op

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """What is done to each example of a batch, one column after the other.

    Attributes:
        ops: (examples, operations) numbers of `Op`.
        values: (examples, operations) their values.
        centres: (examples, operations, 2) of cutouts, in [0, 1).
    """

    ops: NDArray[np.int64]
    values: Floats
    centres: Floats


DRAWS_AN_OP = 5
"""Uniform numbers that one operation may use: which, whether, sign, and a centre."""

_SIGNED = (Op.SHEAR_X, Op.SHEAR_Y, Op.TRANSLATE_X, Op.TRANSLATE_Y, Op.ROTATE)
_FACTORS = (Op.BRIGHTNESS, Op.COLOR, Op.CONTRAST, Op.SHARPNESS)

TORCHVISION_OPS = (
    *(Op.IDENTITY, Op.SHEAR_X, Op.SHEAR_Y, Op.TRANSLATE_X, Op.TRANSLATE_Y, Op.ROTATE),
    *(Op.BRIGHTNESS, Op.COLOR, Op.CONTRAST, Op.SHARPNESS, Op.POSTERIZE, Op.SOLARIZE),
    *(Op.AUTOCONTRAST, Op.EQUALIZE),
)
"""Pool of torchvision's RandAugment, in its order."""

UDA_OPS = (
    *(Op.INVERT, Op.CUTOUT, Op.SHARPNESS, Op.AUTOCONTRAST, Op.POSTERIZE, Op.SHEAR_X),
    *(Op.TRANSLATE_X, Op.TRANSLATE_Y, Op.SHEAR_Y, Op.ROTATE, Op.EQUALIZE, Op.CONTRAST),
    *(Op.COLOR, Op.SOLARIZE, Op.BRIGHTNESS),
)
"""The fifteen transforms of the UDA paper."""


def num_draws(config: PolicyConfig) -> int:
    """Uniform numbers an example that `plan` takes."""
    ops = config.num_ops if config.kind == "randaugment" else 2
    return 0 if config.kind == "none" else 1 + DRAWS_AN_OP * ops


def plan(config: PolicyConfig, draws: Floats, height: int, width: int) -> Plan:
    """The operations of each example.

    Args:
        config: which rule.
        draws: (examples, num_draws(config)) uniform in [0, 1).
        height: of the images, pixels.
        width: of the images, pixels.
    """
    per_op = draws[:, 1:].reshape(len(draws), -1, DRAWS_AN_OP)
    match config.kind:
        case "randaugment":
            ops, values = _torchvision(per_op, config.magnitude, height, width)
        case "randaugment_uda":
            ops, values = _uda(per_op)
        case _:
            ops, values = _autoaugment(config.kind, draws[:, 0], per_op, height, width)
    return Plan(ops, values, per_op[..., 3:5])


def torchvision_value(op: Op, level: Floats, height: int, width: int) -> Floats:  # noqa: PLR0911 - a table
    """Strength of an operation without its sign.

    Args:
        op: which.
        level: 0 to 1, magnitude over the largest one.
        height: of the images, pixels.
        width: of the images, pixels.

    Source: AutoAugment and RandAugment of torchvision.transforms.
    """
    match op:
        case Op.SHEAR_X | Op.SHEAR_Y:
            return 0.3 * level
        case Op.TRANSLATE_X:
            return np.trunc(150.0 / 331.0 * width * level + 1e-5)
        case Op.TRANSLATE_Y:
            return np.trunc(150.0 / 331.0 * height * level + 1e-5)
        case Op.ROTATE:
            return 30.0 * level
        case Op.POSTERIZE:
            return 8 - np.round(4 * level)
        case Op.SOLARIZE:
            return 255.0 * (1 - level)
        case _ if op in _FACTORS:
            return 0.9 * level
        case _:
            return np.zeros_like(level)


def uda_value(op: Op, magnitude: Floats) -> Floats:  # noqa: PLR0911 - a table
    """Strength at magnitude 1 to 9, without its sign. Source: UDA's policies, appendix A.2."""
    match op:
        case Op.SHEAR_X | Op.SHEAR_Y:
            return 0.03 * magnitude
        case Op.TRANSLATE_X | Op.TRANSLATE_Y:
            return magnitude
        case Op.ROTATE:
            return 3.0 * magnitude
        case Op.POSTERIZE:
            return 4 - np.floor(0.4 * magnitude + 1e-9)
        case Op.SOLARIZE:
            return 256 - np.floor(25.6 * magnitude + 1e-9)
        case Op.CUTOUT:
            return 2 * magnitude
        case _:
            return 0.1 + 0.18 * magnitude


def _torchvision(
    draws: Floats, magnitude: int, height: int, width: int
) -> tuple[NDArray[np.int64], Floats]:
    """`num_ops` of the pool, drawn with replacement, all of one magnitude of 0 to 30."""
    ops = _picked(TORCHVISION_OPS, draws[..., 0])
    level = np.full(ops.shape, magnitude / 30)
    return ops, _valued(ops, draws[..., 2], lambda op: torchvision_value(op, level, height, width))


def _uda(draws: Floats) -> tuple[NDArray[np.int64], Floats]:
    """An ordered pair of 135 operations (15 transforms at magnitudes 1 to 9), each done half the time."""
    cell = np.floor(draws[..., 0] * 135).astype(np.int64)
    ops = np.array(UDA_OPS, np.int64)[cell // 9]
    magnitude = (1 + cell % 9).astype(np.float64)
    values = _signed(ops, draws[..., 2], lambda op: uda_value(op, magnitude))
    return np.where(draws[..., 1] < 0.5, ops, int(Op.IDENTITY)), values


def _autoaugment(
    kind: str, which: Floats, draws: Floats, height: int, width: int
) -> tuple[NDArray[np.int64], Floats]:
    """One of the sub-policies: two operations, each with its probability and magnitude."""
    table: tuple[tuple[Sub, Sub], ...] = POLICIES[kind]
    chosen = np.array(table, np.float64)[(which * len(table)).astype(np.int64)]
    ops = chosen[..., 0].astype(np.int64)
    level = chosen[..., 2]
    if kind == "autoaugment_imagenet_v0":
        values = _signed(ops, draws[..., 2], lambda op: V0_LEVELS[op](level))
    else:
        values = _valued(
            ops,
            draws[..., 2],
            lambda op: torchvision_value(op, level / (LEVELS_10 - 1), height, width),
        )
    return np.where(draws[..., 1] < chosen[..., 1], ops, int(Op.IDENTITY)), values


def _picked(pool: tuple[Op, ...], draws: Floats) -> NDArray[np.int64]:
    return np.array(pool, np.int64)[(draws * len(pool)).astype(np.int64)]


def _signed(ops: NDArray[np.int64], sign: Floats, value: Callable[[Op], Floats]) -> Floats:
    """Values by operation; those that go two ways change sign where `sign` is below a half."""
    values = np.zeros(ops.shape)
    for number in np.unique(ops).tolist():
        op = Op(number)
        strength = value(op)
        if op in _SIGNED:
            strength = np.where(sign < 0.5, -strength, strength)
        values = np.where(ops == number, strength, values)
    return values


def _valued(ops: NDArray[np.int64], sign: Floats, value: Callable[[Op], Floats]) -> Floats:
    """As `_signed`; torchvision's factors are 1 plus or minus the strength, and it moves right."""
    values = _signed(ops, sign, value)
    for number in np.unique(ops).tolist():
        op = Op(number)
        if op in _FACTORS:
            factor = 1 + np.where(sign < 0.5, -1.0, 1.0) * value(op)
            values = np.where(ops == number, factor, values)
        elif op in (Op.TRANSLATE_X, Op.TRANSLATE_Y):
            values = np.where(ops == number, -values, values)
    return values


V0_FILL: Mapping[str, int] = {"autoaugment_imagenet_v0": 128}
"""Grey behind what moves away; black with the other rules."""
