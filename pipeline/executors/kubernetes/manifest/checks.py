"""What a DAG needs to run in pods, and how to mend what is missing: all of it at once."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pipeline.errors import Problem, UserError
from pipeline.spec.cluster import ClusterSettings
from pipeline.spec.dag import Dag, Stage
from pipeline.spec.sources import names_a_file, source_fields
from pipeline.storage import Store
from pipeline.storage.sources import is_url


def check_cluster(dag: Dag) -> None:
    """Passes when pods can find everything that the DAG names.

    Raises:
        UserError: with every problem of profile and stages.
    """
    problems = [*_profile_problems(dag)]
    for stage in dag.stages.values():
        problems += _stage_problems(dag, stage)
    if problems:
        raise UserError(problems)


def check_sources_are_here(dag: Dag) -> None:
    """Passes when this machine sees every source: without them no key can be told.

    Raises:
        UserError: naming each stage with a source that only pods see.
    """
    problems = [
        _at(
            dag,
            stage,
            ("with", *field.path),
            f"{field.text} is not on this machine, so the key of what is made from it is unknown",
            "Render the runner (without --stages): it plans where the volume is mounted.",
        )
        for stage in dag.stages.values()
        for field in source_fields(stage.config)
        if not is_url(field.text) and not names_a_file(field.text)
    ]
    if problems:
        raise UserError(problems)


def _profile_problems(dag: Dag) -> Iterator[Problem]:
    settings = dag.cluster
    if settings.image is None:
        fix = "Set cluster.image to an image of this code; k8s/README.md says how to build one."
        yield Problem(str(dag.file), 0, 0, "cluster.image", "no image to run", fix)
    folder = Store(dag.store).local_path() if dag.store else None
    if dag.store is None or (folder is not None and not _mounted(settings, folder)):
        shown = dag.store or "the default, .pipeline,"
        message = f"{shown} is a folder of this machine, which pods do not see"
        fix = (
            "Set store to a folder below the mount of one of cluster.volumes, e.g. "
            "store: file:///artifacts/NAME with cluster.volumes: {artifacts: {claim: artifacts}}, "
            "or to an object store's URL."
        )
        yield Problem(str(dag.file), 0, 0, "store", message, fix)
        return
    volume = _mounted(settings, folder) if folder is not None else None
    if volume is not None and settings.volumes[volume].read_only:
        message = f"{dag.store} lies on the volume {volume}, which is read-only"
        fix = f"Remove read_only from cluster.volumes.{volume}."
        yield Problem(str(dag.file), 0, 0, "store", message, fix)


def _stage_problems(dag: Dag, stage: Stage) -> Iterator[Problem]:
    settings = dag.cluster
    for field in source_fields(stage.config):
        if is_url(field.text) or _mounted(settings, Path(field.text)):
            continue
        yield _at(
            dag,
            stage,
            ("with", *field.path),
            f"pods do not see {field.text}",
            "Put it below the mount of one of cluster.volumes, or name an object store's URL.",
        )
    file = stage.kind.rpartition(":")[0]
    if file.endswith(".py") and not _mounted(settings, Path(file)):
        yield _at(
            dag,
            stage,
            ("uses",),
            f"pods do not see {file}",
            "Install it into the image as a package with an entry point in pipeline.stages, or put "
            "it below the mount of one of cluster.volumes.",
        )
    for path, names in stage.environment.items():
        for name in names:
            if name not in settings.env:
                yield _at(
                    dag,
                    stage,
                    ("with", *path),
                    f"takes ${{env.{name}}}, which pods do not have",
                    f"Set cluster.env.{name} to a text, or to {{secret: NAME, key: KEY}}.",
                )


def _mounted(settings: ClusterSettings, path: Path) -> str | None:
    """The volume a path lies on, the innermost one; None when on none."""
    pure = PurePosixPath(path)
    found = [
        name
        for name in settings.volumes
        if pure.is_relative_to(PurePosixPath(settings.mount_of(name)))
    ]
    return max(found, key=lambda name: len(settings.mount_of(name)), default=None)


def _at(dag: Dag, stage: Stage, path: tuple[str | int, ...], message: str, fix: str) -> Problem:
    where = ".".join(map(str, ("stages", stage.name, *path)))
    origin = stage.origins.get(where)
    if origin is None or not origin.line:
        origin = stage.origins.get(f"stages.{stage.name}")
    if origin is None or not origin.line:
        return Problem(str(dag.file), 0, 0, where, message, fix)
    return Problem(origin.file, origin.line, origin.column, where, message, fix)
