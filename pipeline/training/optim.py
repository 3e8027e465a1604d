"""Parameter groups, the optimizer, and the moving average of the weights."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from typing_extensions import override

from pipeline.training.config import OptimizerConfig


@dataclass(frozen=True, order=True)
class ParameterRule:
    """How one parameter is updated.

    Attributes:
        lr_scale: factor on the rate of the step, and with it on the decay; layer-wise decay is
            this, for Adam's update does not change when the gradient is scaled.
        weight_decay: whether it decays.
    """

    lr_scale: float = 1.0
    weight_decay: bool = True


AVERAGE = "average"
"""Where an engine keeps a weight's moving average: beside its moments in the optimizer's state."""

Rule = Callable[[str, nn.Parameter], ParameterRule]
"""Name within the model and parameter -> its rule."""


def decay_matrices(_name: str, parameter: nn.Parameter) -> ParameterRule:
    """The usual rule: biases and norms, everything with one dimension or none, do not decay."""
    return ParameterRule(weight_decay=parameter.ndim > 1)


def parameter_groups(model: nn.Module, rule: Rule, *, weight_decay: float) -> list[dict[str, Any]]:
    """The trainable parameters by rule, each once, groups and members in a fixed order.

    Returns:
        torch's parameter groups with the extra keys "names" and "lr_scale".
    """
    by_rule: dict[ParameterRule, list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            by_rule.setdefault(rule(name, parameter), []).append((name, parameter))
    return [
        {
            "params": [parameter for _, parameter in members],
            "names": [name for name, _ in members],
            "lr_scale": how.lr_scale,
            "weight_decay": weight_decay if how.weight_decay else 0.0,
        }
        for how, members in sorted(by_rule.items(), key=lambda item: item[0])
    ]


def build_optimizer(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer over these groups; its state holds "step", "exp_avg" and "exp_avg_sq"."""
    if config.kind == "rmsprop_tf":
        return RMSPropTF(groups, config)
    if config.kind == "sgd":
        return MomentumSGD(groups, config)
    if not config.bias_correction:
        return UncorrectedAdamW(groups, lr=0.0, betas=config.betas, eps=config.eps)
    return torch.optim.AdamW(groups, lr=0.0, betas=config.betas, eps=config.eps, fused=True)


def first_state(optimizer: torch.optim.Optimizer, weight: Tensor) -> dict[str, Tensor]:
    """The state that `build_optimizer`'s optimizer gives a weight at its first update, before it."""
    # Fused kernels count on the device, the others on the host.
    device = weight.device if optimizer.defaults.get("fused") else torch.device("cpu")
    return {
        "step": torch.zeros((), dtype=torch.float32, device=device),
        "exp_avg": torch.zeros_like(weight, requires_grad=False),
        "exp_avg_sq": torch.full_like(
            weight, optimizer.defaults.get("first_square", 0.0), requires_grad=False
        ),
    }


def clip_gradients(parameters: Iterable[nn.Parameter], bound: float | None) -> Tensor:
    """The global norm of whole gradients, which are scaled down to `bound` where they exceed it."""
    trained = [parameter for parameter in parameters if parameter.grad is not None]
    norm = get_total_norm([one.grad for one in trained if one.grad is not None])
    if bound is not None:
        clip_grads_with_norm_(trained, bound, norm)
    return norm


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the step's rate, scaled by group."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]


class _WholeGroups(torch.optim.Optimizer, ABC):
    """An optimizer whose parameters have their state from `first_state` before the first update."""

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @override
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter that has a gradient."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            for param in params:
                if not self.state[param]:
                    self.state[param] = first_state(self, param)
                self.state[param]["step"] += 1
            gradients = [p.grad for p in params if p.grad is not None]
            if group["weight_decay"]:
                gradients = [
                    g.add(p, alpha=group["weight_decay"])
                    for g, p in zip(gradients, params, strict=True)
                ]
            self._update(params, gradients, group)
        return loss

    @abstractmethod
    def _update(
        self, params: list[Tensor], gradients: list[Tensor], group: dict[str, Any]
    ) -> None: ...


