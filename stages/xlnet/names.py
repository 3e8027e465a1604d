"""Names and shapes of XLNet's weights elsewhere: in transformers, and in the released checkpoints.

Tensors are only renamed, cut, reshaped and transposed, so there and back gives the same bits.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pipeline.errors import InputError
from stages.xlnet.config import ModelConfig

Naming = Literal["transformers", "tensorflow"]

_Change = Callable[[Tensor, ModelConfig], Tensor]


@dataclass(frozen=True)
class _Form:
    """How a tensor is laid out there: `there` takes ours, `back` gives it again."""

    there: _Change
    back: _Change


_SAME = _Form(lambda t, _: t, lambda t, _: t)
_ROW = _Form(lambda t, _: t.view(1, 1, -1), lambda t, _: t.reshape(-1))
_TRANSPOSED = _Form(lambda t, _: t.T, lambda t, _: t.T)
_IN_HEADS = _Form(
    lambda t, c: t.T.reshape(c.d_model, c.num_heads, c.d_head),
    lambda t, c: t.reshape(c.d_model, c.d_model).T,
)
"""Projections to heads: (d_model, heads, d_head) there."""
_OUT_HEADS = _Form(
    lambda t, c: t.reshape(c.d_model, c.num_heads, c.d_head),
    lambda t, c: t.reshape(c.d_model, c.d_model),
)
"""The projection from heads is (d_model, heads, d_head) too, but its first index is the output's."""


@dataclass(frozen=True)
class _Name:
    ours: str
    theirs: str
    form: _Form = _SAME


_STACKED = {
    "bias_content": "r_w_bias",
    "bias_position": "r_r_bias",
    "bias_segment": "r_s_bias",
    "seg_key": "seg_embed",
}
"""Parameters that the released checkpoints hold of all layers in one tensor."""


def shared_biases(config: ModelConfig) -> dict[str, str]:
    """Attention biases of later layers -> the first layer's, which they are where `untie_r` is off."""
    return {
        f"backbone.layers.{i}.attn.bias_{part}": f"backbone.layers.0.attn.bias_{part}"
        for i in range(1, config.num_layers)
        for part in ("content", "position", "segment")
        if not config.untie_r
    }


def weights_there(
    ours: Mapping[str, Tensor], config: ModelConfig, naming: Naming
) -> dict[str, Tensor]:
    """Our weights, or any part of them, under their names elsewhere.

    Args:
        ours: by our names, shared attention biases under each of their names.
        config: shape of the backbone.
        naming: of transformers, or of the released TensorFlow checkpoints.

    Raises:
        InputError: a weight has no name there.
    """
    stacked = _stacked_there(ours, config) if naming == "tensorflow" else {}
    skip = {name for name in ours if naming == "tensorflow" and _layer_part(name) in _STACKED}
    names = {entry.ours: entry for entry in _names(config, naming)}
    unknown = sorted(ours.keys() - names.keys() - skip)
    if unknown:
        msg = f"no name in {naming} for {', '.join(unknown[:5])}"
        raise InputError(msg)
    there = {
        names[name].theirs: names[name].form.there(tensor, config).contiguous()
        for name, tensor in ours.items()
        if name not in skip
    }
    return there | stacked


def weights_back(
    theirs: Mapping[str, Tensor], config: ModelConfig, naming: Naming
) -> dict[str, Tensor]:
    """Weights from elsewhere under our names.

    Raises:
        InputError: one has no name here, or not the shape that `config` gives it.
    """
    names = {entry.theirs: entry for entry in _names(config, naming)}
    ours: dict[str, Tensor] = {}
    unknown = []
    for name, tensor in theirs.items():
        short = name.removeprefix("model/transformer/")
        parameter = next((p for p, t in _STACKED.items() if t == short), None)
        if naming == "tensorflow" and parameter is not None:
            ours |= _stacked_back(parameter, tensor, config)
        elif name in names:
            ours[names[name].ours] = _back(names[name], tensor, config)
        else:
            unknown.append(name)
    if unknown:
        msg = f"no XLNet weight that we know: {', '.join(sorted(unknown)[:5])}"
        raise InputError(msg)
    return ours


def _back(name: _Name, tensor: Tensor, config: ModelConfig) -> Tensor:
    try:
        return name.form.back(tensor, config).contiguous()
    except RuntimeError as exc:
        msg = f"{name.theirs} has shape {tuple(tensor.shape)}, which is not that of {config!r}"
        raise InputError(msg) from exc


