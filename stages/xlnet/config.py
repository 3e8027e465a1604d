"""Configuration of XLNet's stages; needs no torch, is checked when the DAG is read."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import override

from pipeline.spec.config import Source, StageConfig
from pipeline.training.config import TrainingStageConfig

_STRICT = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

_Prob = Annotated[float, Field(ge=0, lt=1)]

PRESETS: dict[str, dict[str, int | float]] = {
    "large": {"num_layers": 24, "d_model": 1024, "num_heads": 16, "d_inner": 4096},
    "base": {"num_layers": 12, "d_model": 768, "num_heads": 12, "d_inner": 3072},
    "small": {"num_layers": 6, "d_model": 256, "num_heads": 4, "d_inner": 1024, "init_std": 0.035},
    "tiny": {"num_layers": 4, "d_model": 128, "num_heads": 4, "d_inner": 512, "init_std": 0.05},
}
"""large and base are the paper's; small and tiny keep their proportions for a laptop.

Their weights begin larger, by the root of the width that base has over theirs: what attention adds
to a residual then has base's size, where with 0.02 it would be lost in it.
"""


class ModelConfig(BaseModel):
    """The shape of the backbone; what is left out comes from `preset`."""

    model_config = _STRICT

    preset: Literal["large", "base", "small", "tiny"] = "base"
    num_layers: int = Field(12, gt=0)
    d_model: int = Field(768, gt=0, multiple_of=2, description="residual width")
    num_heads: int = Field(12, gt=0)
    d_inner: int = Field(3072, gt=0, description="width inside the feed-forward part")
    init_std: float = Field(0.02, gt=0, description="deviation of new weights")
    untie_r: bool = Field(
        default=True,
        description="false: all layers share their attention biases, as in Transformer-XL",
    )
    activation: Literal["gelu_tanh", "gelu_erf", "relu"] = Field(
        "gelu_tanh",
        description="inside the feed-forward part; the released weights were trained with gelu_tanh",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return PRESETS.get(str(values.get("preset", "base")), {}) | values
        return values

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.d_model % self.num_heads:
            msg = f"d_model={self.d_model} is not a multiple of num_heads={self.num_heads}"
            raise ValueError(msg)
        return self

    @property
    def d_head(self) -> int:
        """Width of one head."""
        return self.d_model // self.num_heads


class DropoutConfig(BaseModel):
    """Dropout rates; not part of the shape, so that finetuning chooses its own."""

    model_config = _STRICT

    hidden: _Prob = Field(0.1, description="embeddings, positions, after both halves of a layer")
    attention: _Prob = Field(0.1, description="attention probabilities")
    activation: _Prob = Field(0.0, description="after GELU; 0 in the paper, 0.1 in its code")


class SpanConfig(BaseModel):
    """How targets are chosen: spans of 1..max_tokens tokens, with context around each."""

    model_config = _STRICT

    max_tokens: int = Field(5, gt=0, description="longest span; length n is drawn with prob ~ 1/n")
    alpha: int = Field(6, gt=0, description="a span of n tokens gets n * alpha // beta of context")
    beta: int = Field(1, gt=0)

    @model_validator(mode="after")
    def _context_is_not_empty(self) -> Self:
        if self.alpha < self.beta:
            msg = f"alpha={self.alpha} is below beta={self.beta}: a span would have no context"
            raise ValueError(msg)
        return self


class RowsConfig(BaseModel):
    """How a row of text becomes training examples; defaults are those of the released code."""

    model_config = _STRICT

    seq_len: int = Field(512, gt=0, description="tokens of an example")
    reuse_len: int = Field(256, gt=0, description="new tokens of a step; the first half's length")
    mem_len: int = Field(384, ge=0, description="cached tokens a layer; 0 = no memory")
    perm_size: int = Field(256, gt=0, description="length of a block that is permuted at once")
    num_predict: int = Field(85, gt=1, description="targets an example; both halves have a share")
    bidirectional: bool = Field(
        default=True, description="half of the rows are the same text, reversed"
    )
    spans: SpanConfig = SpanConfig()

    @property
    def second_len(self) -> int:
        """Tokens of the second half: segment A, SEP, segment B, SEP, CLS."""
        return self.seq_len - self.reuse_len

    @property
    def segment_budget(self) -> int:
        """Tokens of segments A and B together."""
        return self.second_len - 3

    @property
    def num_predict_halves(self) -> tuple[int, int]:
        """Targets drawn in the first and in the second half."""
        return self.num_predict - self.num_predict // 2, self.num_predict // 2

    @model_validator(mode="after")
    def _halves_fit(self) -> Self:
        if self.segment_budget < 2:
            msg = (
                f"seq_len={self.seq_len} leaves no room for two segments after "
                f"reuse_len={self.reuse_len}; it needs at least reuse_len + 5"
            )
            raise ValueError(msg)
        if self.reuse_len % self.perm_size or self.second_len % self.perm_size:
            msg = (
                f"perm_size={self.perm_size} must divide reuse_len={self.reuse_len} "
                f"and seq_len - reuse_len={self.second_len}"
            )
            raise ValueError(msg)
        first, second = self.num_predict_halves
        if first > self.reuse_len or second > self.second_len:
            msg = f"num_predict={self.num_predict} does not fit into seq_len={self.seq_len}"
            raise ValueError(msg)
        return self


class HeldOutConfig(BaseModel):
    """How much of the validation split an evaluation of the language model reads."""

    model_config = _STRICT

    rows: int = Field(8, gt=0, multiple_of=2, description="rows the validation text is cut into")
    max_steps: int = Field(32, gt=0, description="most segments that are read of a row")


class PretrainConfig(TrainingStageConfig):
    """XLNet pretraining (Yang et al. 2019, arXiv:1906.08237): a permutation language model."""

    model: ModelConfig = ModelConfig()
    dropout: DropoutConfig = DropoutConfig()
    rows: RowsConfig = RowsConfig()
    held_out: HeldOutConfig = HeldOutConfig()

    @override
    def pass_multiples(self) -> Mapping[str, int]:
        return {"train.global_batch_size": 2 if self.rows.bidirectional else 1}

    @model_validator(mode="after")
    def _both_directions_fit(self) -> Self:
        if self.rows.bidirectional and self.train.global_batch_size % 2:
            msg = (
                f"train.global_batch_size={self.train.global_batch_size} must be even: "
                "rows.bidirectional reads every row in both directions"
            )
            raise ValueError(msg)
        return self


class FinetuneConfig(TrainingStageConfig):
    """What every finetuning stage is told."""

    model: ModelConfig | None = Field(
        None, description="null: weights and shape of the `checkpoint` input; else from scratch"
    )
    dropout: DropoutConfig = DropoutConfig()
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="rate of a layer over that of the one above; 0.75 for SQuAD"
    )
    max_len: int = Field(512, gt=8, description="tokens of an input, its SEP and CLS included")
    evaluation_batch_size: int = Field(32, gt=0, description="inputs a forward pass, on each rank")


class ClassifyConfig(FinetuneConfig):
    """Finetuning of XLNet to classify documents."""

    long_documents: Literal["windows", "head"] = Field(
        "windows",
        description="windows: trains on a random window, averages the logits of all in evaluation;"
        " head: keeps the first max_len - 2 tokens of a longer document",
    )
    evaluate_on: Literal["validation", "test"] = Field(
        "test", description="split of the shards that is scored"
    )


class ImportHFConfig(StageConfig):
    """An XLNet model of transformers as a checkpoint and a tokenizer."""

    source: Source = Field(
        description="folder with config.json, spiece.model and model.safetensors or "
        "pytorch_model.bin"
    )
    activation: Literal["config", "gelu_tanh", "gelu_erf", "relu"] = Field(
        "config",
        description="config: what transformers computes; gelu_tanh: what the released weights were "
        "trained with, whatever their config.json says",
    )


class ExportHFConfig(StageConfig):
    """A checkpoint and its tokenizer as a folder that transformers loads."""

    form: Literal["safetensors", "bin"] = Field(
        "safetensors", description="bin: pytorch_model.bin, for old readers"
    )
