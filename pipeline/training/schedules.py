"""The learning rate as a pure function of the step."""

import math

from pipeline.training.config import TrainConfig


def learning_rate(config: TrainConfig, step: int) -> float:
    """The peak group's rate for the update that follows `step` completed ones.

    Args:
        config: steps, peak rate and schedule.
        step: updates done, 0 <= step < config.steps.

    Returns:
        The rate. A warm-up starts at exactly 0, and a linear or cosine decay would reach
        `min_ratio` times the peak at `step == config.steps`, one after the last update.

    Source: the released code of BERT and XLNet (polynomial decay of power 1 after a linear
    warm-up, both counted in completed updates); cosine from Loshchilov & Hutter 2017,
    arXiv:1608.03983, equation 5 without restarts; exponential decay whose exponent counts the
    warm-up too from utils.py of the released code of EfficientNet.
    """
    schedule = config.schedule
    peak = config.optimizer.learning_rate
    if step < schedule.warmup_steps:
        return peak * step / schedule.warmup_steps
    done = (step - schedule.warmup_steps) / max(config.steps - schedule.warmup_steps, 1)
    if schedule.kind == "constant":
        return peak
    if schedule.kind == "steps":
        return peak * schedule.decay_rate ** sum(step >= place for place in schedule.milestones)
    if schedule.decay_steps is not None:
        times = step / schedule.decay_steps
        return peak * schedule.decay_rate ** (math.floor(times) if schedule.staircase else times)
    left = 1 - done if schedule.kind == "linear" else (1 + math.cos(math.pi * done)) / 2
    return peak * (schedule.min_ratio + (1 - schedule.min_ratio) * left)
