"""The training loop: one for every method and engine."""

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from torch import nn

from pipeline.errors import ConfigError, DataError, Diverged, Preempted, StoreError
from pipeline.spec.context import StageContext
from pipeline.training.buffers import RunningBuffers
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.clock import LastGradient, phase_clock
from pipeline.training.config import TrainConfig
from pipeline.training.engine import CoverageCheck, Engine
from pipeline.training.engines import build_engine, uses_deepspeed
from pipeline.training.export import MODEL_FILE, export_model
from pipeline.training.guard import NotFinite, Seen, StepNumbers
from pipeline.training.loader import Loader, StepData
from pipeline.training.method import Costed, Method, to_device
from pipeline.training.optim import Rule, decay_matrices
from pipeline.training.peak import device_peak_flops
from pipeline.training.schedules import learning_rate
from pipeline.training.seeding import seed_torch
from pipeline.training.streams import Streams
from pipeline.training.telemetry import Telemetry
from pipeline.training.world import TrainingWorld, broadcast_together, open_world

logger = logging.getLogger(__name__)


class _AskedToStop(Exception):  # noqa: N818 - no error
    """Unwinds an evaluation; becomes Preempted once the step is saved."""


@dataclass(frozen=True)
class TrainResult:
    """What a run ended with; the same on every rank.

    Attributes:
        step: updates done, the configured number.
        loss: of the last step; None when this attempt found all steps done.
        scores: the final evaluation's, over the whole held-out part; of the averaged weights
            where the configuration averages.
    """

    step: int
    loss: float | None
    scores: Mapping[str, float]


def train(
    method: Method,
    config: TrainConfig,
    ctx: StageContext[Any],
    *,
    rule: Rule = decay_matrices,
    output: Path | None = None,
    finish: Callable[[nn.Module], None] | None = None,
) -> TrainResult:
    """Trains the method's model to the last step, from the newest checkpoint where there is one.

    Args:
        method: model, data, loss and evaluation.
        config: the stage's `train:` block.
        ctx: the stage's context; checkpoints go to `ctx.state`.
        rule: which parameters decay, and how fast each learns.
        output: folder that rank 0 writes `model.safetensors` to at the end: the whole state dict,
            floats as float32, the averaged weights where the configuration averages.
        finish: called at the end on every rank with the trained model, in evaluation mode under
            no_grad with those same weights: to predict with it, equally often on every rank.

    Raises:
        Preempted: asked to stop; a checkpoint of the step is saved.
        Diverged: the loss or the gradient is not finite; says at which step.
        ConfigError: the batch does not divide, or a trainable parameter is not trained.
        DataError: from the method; or a step without a single term in its loss.
    """
    grouped = uses_deepspeed(ctx.engine, ctx.world.size)
    with open_world(ctx.world, threads=ctx.threads, grouped=grouped) as world:
        run = _Run(method, config, ctx, world, rule)
        result = run.train()
        run.hand_over(output, finish)
        # Nobody leaves, and takes the meeting place down, before everybody is done.
        world.barrier()
    return result


