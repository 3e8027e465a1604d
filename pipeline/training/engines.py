"""Which engine a run gets."""

import logging
import os

from torch import nn

from pipeline.spec.resources import EngineConfig
from pipeline.training.config import TrainConfig
from pipeline.training.engine import Engine
from pipeline.training.engine_plain import PlainEngine
from pipeline.training.optim import Rule
from pipeline.training.world import TrainingWorld

logger = logging.getLogger(__name__)


def uses_deepspeed(engine: EngineConfig, world_size: int) -> bool:
    """Whether DeepSpeed runs; plain torch otherwise.

    At ZeRO stage 0 only for fp32: for half precision DeepSpeed 0.19 starts Adam with an update on
    zero gradients, so that its bias correction is one step ahead and its first update 0.74 of
    what is due.
    """
    wanted = engine.engine or ("plain" if world_size == 1 else "deepspeed")
    return wanted == "deepspeed" and (engine.zero_stage > 0 or engine.precision == "fp32")


def build_engine(
    model: nn.Module,
    world: TrainingWorld,
    config: TrainConfig,
    *,
    engine: EngineConfig,
    rule: Rule,
    num_micro: int,
) -> Engine:
    """The engine for this world, precision and ZeRO stage, around the model.

    Args:
        model: float32, the same on every rank or not: rank 0's weights count.
        world: this rank among its peers.
        config: optimizer, clipping and averaging.
        engine: the stage's `deepspeed:` block.
        rule: which parameters decay, and how fast each learns.
        num_micro: forward passes a step.
    """
    model.to(world.device)
    for tensor in (*model.parameters(), *model.buffers()):
        # The engines would broadcast less: DDP no buffers, DeepSpeed nothing that is frozen.
        world.broadcast(tensor.data)
    if not uses_deepspeed(engine, world.size):
        if engine.zero_stage > 0 or engine.engine == "deepspeed":
            logger.info(
                "%s at ZeRO stage %d on %d ranks runs on plain torch, nothing is partitioned",
                engine.precision,
                engine.zero_stage,
                world.size,
            )
        return PlainEngine(model, world, config, rule, engine.precision)
    # It picks its accelerator when it is imported, and warns when it has to guess.
    os.environ.setdefault("DS_ACCELERATOR", world.device.type)
    # Imported here: it takes half a second and prints, and most runs on one machine need none.
    from pipeline.training.engine_deepspeed import DeepSpeedEngine  # noqa: PLC0415

    return DeepSpeedEngine(model, world, config, engine=engine, rule=rule, num_micro=num_micro)
