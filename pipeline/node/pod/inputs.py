"""What an order leaves open: values out of the pod's environment, and inputs of stages before it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.cache.results import Results
from pipeline.errors import ConfigError, InputError
from pipeline.spec.job import Job, content_key_of
from pipeline.spec.pod import PodOrder, Upstream
from pipeline.storage.digests import digest_of

_REFERENCE = re.compile(r"\$\{env\.([A-Za-z_][A-Za-z0-9_]*)\}")


def unsealed(order: PodOrder, environ: Mapping[str, str]) -> dict[str, Any]:
    """The configuration with the values that the order may not hold.

    Raises:
        ConfigError: a variable is missing here, or holds something else than when it was planned.
    """
    config: Any = order.job.model_copy(deep=True).config
    for one in order.sealed:
        where = f"with.{'.'.join(map(str, one.path))}"
        names = dict.fromkeys(_REFERENCE.findall(one.template))
        if missing := [name for name in names if name not in environ]:
            msg = f"{where} takes ${{env.{missing[0]}}}, which is not set here. Set cluster.env."
            raise ConfigError(msg)
        value = _REFERENCE.sub(lambda match: environ[match[1]], one.template)
        if one.digest and digest_of("sealed", value) != one.digest:
            listed = ", ".join(names) or "it"
            msg = (
                f"{where}: {listed} of the environment is not what this was planned with. Make "
                "cluster.env and the environment of the planning machine agree."
            )
            raise ConfigError(msg)
        parent = config
        for part in one.path[:-1]:
            parent = parent[part]
        parent[one.path[-1]] = value
    result: dict[str, Any] = config
    return result


def missing_inputs(order: PodOrder, results: Results) -> list[Upstream]:
    """Those of an order that has no digests whose stage has no result in the store yet.

    Raises:
        StoreError: the store failed.
    """
    wanted = {one.plan_key: one for port in order.inputs.values() for one in port.upstream}
    return [one for key, one in wanted.items() if results.lookup(key) is None]


def with_inputs(order: PodOrder, job: Job, results: Results) -> Job:
    """The job with the digests of its inputs, and so its content key.

    Raises:
        InputError: a stage did not write the output that is needed.
        StoreError: the store failed.
    """
    inputs: dict[str, str | list[str]] = {}
    for name, port in order.inputs.items():
        digests = [digest for one in port.upstream if (digest := _digest(results, one))]
        if len(digests) < len(port.upstream) and not port.optional:
            wanted = ", ".join(f"{one.stage}.{one.port}" for one in port.upstream)
            msg = f"input {name}: {wanted} was not written, and {name} is required"
            raise InputError(msg)
        if port.many:
            inputs[name] = digests
        elif digests:
            inputs[name] = digests[0]
    key = content_key_of(job.key_parts, inputs)
    return job.model_copy(update={"inputs": inputs, "content_key": key})


def waited_in_vain(order: PodOrder, missing: Sequence[Upstream], store: str) -> InputError:
    """Names the stages that should have been there."""
    names = ", ".join(dict.fromkeys(one.stage for one in missing))
    keys = ", ".join(f"results/{one.plan_key[:12]}...json" for one in missing)
    return InputError(
        f"stage {order.job.stage} needs {names}: no result after {order.wait_seconds:.0f} s "
        f"({keys} in {store}). Run or apply {names} with the same DAG first."
    )


def _digest(results: Results, upstream: Upstream) -> str | None:
    found = results.lookup(upstream.plan_key)
    return None if found is None else found.artifacts.get(upstream.port)