def _stacked_there(ours: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    there = {}
    for parameter, name in _STACKED.items():
        layers = [
            ours[key]
            for i in range(config.num_layers)
            if (key := f"backbone.layers.{i}.attn.{parameter}") in ours
        ]
        if layers:
            is_shared = parameter != "seg_key" and not config.untie_r
            there[f"model/transformer/{name}"] = (
                layers[0] if is_shared else torch.stack(layers).contiguous()
            )
    return there


def _stacked_back(parameter: str, tensor: Tensor, config: ModelConfig) -> dict[str, Tensor]:
    shape: tuple[int, ...] = (config.num_heads, config.d_head)
    if parameter == "seg_key":
        shape = (2, *shape)
    if tensor.shape == shape and parameter != "seg_key":
        layers = [tensor] * config.num_layers
    elif tensor.shape == (config.num_layers, *shape):
        layers = [layer.contiguous() for layer in tensor.unbind(0)]
    else:
        msg = f"{_STACKED[parameter]} has shape {tuple(tensor.shape)}, expected {shape} by layer"
        raise InputError(msg)
    return {f"backbone.layers.{i}.attn.{parameter}": layer for i, layer in enumerate(layers)}


def _layer_part(name: str) -> str:
    return name.rpartition(".")[2] if name.startswith("backbone.layers.") else ""


def _names(config: ModelConfig, naming: Naming) -> Iterator[_Name]:
    if naming == "transformers":
        yield from _WHOLE_HF
        for i in range(config.num_layers):
            for part in _LAYER_HF:
                yield _Name(
                    f"backbone.layers.{i}.{part.ours}",
                    f"transformer.layer.{i}.{part.theirs}",
                    part.form,
                )
    else:
        yield from _WHOLE_TF
        for i in range(config.num_layers):
            for part in _LAYER_TF:
                yield _Name(
                    f"backbone.layers.{i}.{part.ours}",
                    f"model/transformer/layer_{i}/{part.theirs}",
                    part.form,
                )


def _linear(ours: str, hf: str) -> Iterator[_Name]:
    yield _Name(f"{ours}.weight", f"{hf}.weight")
    yield _Name(f"{ours}.bias", f"{hf}.bias")


def _dense(ours: str, tf: str) -> Iterator[_Name]:
    yield _Name(f"{ours}.weight", f"{tf}/kernel", _TRANSPOSED)
    yield _Name(f"{ours}.bias", f"{tf}/bias")


def _norm(ours: str, tf: str) -> Iterator[_Name]:
    yield _Name(f"{ours}.weight", f"{tf}/gamma")
    yield _Name(f"{ours}.bias", f"{tf}/beta")


_WHOLE_HF = (
    _Name("backbone.embed.weight", "transformer.word_embedding.weight"),
    _Name("backbone.query_init", "transformer.mask_emb", _ROW),
    _Name("lm_head.bias", "lm_loss.bias"),
    *_linear("summary", "sequence_summary.summary"),
    *_linear("classifier", "logits_proj"),
    *_linear("start", "start_logits.dense"),
    *_linear("end_joint", "end_logits.dense_0"),
    *_linear("end_norm", "end_logits.LayerNorm"),
    *_linear("end", "end_logits.dense_1"),
    *_linear("answer_joint", "answer_class.dense_0"),
    _Name("answer.weight", "answer_class.dense_1.weight"),
)
_LAYER_HF = (
    *(_Name(f"attn.{name}.weight", f"rel_attn.{name}", _IN_HEADS) for name in "qkvr"),
    _Name("attn.o.weight", "rel_attn.o", _OUT_HEADS),
    *(_Name(f"attn.{ours}", f"rel_attn.{theirs}") for ours, theirs in _STACKED.items()),
    *_linear("attn.norm", "rel_attn.layer_norm"),
    *_linear("ff.up", "ff.layer_1"),
    *_linear("ff.down", "ff.layer_2"),
    *_linear("ff.norm", "ff.layer_norm"),
)
_WHOLE_TF = (
    _Name("backbone.embed.weight", "model/transformer/word_embedding/lookup_table"),
    _Name("backbone.query_init", "model/transformer/mask_emb/mask_emb", _ROW),
    _Name("lm_head.bias", "model/lm_loss/bias"),
    *_dense("summary", "model/sequnece_summary/summary"),  # spelled so there
    *_dense("start", "start_logits/dense"),
    *_dense("end_joint", "end_logits/dense_0"),
    *_norm("end_norm", "end_logits/LayerNorm"),
    *_dense("end", "end_logits/dense_1"),
    *_dense("answer_joint", "answer_class/dense_0"),
    _Name("answer.weight", "answer_class/dense_1/kernel", _TRANSPOSED),
)
_LAYER_TF = (
    *(_Name(f"attn.{name}.weight", f"rel_attn/{name}/kernel", _IN_HEADS) for name in "qkvr"),
    _Name("attn.o.weight", "rel_attn/o/kernel", _OUT_HEADS),
    *_norm("attn.norm", "rel_attn/LayerNorm"),
    *_dense("ff.up", "ff/layer_1"),
    *_dense("ff.down", "ff/layer_2"),
    *_norm("ff.norm", "ff/LayerNorm"),
)