class _Run:
    """One attempt at a training run."""

    def __init__(
        self,
        method: Method,
        config: TrainConfig,
        ctx: StageContext[Any],
        world: TrainingWorld,
        rule: Rule,
    ) -> None:
        self._method = method
        self._config = config
        self._ctx = ctx
        self._world = world
        num_micro = _num_micro(config, ctx, world)
        self._streams = Streams(
            method.streams, seed=ctx.seed, rank=world.rank, size=world.size, num_micro=num_micro
        )
        # Before the engine wraps the model: ZeRO replaces what a parameter holds, not the parameter.
        self._coverage: CoverageCheck | None = CoverageCheck(method.model)
        if world.rank == 0:
            _tell_sizes(method.model, config, world, num_micro)
        self._engine: Engine = build_engine(
            method.model, world, config, engine=ctx.engine, rule=rule, num_micro=num_micro
        )
        fp16 = ctx.engine.precision == "fp16"
        self._numbers = StepNumbers(world.device, norm_may_overflow=fp16)
        self._buffers = RunningBuffers(method.model, config.ema_decay)
        self._checkpoints = Checkpoints(ctx.state, ctx.world, world, keep=config.keep_checkpoints)
        self._clock = phase_clock(world.device)
        self._last_gradient: LastGradient | None = None
        self._telemetry = _telemetry(method, config, ctx, world, num_micro)
        self._step = 0
        self._saved_step = 0
        self._saved_time = time.monotonic()
        self._seen: Seen | None = None

    def train(self) -> TrainResult:
        """Runs the steps that are left, then evaluates."""
        self._telemetry.phase("looking for a checkpoint")
        self._step = self._saved_step = self._checkpoints.restore(
            self._engine, self._method, self._buffers.saved
        )
        if self._step:
            logger.info("going on from the checkpoint of step %d", self._step)
            if self._evaluates_now():
                # The attempt before may have been stopped in this very evaluation.
                self._evaluate()
        loader = Loader(
            self._method,
            self._streams,
            start=self._step,
            stop=self._config.steps,
            pin=self._world.device.type == "cuda",
        )
        self._telemetry.started(self._step)
        with loader:
            while self._step < self._config.steps:
                self._one_step(loader.take())
        self._save()
        with self._stopping("evaluating"):
            self._ask_to_stop()
        scores = self._evaluate()
        loss = None if self._seen is None else self._seen.loss
        return TrainResult(self._step, loss, scores)

    def hand_over(self, output: Path | None, finish: Callable[[nn.Module], None] | None) -> None:
        """Lets the caller use the trained model, and writes it."""
        with self._stopping("finishing"), self._engine.evaluation(), self._buffers.averaged():
            if finish is not None:
                finish(self._engine.model)
            if output is not None:
                export_model(self._engine, self._world, output / MODEL_FILE)

    def _one_step(self, data: StepData) -> None:
        self._telemetry.take_pauses()  # what came before is no part of this step
        begin = time.perf_counter() - data.wait_seconds
        weight, agreed = self._agree(data.weight)
        rate = learning_rate(self._config, self._step)
        number = self._step + 1
        last = number == self._config.steps
        logs = last or number % self._config.log_every == 0
        self._update(data, weight, rate, want_norm=logs)
        self._step = number
        if logs:
            with self._way_back():
                self._seen = self._numbers.look(self._world, weight)
            self._telemetry.step(number, self._seen, rate)
            scaler = self._engine.scaler_state()
            if scaler:
                self._telemetry.scaler(number, scaler["scale"], self._engine.num_updates())
        self._telemetry.phases({"data": data.wait_seconds, "agree": agreed, **self._clock.take()})
        seconds = time.perf_counter() - begin - self._telemetry.take_pauses()
        self._telemetry.timing(number, seconds, data.wait_seconds, logs=logs)
        if not last and _is_due(number, self._config.checkpoint_every):
            self._save()
        if self._evaluates_now():
            self._evaluate()

    def _agree(self, my_weight: float) -> tuple[float, float]:
        """One exchange before each step: its weight, who was asked to stop, whether to save.

        Returns:
            The global weight of the step, and the seconds that the exchange took: waiting for the
            rank that is last.
        """
        begin = time.perf_counter()
        age = time.monotonic() - self._saved_time
        limit = self._config.checkpoint_every_seconds
        # By rank 0's clock alone: the ranks' clocks differ, and all must save the same step.
        saves = self._world.rank == 0 and limit is not None and age > limit
        weight, stops, saves_now = self._world.sum(
            [my_weight, float(self._ctx.should_stop()), float(saves)]
        )
        seconds = time.perf_counter() - begin
        if stops:
            self._stop()
        if saves_now:
            self._save()
        if not weight > 0:
            msg = f"step {self._step + 1}: no example of the global batch has a term in its loss"
            raise DataError(msg)
        return weight, seconds

    @contextmanager
    def _stopping(self, phase: str) -> Iterator[None]:
        """Ends in Preempted when a rank is asked to stop, before any forward pass inside.

        Tells the `phase`, and how many passes it took so far.

        An evaluation may take longer than the grace period. All ranks ask, so all leave together.
        """
        passes = itertools.count(1)

        def before_pass(*_: object) -> None:
            self._telemetry.phase(f"{phase}, batch {next(passes)}")
            self._ask_to_stop()

        self._telemetry.phase(phase)
        hook = self._engine.model.register_forward_pre_hook(before_pass)
        try:
            yield
        except _AskedToStop:
            self._stop()
        finally:
            hook.remove()

    def _ask_to_stop(self) -> None:
        (stops,) = self._world.sum([float(self._ctx.should_stop())])
        if stops:
            raise _AskedToStop

    def _stop(self) -> NoReturn:
        self._save()
        msg = f"asked to stop; saved after step {self._step}"
        raise Preempted(msg) from None

    def _save(self) -> None:
        """A checkpoint of this step, unless there is one or nothing to save."""
        self._saved_time = time.monotonic()
        if self._step == self._saved_step:
            return
        self._telemetry.phase("saving a checkpoint")
        with self._way_back():
            self._numbers.check(self._world)
        try:
            saved = self._checkpoints.save(
                self._step,
                engine=self._engine,
                method=self._method,
                buffers=self._buffers.saved,
            )
        except StoreError:
            self._telemetry.checkpoint_failed()
            raise
        self._saved_step, self._saved_time = self._step, time.monotonic()
        self._telemetry.checkpoint(saved)

    def _update(self, data: StepData, weight: float, rate: float, *, want_norm: bool) -> None:
        """Forward, backward and optimizer of one step; no host synchronisation of its own."""
        seed_torch(self._ctx.seed, "step", self._step, self._world.rank)
        self._numbers.begin()
        self._clock.start()
        for place, batch in enumerate(data.micro_batches):
            last = place == len(data.micro_batches) - 1
            with self._engine.forward(last=last):
                loss = self._method.loss(self._engine.model, to_device(batch, self._world.device))
            self._numbers.add(loss.total, loss.scores)
            self._clock.lap("forward")
            self._engine.backward(loss.total, global_weight=weight, last=last)
            if self._last_gradient is None:
                self._clock.lap("backward")
            else:
                self._last_gradient.end_backward()
        if self._coverage is not None:
            self._coverage.finish()
            if self._world.size > 1 and self._coverage.last is not None:
                self._last_gradient = LastGradient(self._clock, self._coverage.last)
            self._coverage = None
        norm = self._engine.step(rate, want_norm=want_norm)
        self._numbers.end(self._step + 1, norm)
        self._clock.lap("optimizer")
        broadcast_together(self._world, self._buffers.live.values())
        self._buffers.update(self._step + 1)
        if self._buffers.live and self._world.size > 1:
            self._clock.lap("all_reduce")

    @contextmanager
    def _way_back(self) -> Iterator[None]:
        """Tells who meets a divergence from where there is a way back."""
        try:
            yield
        except NotFinite as exc:
            good = f"step {self._saved_step}" if self._saved_step else "none"
            self._telemetry.diverged(exc.what)
            msg = f"{exc}; last good checkpoint: {good}"
            raise Diverged(msg) from exc

    def _evaluates_now(self) -> bool:
        """Whether an evaluation is due at this step, the last one's left out."""
        return self._step < self._config.steps and _is_due(self._step, self._config.evaluate_every)

    def _evaluate(self) -> dict[str, float]:
        """The method's scores over all ranks, recorded."""
        begin = time.perf_counter()
        seed_torch(self._ctx.seed, "evaluate", self._step, self._world.rank)
        with self._stopping("evaluating"), self._engine.evaluation(), self._buffers.averaged():
            mine = self._method.evaluate(self._engine.model)
        pairs = [float(number) for pair in mine.values() for number in pair]
        sums = self._world.sum(pairs) if mine else []
        for name, weight in zip(mine, sums[1::2], strict=True):
            if not weight > 0:
                msg = f"score {name!r}: the held-out part has nothing to measure it on"
                raise DataError(msg)
        scores = {
            name: total / weight
            for name, total, weight in zip(mine, sums[::2], sums[1::2], strict=True)
        }
        self._telemetry.scores(self._step, scores, time.perf_counter() - begin)
        return scores


