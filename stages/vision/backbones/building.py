"""What the tables of all families are read with; needs no torch."""

from collections.abc import Sequence
from typing import TypeVar

from stages.vision.backbones.options import BackboneOptions
from stages.vision.backbones.specs import Attended, Common, Init
from stages.vision.layers.shapes import Padding

Groups = dict[str, str | None]
"""The parts of a name."""

_T = TypeVar("_T")


def common_of(
    options: BackboneOptions,
    *,
    padding: Padding,
    norm: tuple[float, float],
    dropout: float = 0.0,
    drop_path: float = 0.0,
    image_size: int = 224,
    init: Init = "he",
) -> Common:
    """The family's values where the options say nothing; `norm` is (eps, momentum)."""
    return Common(
        name=options.name,
        padding=_either(options.padding, padding),
        norm_eps=_either(options.norm_eps, norm[0]),
        norm_momentum=_either(options.norm_momentum, norm[1]),
        dropout=_either(options.dropout, dropout),
        drop_path=_either(options.drop_path, drop_path),
        init=init,
        image_size=image_size,
        expert_dropout=options.conditional.expert_dropout if options.conditional else 0.0,
        conditional_classifier=0,
        attended=None,
    )


def _either(chosen: _T | None, default: _T) -> _T:
    return default if chosen is None else chosen


def number_of(groups: Groups, name: str, default: float) -> float:
    """A number in a name, or the default where the name has none."""
    text = groups.get(name)
    return default if text is None else float(text)


def width_of(options: BackboneOptions, groups: Groups) -> float:
    """The width multiplier: of the option, else of the name.

    Raises:
        ValueError: both say one.
    """
    if options.width is not None and groups.get("width") is not None:
        msg = f"{options.name} names a width already; leave out width={options.width}"
        raise ValueError(msg)
    return options.width if options.width is not None else number_of(groups, "width", 1.0)


def experts_of(options: BackboneOptions, groups: Groups) -> int:
    """Experts of a CondConv network; 0 for others.

    Raises:
        ValueError: `conditional` for a network without experts.
    """
    if not groups.get("cc"):
        if options.conditional is not None:
            msg = f"{options.name} has no experts; conditional: is for the cc_ networks"
            raise ValueError(msg)
        return 0
    experts = int(number_of(groups, "experts", 0))
    if options.conditional is not None and options.conditional.experts is not None:
        experts = options.conditional.experts
    if experts < 1:
        msg = f"{options.name}: a conditional network has at least one expert"
        raise ValueError(msg)
    return experts


def attended_of(
    options: BackboneOptions, groups: Groups, paper: tuple[float, float, int, int], image_size: int
) -> Attended | None:
    """Attention of an AA network; `paper` is its (kappa, upsilon, heads, min_head).

    Raises:
        ValueError: `attention` for a network without it.
    """
    if not groups.get("aa"):
        if options.attention is not None:
            msg = f"{options.name} has no attention; attention: is for the aa_ networks"
            raise ValueError(msg)
        return None
    kappa, upsilon, heads, min_head = paper
    given = options.attention
    if given is None:
        size = (image_size, image_size)
        return Attended(kappa, upsilon, heads, min_head, True, "centred", size)  # noqa: FBT003
    return Attended(
        kappa=_either(given.kappa, kappa),
        upsilon=_either(given.upsilon, upsilon),
        heads=_either(given.heads, heads),
        min_head=_either(given.min_head, min_head),
        relative=given.relative,
        table_init=given.table_init,
        image_size=_either(given.image_size, (image_size, image_size)),
    )


def dilated(strides: Sequence[int], start: int, limit: int) -> list[tuple[int, int]]:
    """(stride, dilation) of layers so that the total stride stays within `limit`.

    A layer whose stride is taken away keeps the dilation before it; those behind it see twice as
    far apart, as TensorFlow's code does it.

    Args:
        strides: of the layers in order, 1 or 2.
        start: total stride before them.
        limit: greatest total stride.
    """
    total, dilation, result = start, 1, []
    for stride in strides:
        if total * stride > limit:
            result.append((1, dilation))
            dilation *= stride
        else:
            result.append((stride, dilation))
            total *= stride
    return result
