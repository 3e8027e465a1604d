"""Configurations of stages small enough for a test."""

from typing import Any

from stages.xlnet.config import ClassifyConfig, PretrainConfig

MODEL = {"preset": "tiny", "num_layers": 2, "d_model": 16, "num_heads": 2, "d_inner": 32}
_TRAIN = {
    "steps": 4,
    "global_batch_size": 8,
    "optimizer": {"learning_rate": 1e-3},
    "log_every": 1,
    "checkpoint_every_seconds": None,
}
_ROWS = {"seq_len": 32, "reuse_len": 16, "mem_len": 24, "perm_size": 16, "num_predict": 6}


def pretrain_config(train: dict[str, Any] | None = None, **changes: Any) -> PretrainConfig:
    """Four steps of eight rows over 32 tokens."""
    values = {"model": MODEL, "rows": _ROWS, "held_out": {"rows": 4, "max_steps": 3}}
    return PretrainConfig.model_validate(values | changes | {"train": _TRAIN | (train or {})})


def classify_config(train: dict[str, Any] | None = None, **changes: Any) -> ClassifyConfig:
    """Four steps of eight documents from scratch, on inputs of 32 tokens."""
    values = {"model": MODEL, "max_len": 32, "evaluate_on": "validation"}
    return ClassifyConfig.model_validate(values | changes | {"train": _TRAIN | (train or {})})
