"""Configuration of the replications; needs no torch."""

from typing import Literal

from pydantic import Field

from pipeline.training.config import TrainingStageConfig
from stages.xlnet.config import ModelConfig


class ReplicationConfig(TrainingStageConfig):
    """A model on a generated language where the best loss is known beforehand.

    joint: two targets, one a function of the other (section 2.6, appendix A.5); the control
    predicts each without the other. position: every place has symbols of its own, nothing else
    tells (appendix A.1); the control predicts from what the last visible token holds. memory: a
    value is asked for a segment after it was told; the control has no memory.
    """

    claim: Literal["joint", "position", "memory"]
    control: bool = Field(default=False, description="the arm that must fail")
    gap: int = Field(
        1, gt=0, description="memory: segments between; more than layers are out of reach"
    )
    symbols: int = Field(16, gt=1, description="symbols that a target may be")
    model: ModelConfig = Field(
        default_factory=lambda: ModelConfig.model_validate(
            {"preset": "tiny", "num_layers": 2, "d_model": 48, "num_heads": 4, "d_inner": 96}
        )
    )
    held_out: int = Field(2048, gt=0, description="generated examples that are scored")

    @property
    def must_fail(self) -> bool:
        """Whether this arm cannot reach the claim's loss."""
        return self.control or (self.claim == "memory" and self.gap > self.model.num_layers)
