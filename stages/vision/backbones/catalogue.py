"""The names of all networks, and what each is; needs no torch."""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass

from stages.vision.backbones import efficientnet, mobilenet, mobilenetv3, resnet
from stages.vision.backbones.options import BackboneOptions
from stages.vision.backbones.specs import Spec

EXPERTS = (4, 8, 16, 32)
"""Experts that names speak of; `conditional: {experts: n}` takes any number."""


@dataclass(frozen=True)
class Family:
    """Networks of one kind.

    Attributes:
        names: those that are listed.
        pattern: of all names; its named groups are given to `spec`.
        spec: builds the specification.
        options: fields of `BackboneOptions` that it has besides those that all have.
    """

    names: tuple[str, ...]
    pattern: str
    spec: Callable[[BackboneOptions, dict[str, str | None]], Spec]
    options: frozenset[str]


_ALL = frozenset(
    {"name", "padding", "stem", "dropout", "drop_path", "norm_eps", "norm_momentum"}
    | {"output_stride"}
)
_DEPTHS = (18, 34, 50, 101, 152)
_B = (*(f"b{i}" for i in range(9)), "l2")
_MULTIPLIERS = ("0.35", "0.5", "0.75", "1.25")
_CONDITIONAL = (
    "mobilenetv1",
    "mobilenetv2",
    "mnasnet_a1",
    "resnet50",
    "efficientnet_b0",
    "efficientnet_b0_depth",
)
_WIDTH = r"(?:_(?P<width>\d+(?:\.\d+)?))?"
_CC = r"(?:(?P<cc>cc)_)?"
_AA = r"(?:(?P<aa>aa)_)?"
_E = r"(?(cc)_(?P<experts>\d+)e)"


def _cc_names(*bases: str) -> tuple[str, ...]:
    return tuple(f"cc_{base}_{n}e" for base in _CONDITIONAL if base in bases for n in EXPERTS)


FAMILIES: tuple[Family, ...] = (
    Family(
        (
            *(f"resnet{d}" for d in (10, *_DEPTHS)),
            *(f"resnetv2_{d}" for d in _DEPTHS),
            *(f"aa_resnet{d}" for d in _DEPTHS[1:]),
            *_cc_names("resnet50"),
        ),
        rf"{_AA}{_CC}resnet(?:(?P<v2>v2)_)?(?P<layers>10|18|34|50|101|152){_E}",
        resnet.resnet_spec,
        frozenset({"conditional", "attention"}),
    ),
    Family(
        ("wrn_28_2", "wrn_28_10", "aa_wrn_28_10"),
        rf"{_AA}wrn_(?P<layers>\d+)_(?P<factor>\d+)",
        resnet.wrn_spec,
        frozenset({"shortcut", "attention"}),
    ),
    Family(
        ("mobilenetv1", *_cc_names("mobilenetv1")),
        rf"{_CC}mobilenetv1{_WIDTH}{_E}",
        mobilenet.v1_spec,
        frozenset({"width", "conditional"}),
    ),
    Family(
        ("mobilenetv2", *_cc_names("mobilenetv2")),
        rf"{_CC}mobilenetv2{_WIDTH}{_E}",
        mobilenet.v2_spec,
        frozenset({"width", "conditional"}),
    ),
    Family(
        ("mnasnet_a1", "aa_mnasnet_a1", *_cc_names("mnasnet_a1")),
        rf"{_AA}{_CC}mnasnet_a1{_WIDTH}{_E}",
        mobilenet.mnasnet_spec,
        frozenset({"width", "conditional", "attention"}),
    ),
    Family(
        (
            *(f"efficientnet_{b}" for b in _B),
            *_cc_names("efficientnet_b0", "efficientnet_b0_depth"),
        ),
        rf"{_CC}efficientnet_(?P<size>b[0-8]|l2)(?:_(?P<deep>depth))?{_E}",
        efficientnet.efficientnet_spec,
        frozenset({"width", "depth", "conditional"}),
    ),
    Family(
        ("mbconv_tiny",),
        r"mbconv_tiny",
        efficientnet.tiny_spec,
        frozenset({"width", "depth"}),
    ),
    Family(
        tuple(
            f"mobilenetv3_{size}{end}"
            for size in ("large", "small")
            for end in ("", *(f"_{m}" for m in _MULTIPLIERS), "_minimal")
        ),
        rf"mobilenetv3_(?P<size>large|small){_WIDTH}(?:_(?P<minimal>minimal))?",
        mobilenetv3.v3_spec,
        frozenset({"width", "width_rule", "scale_hidden", "tail"}),
    ),
)


def list_names() -> list[str]:
    """All names that are listed; width multipliers and WRNs of other sizes may be written too."""
    return sorted(name for family in FAMILIES for name in family.names)


def spec_of(options: BackboneOptions) -> Spec:
    """The network that name and options describe.

    Raises:
        ValueError: no such name, or an option that this network has not.
    """
    for family in FAMILIES:
        match = re.fullmatch(family.pattern, options.name)
        if match is None:
            continue
        given = {n for n in options.model_fields_set if getattr(options, n) is not None}
        foreign = sorted(given - _ALL - family.options)
        if foreign:
            msg = (
                f"{options.name} has no option {foreign[0]!r}; "
                f"it has: {', '.join(sorted((_ALL - {'name'}) | family.options))}"
            )
            raise ValueError(msg)
        return family.spec(options, match.groupdict())
    near = difflib.get_close_matches(options.name, list_names(), n=3, cutoff=0.4)
    msg = f"unknown network {options.name!r}; did you mean {', '.join(near) or 'resnet50'}?"
    raise ValueError(msg)
