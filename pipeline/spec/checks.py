"""What must hold between a stage's kind, its configuration and its resources."""

import math
from collections.abc import Iterator, Mapping

from pipeline.errors import Problem
from pipeline.spec.config import StageConfig
from pipeline.spec.resources import EngineConfig, Resources
from pipeline.spec.stage import Launch, StageSpec
from pipeline.spec.tree import Node, Path, problem

_PROCESSES = ("nodes", "processes_per_node", "gpus_per_node")
_USES: Mapping[Launch, tuple[str, ...]] = {
    Launch.PROCESS: ("gpus_per_node",),
    Launch.WORKERS: ("workers", "gpus_per_node"),
    Launch.GANG: _PROCESSES,
    # A driver's resources are those of its cells, whose kinds are not known yet.
    Launch.DRIVER: (*_PROCESSES, "workers"),
}
_NUM_SUGGESTED = 4


def check_launch(spec: StageSpec, block: Node, path: Path) -> Iterator[Problem]:
    """Keys that this kind's launch form does not read: they would be ignored silently."""
    resources = block.entries.get("resources")
    for key, node in resources.entries.items() if resources else ():
        if key in (*_PROCESSES, "workers") and key not in _USES[spec.launch]:
            takers = [str(launch) for launch, keys in _USES.items() if key in keys]
            message = f"{spec.name} is a {spec.launch} stage and has no use for {key}"
            fix = f"Remove it; it is for {' and '.join(takers)} stages."
            yield problem(node.place, (*path, "resources", key), message, fix)
    engine = block.entries.get("deepspeed")
    if engine is not None and spec.launch not in (Launch.GANG, Launch.DRIVER):
        message = f"{spec.name} is a {spec.launch} stage and does not train"
        fix = "Remove it; it is for gang stages."
        yield problem(engine.place, (*path, "deepspeed"), message, fix)
    if "max_parallel" in block.entries and "matrix" not in block.entries:
        place = block.entries["max_parallel"].place
        fix = "Remove it, or add a matrix."
        yield problem(place, (*path, "max_parallel"), "there is no matrix to limit", fix)


def check_batches(
    config: StageConfig, resources: Resources, engine: EngineConfig, block: Node, path: Path
) -> Iterator[Problem]:
    """Global batch sizes that do not divide for a world size that the gang may have.

    Each rank takes global / world examples a step, in forward passes of `micro_batch_size`.
    """
    ranks = resources.ranks_per_node
    worlds = [nodes * ranks for nodes in range(resources.min_nodes, resources.max_nodes + 1)]
    multiples = config.pass_multiples()
    for name, size in config.global_batch_sizes().items():
        multiple = multiples.get(name, 1)
        micro = engine.micro_batch_size or multiple
        if micro % multiple:
            node, _ = block.find(("deepspeed", "micro_batch_size"))
            message = (
                f"this stage needs a multiple of {multiple} examples a forward pass, not {micro}"
            )
            fix = f"Make it a multiple of {multiple}."
            yield problem(node.place, (*path, "deepspeed", "micro_batch_size"), message, fix)
            continue
        unit = math.lcm(*worlds) * micro
        if size % unit == 0:
            continue
        where: Path = (*path, "with", *name.split("."))
        node, missing = block.find(("with", *name.split(".")))
        place = block.place if missing else node.origin
        below = size // unit * unit
        first = max(unit, below - (_NUM_SUGGESTED // 2 - 1) * unit)
        fitting = ", ".join(str(first + step * unit) for step in range(_NUM_SUGGESTED))
        yield problem(
            place,
            where,
            f"{size} examples a step do not divide by {_world_text(worlds, engine, multiple)}",
            f"Sizes that fit: {fitting}.",
        )


def _world_text(worlds: list[int], engine: EngineConfig, multiple: int) -> str:
    ranks = f"{worlds[0]} ranks" if len(worlds) == 1 else f"each of {_listed(worlds)} ranks"
    if (engine.micro_batch_size or 1) > 1:
        return f"{ranks} x micro_batch_size {engine.micro_batch_size}"
    return f"{ranks} x {multiple} in a forward pass" if multiple > 1 else ranks


def _listed(worlds: list[int]) -> str:
    texts = [str(world) for world in worlds]
    if len(texts) > 8:
        texts = [*texts[:3], "...", texts[-1]]
    return f"{', '.join(texts[:-1])} and {texts[-1]}"
