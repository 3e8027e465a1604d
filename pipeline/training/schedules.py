"""The learning rate as a pure function of the step."""

import math

from pipeline.training.config import TrainConfig


def learning_rate(config: TrainConfig, step: int) -> float:
    """The peak group's rate for the update that follows `step` completed ones.

    Args:
        config: steps, peak rate and schedule.
        step: updates done, 0 <= step < config.steps.

    Returns:
        The rate. A warm-up starts at exactly 0, and the decay would reach `min_ratio` times the
        peak at `step == config.steps`, one after the last update.

    Source: the released code of BERT and XLNet (polynomial decay of power 1 after a linear
    warm-up, both counted in completed updates); cosine from Loshchilov & Hutter 2017,
    arXiv:1608.03983, equation 5 without restarts.
    """
    schedule = config.schedule
    peak = config.optimizer.learning_rate
    if step < schedule.warmup_steps:
        return peak * step / schedule.warmup_steps
    done = (step - schedule.warmup_steps) / max(config.steps - schedule.warmup_steps, 1)
    if schedule.kind == "constant":
        return peak
    left = 1 - done if schedule.kind == "linear" else (1 + math.cos(math.pi * done)) / 2
    return peak * (schedule.min_ratio + (1 - schedule.min_ratio) * left)
