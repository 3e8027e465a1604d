"""Random XLNet weights in our model and in that of transformers, and inputs for both."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import XLNetConfig, XLNetLMHeadModel

from stages.xlnet.config import DropoutConfig, ModelConfig
from stages.xlnet.heads import LanguageModel
from stages.xlnet.model import initialise
from stages.xlnet.permutation import attention_keys, draw_ranks

NO_DROPOUT = DropoutConfig(hidden=0.0, attention=0.0, activation=0.0)
VOCAB_SIZE = 40
SHAPE = ModelConfig(num_layers=3, d_model=24, num_heads=4, d_inner=40)


@dataclass(frozen=True)
class Case:
    """One batch as our model takes it."""

    tokens: Tensor
    segments: Tensor
    keys: tuple[Tensor, Tensor]
    targets: Tensor
    memory: Tensor | None


def our_model(seed: int = 0) -> LanguageModel:
    """A small model in float64, no dropout, every parameter away from its special initial value."""
    generator = torch.Generator().manual_seed(seed)
    model = LanguageModel(SHAPE, VOCAB_SIZE, NO_DROPOUT).double()
    initialise(model, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.15 * noise)
    return model


def hf_model(
    ours: LanguageModel, *, bidirectional: bool = False, reuse_len: int | None = None
) -> Any:
    """The model of transformers with the same weights."""
    config = XLNetConfig(
        vocab_size=VOCAB_SIZE,
        d_model=SHAPE.d_model,
        n_layer=SHAPE.num_layers,
        n_head=SHAPE.num_heads,
        d_inner=SHAPE.d_inner,
        ff_activation="gelu_new",
        dropout=0.0,
        bi_data=bidirectional,
        reuse_len=reuse_len,
        mem_len=1 << 20,
        use_mems_eval=True,
        use_mems_train=True,
    )
    theirs: Any = XLNetLMHeadModel(config).double()
    theirs.load_state_dict(hf_weights(dict(ours.named_parameters())))
    embed = theirs.transformer.positional_embedding

    def embed_in_float64(positions: Tensor, _frequencies: Tensor, batch: int | None) -> Tensor:
        # It makes its table in float32, which would hide what lies below 1e-8.
        exponents = torch.arange(0, SHAPE.d_model, 2, dtype=torch.float64) / SHAPE.d_model
        result: Tensor = embed(positions.double(), torch.pow(10000.0, -exponents), batch)
        return result

    theirs.transformer.positional_embedding = embed_in_float64
    return theirs


def hf_weights(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our parameters, or their gradients, under the names and in the shapes of transformers."""
    heads = (SHAPE.d_model, SHAPE.num_heads, SHAPE.d_head)
    biases = {"content": "r_w_bias", "position": "r_r_bias", "segment": "r_s_bias"}
    theirs = {
        "transformer.word_embedding.weight": ours["backbone.embed.weight"],
        "lm_loss.weight": ours["backbone.embed.weight"],
        "lm_loss.bias": ours["lm_head.bias"],
        "transformer.mask_emb": ours["backbone.query_init"].view(1, 1, -1),
    }
    for i in range(SHAPE.num_layers):
        layer, target = f"backbone.layers.{i}", f"transformer.layer.{i}"
        for name in "qkvr":
            weight = ours[f"{layer}.attn.{name}.weight"]
            theirs[f"{target}.rel_attn.{name}"] = weight.T.reshape(heads)
        theirs[f"{target}.rel_attn.o"] = ours[f"{layer}.attn.o.weight"].reshape(heads)
        theirs[f"{target}.rel_attn.seg_embed"] = ours[f"{layer}.attn.seg_key"]
        for name, bias in biases.items():
            theirs[f"{target}.rel_attn.{bias}"] = ours[f"{layer}.attn.bias_{name}"]
        for kind in ("weight", "bias"):
            theirs[f"{target}.rel_attn.layer_norm.{kind}"] = ours[f"{layer}.attn.norm.{kind}"]
            theirs[f"{target}.ff.layer_norm.{kind}"] = ours[f"{layer}.ff.norm.{kind}"]
            theirs[f"{target}.ff.layer_1.{kind}"] = ours[f"{layer}.ff.up.{kind}"]
            theirs[f"{target}.ff.layer_2.{kind}"] = ours[f"{layer}.ff.down.{kind}"]
    return theirs


def case(
    *, batch: int = 3, length: int = 12, num_targets: int = 4, num_memory: int = 0, seed: int = 1
) -> Case:
    """Random tokens, two segments and CLS, an order of its own for each row."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(9, VOCAB_SIZE, (batch, length))
    segments = np.sort(rng.integers(0, 2, (batch, length)), axis=1)
    segments[:, -1] = 2
    functional = np.zeros(length, bool)
    functional[[length // 2, length - 1]] = True
    rows, columns, targets = [], [], []
    for _ in range(batch):
        # Context stays, or a row without memory might see nothing.
        free = rng.permutation(np.flatnonzero(~functional))[:num_targets]
        selected = np.isin(np.arange(length), free)
        row, column = attention_keys(draw_ranks(rng, length, length), selected, functional)
        rows.append(row)
        columns.append(column)
        targets.append(np.sort(free))
    shape = (batch, SHAPE.num_layers, num_memory, SHAPE.d_model)
    memory = torch.from_numpy(rng.standard_normal(shape)) if num_memory else None
    return Case(
        torch.from_numpy(tokens),
        torch.from_numpy(segments),
        (torch.from_numpy(np.stack(rows)), torch.from_numpy(np.stack(columns))),
        torch.from_numpy(np.stack(targets)),
        memory,
    )