class RMSPropTF(_WholeGroups):
    """RMSProp with momentum as TensorFlow 1 has it.

    ms = decay ms + (1 - decay) g^2;  m = momentum m + lr g / sqrt(ms + eps);  p -= m

    torch's own starts ms at 0 where this one starts at 1, adds eps to the root, and multiplies by
    the rate of the step what momentum adds up: its first steps are far larger.

    Source: `tf.train.RMSPropOptimizer`, with which EfficientNet and MobileNetV3 were trained.
    """

    def __init__(self, params: Iterable[dict[str, Any]], config: OptimizerConfig) -> None:
        self._config = config
        super().__init__(params, {"lr": 0.0, "weight_decay": 0.0, "first_square": 1.0})

    @override
    def _update(self, params: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        config = self._config
        momentum = [self.state[p]["exp_avg"] for p in params]
        square = [self.state[p]["exp_avg_sq"] for p in params]
        torch._foreach_mul_(square, config.decay)
        torch._foreach_addcmul_(square, gradients, gradients, 1 - config.decay)
        root = [value + config.eps for value in square]
        torch._foreach_sqrt_(root)
        torch._foreach_mul_(momentum, config.momentum)
        torch._foreach_addcdiv_(momentum, gradients, root, group["lr"])
        torch._foreach_sub_(params, momentum)


class MomentumSGD(_WholeGroups):
    """Stochastic gradient descent with momentum, as torch has it.

    m = momentum m + g;  p -= lr m, or lr (g + momentum m) with Nesterov's

    torch's own names its state otherwise, and has none before the first step, which engines and
    checkpoints would have to know. The second moment stays 0 and is there for them alone.
    """

    def __init__(self, params: Iterable[dict[str, Any]], config: OptimizerConfig) -> None:
        self._config = config
        super().__init__(params, {"lr": 0.0, "weight_decay": 0.0})

    @override
    def _update(self, params: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        momentum = [self.state[p]["exp_avg"] for p in params]
        torch._foreach_mul_(momentum, self._config.momentum)
        torch._foreach_add_(momentum, gradients)
        updates = momentum
        if self._config.nesterov:
            updates = [
                g.add(m, alpha=self._config.momentum)
                for g, m in zip(gradients, momentum, strict=True)
            ]
        torch._foreach_add_(params, updates, alpha=-group["lr"])


class UncorrectedAdamW(torch.optim.Optimizer):
    """AdamW whose moments are used as they are, though they start at zero.

    update = m / (sqrt(v) + eps) + weight_decay * p;  p -= rate * update

    Source: the optimizer of the released code of BERT, which XLNet uses when it decays weights.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0}
        super().__init__(params, defaults)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @override
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter that has a gradient."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._update(params, group)
        return loss

    def _update(self, params: list[Tensor], group: dict[str, Any]) -> None:
        for param in params:
            state = self.state[param]
            if not state:
                state["step"] = torch.tensor(0.0)
                state["exp_avg"] = torch.zeros_like(param)
                state["exp_avg_sq"] = torch.zeros_like(param)
            state["step"] += 1
        beta1, beta2 = group["betas"]
        rate = group["lr"]
        gradients = [p.grad for p in params if p.grad is not None]
        first = [self.state[p]["exp_avg"] for p in params]
        second = [self.state[p]["exp_avg_sq"] for p in params]
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
        denominator = [v.sqrt() for v in second]
        torch._foreach_add_(denominator, group["eps"])
        torch._foreach_mul_(params, 1 - rate * group["weight_decay"])
        torch._foreach_addcdiv_(params, first, denominator, -rate)


class WeightAverage:
    """Exponential moving average of the weights, beside the float32 tensors an engine updates.

    average += (1 - d) * (weight - average),  d = min(decay, (1 + step) / (10 + step))

    Source: TensorFlow's ExponentialMovingAverage with `num_updates`, which the released code of
    EfficientNet and of most image models uses; the ramp keeps the initial weights out of it.
    """

    def __init__(self, weights: Sequence[Tensor], averages: Sequence[Tensor], decay: float) -> None:
        """`averages`: a tensor for each weight, which holds its value at the start."""
        self._weights = list(weights)
        self._averages = list(averages)
        self._decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after `step` updates."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, self._weights, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges weights and averages in place; twice gives back the same bits."""
        for weight, average in zip(self._weights, self._averages, strict=True):
            kept = weight.detach().clone()
            weight.copy_(average)
            average.copy_(kept)