def _telemetry(
    method: Method,
    config: TrainConfig,
    ctx: StageContext[Any],
    world: TrainingWorld,
    num_micro: int,
) -> Telemetry:
    """With the cost of a step and the device's peak, where the method says the one."""
    cost = peak = None
    if isinstance(method, Costed):
        cost = method.step_cost(
            global_batch_size=config.global_batch_size, num_forwards=world.size * num_micro
        )
        if world.rank == 0:
            peak = device_peak_flops(world.device, ctx.engine.precision)
    return Telemetry(ctx.recorder, config, world, ctx.state.path, cost=cost, peak_flops=peak)


def _num_micro(config: TrainConfig, ctx: StageContext[Any], world: TrainingWorld) -> int:
    """Forward passes a rank does in a step."""
    per_rank, rest = divmod(config.global_batch_size, world.size)
    micro = ctx.engine.micro_batch_size or per_rank
    if rest or micro == 0 or per_rank % micro:
        msg = (
            f"global_batch_size={config.global_batch_size} does not divide among {world.size} ranks"
            f" in micro-batches of {micro or 'one or more'}"
        )
        raise ConfigError(msg)
    return per_rank // micro


def _tell_sizes(
    model: nn.Module, config: TrainConfig, world: TrainingWorld, num_micro: int
) -> None:
    logger.info(
        "%s parameters, %s of them trained; %d steps of %d examples: %d ranks on %s, %d passes each",
        f"{sum(one.numel() for one in model.parameters()):,}",
        f"{sum(one.numel() for one in model.parameters() if one.requires_grad):,}",
        config.steps,
        config.global_batch_size,
        world.size,
        world.device,
        num_micro,
    )


def _is_due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
