"""The configuration of one network; needs no torch."""

from typing import Self

from pydantic import model_validator

from stages.vision.backbones.catalogue import spec_of
from stages.vision.backbones.options import BackboneOptions


class BackboneConfig(BackboneOptions):
    """One network: its name is known, and its options are ones that it has."""

    @model_validator(mode="after")
    def _network_exists(self) -> Self:
        spec_of(self)
        return self
