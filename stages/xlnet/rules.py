"""How each parameter is updated: which ones decay, and how fast the layers learn in finetuning."""

import re

from torch import nn

from pipeline.training.optim import ParameterRule, Rule

_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")


def parameter_rule(name: str, _parameter: nn.Parameter) -> ParameterRule:
    """Biases of linear maps and norms do not decay; attention biases and all else do.

    Source: Yang et al. 2019, released code, model_utils.py: exclusion by the words "bias" and
    "layer_norm", which the attention biases' names there, r_w_bias and so on, escape.
    """
    exempt = name.endswith((".bias", "norm.weight"))
    return ParameterRule(weight_decay=not exempt)


def layer_wise_rule(num_layers: int, decay: float) -> Rule:
    """`parameter_rule` with rates that fall from the last layer down.

    Args:
        num_layers: N.
        decay: factor a layer; layer m of N learns at decay^(N - m) times the rate of the step.
            Embedding and heads learn at the full rate, as in the released code.

    The released code multiplies gradients instead, which Adam's update does not notice; a rate is
    what the paper says and what this is.

    Source: Yang et al. 2019, appendix A.4.2.
    """

    def rule(name: str, parameter: nn.Parameter) -> ParameterRule:
        decays = parameter_rule(name, parameter).weight_decay
        layer = _LAYER.search(name)
        scale = 1.0 if layer is None else decay ** (num_layers - 1 - int(layer[1]))
        return ParameterRule(lr_scale=scale, weight_decay=decays)

    return rule
