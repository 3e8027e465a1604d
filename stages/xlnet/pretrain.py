"""The stage kind `xlnet.pretrain`."""

import math

from pipeline.metrics import names
from pipeline.metrics.names import labelled
from pipeline.shards.tokenizer import Tokenizer
from pipeline.spec.context import StageContext
from pipeline.spec.scores import write_scores
from pipeline.training.loop import train
from stages.xlnet.checkpoint import write_shape
from stages.xlnet.config import PretrainConfig
from stages.xlnet.objective import PermutationLM
from stages.xlnet.pictures import pictures_of
from stages.xlnet.rules import parameter_rule


def run(ctx: StageContext[PretrainConfig]) -> None:
    """Pretrains, then writes the checkpoint and the scores of the held-out split.

    Raises:
        DataError: the corpus is smaller than one batch, or a shard is damaged.
        ConfigError: another tokenizer made the shards, or the rows of a forward pass do not split
            into two directions.
        Preempted, Diverged: as `pipeline.training.loop.train`.
    """
    config = ctx.config
    method = PermutationLM(
        config,
        ctx.input("shards"),
        ctx.input("tokenizer"),
        place=ctx.world,
        seed=ctx.seed,
    )
    folder = ctx.outputs["checkpoint"]
    result = train(method, config.train, ctx, rule=parameter_rule, output=folder)
    if ctx.world.rank == 0:
        scores = dict(result.scores)
        if "loss" in scores:
            scores["perplexity"] = math.exp(min(scores["loss"], 700.0))  # exp(710) overflows
            name = labelled(names.EVAL_SCORE, score="perplexity")
            ctx.recorder.scalar(name, scores["perplexity"], result.step)
        if method.seen is not None:
            for picture in pictures_of(method.seen, Tokenizer(ctx.input("tokenizer")).pieces):
                ctx.recorder.show(picture, result.step)
        write_shape(folder, method.shape)
        write_scores(ctx.outputs["scores"], scores)
