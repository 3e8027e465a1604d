"""The weights of our model in that of transformers."""

from typing import Any

import torch
from torch import Tensor
from transformers import XLNetConfig, XLNetLMHeadModel

from stages.xlnet.heads import LanguageModel
from tests.xlnet.models import SHAPE, VOCAB_SIZE


def hf_config(**options: Any) -> Any:
    """The configuration of transformers for our small shape, no dropout."""
    return XLNetConfig(
        vocab_size=VOCAB_SIZE,
        d_model=SHAPE.d_model,
        n_layer=SHAPE.num_layers,
        n_head=SHAPE.num_heads,
        d_inner=SHAPE.d_inner,
        ff_activation="gelu_new",
        dropout=0.0,
        summary_last_dropout=0.0,
        **options,
    )


def hf_model(
    ours: LanguageModel, *, bidirectional: bool = False, reuse_len: int | None = None
) -> Any:
    """The language model of transformers with the same weights, in float64."""
    config = hf_config(
        bi_data=bidirectional,
        reuse_len=reuse_len,
        mem_len=1 << 20,
        use_mems_eval=True,
        use_mems_train=True,
    )
    theirs: Any = XLNetLMHeadModel(config).double()
    copy_weights(ours, theirs)
    positions_in_float64(theirs)
    return theirs


def positions_in_float64(theirs: Any) -> None:
    """Makes a model of transformers compute its table of positions in float64.

    It makes it in float32, which would hide what lies below 1e-8.
    """
    embed = theirs.transformer.positional_embedding

    def embed_in_float64(positions: Tensor, _frequencies: Tensor, batch: int | None) -> Tensor:
        exponents = torch.arange(0, SHAPE.d_model, 2, dtype=torch.float64) / SHAPE.d_model
        result: Tensor = embed(positions.double(), torch.pow(10000.0, -exponents), batch)
        return result

    theirs.transformer.positional_embedding = embed_in_float64


def copy_weights(ours: LanguageModel, theirs: Any) -> None:
    """Gives the model of transformers our weights."""
    theirs.load_state_dict(hf_weights(ours.state_dict()))


def hf_weights(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our parameters, or their gradients, under the names and in the shapes of transformers."""
    num_heads, d_head = ours["backbone.layers.0.attn.bias_content"].shape
    heads = (num_heads * d_head, num_heads, d_head)
    num_layers = sum(name.endswith("attn.q.weight") for name in ours)
    biases = {"content": "r_w_bias", "position": "r_r_bias", "segment": "r_s_bias"}
    theirs = {
        "transformer.word_embedding.weight": ours["backbone.embed.weight"],
        "lm_loss.weight": ours["backbone.embed.weight"],
        "lm_loss.bias": ours["lm_head.bias"],
        "transformer.mask_emb": ours["backbone.query_init"].view(1, 1, -1),
    }
    for i in range(num_layers):
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
