"""`pipeline render`: what a cluster would be asked for, as text, without asking any cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.options import DagFile, ProfileName, SetValues, ValuesFiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.runner.record import Request
    from pipeline.spec.dag import Dag

_MAX_FILE_NAME = 60

Folder = Annotated[
    Path | None,
    typer.Option("-o", "--output-dir", metavar="DIR", help="Writes files there; default: prints."),
]
Stages = Annotated[
    bool, typer.Option("--stages", help="Every stage's objects, instead of a runner for all.")
]


def render(
    dag: DagFile,
    profile: ProfileName = None,
    values: ValuesFiles = None,
    set_: SetValues = None,
    stages: Stages = False,
    output_dir: Folder = None,
) -> None:
    """Prints the manifests that run a DAG on Kubernetes: `pipeline render DAG | kubectl apply -f -`.

    The same bytes each time; neither the cluster nor the store is asked. Without --stages: a runner
    Job and a ConfigMap with the DAG, which run the whole of it inside the cluster.
    """
    from pipeline.cli.loading import load_request, read_request
    from pipeline.executors.kubernetes.manifest.text import to_yaml

    sets = [*(set_ or ()), "on=kubernetes"]
    request = read_request(dag, profile=profile, values=values, sets=sets)
    loaded = load_request(request)
    files = _stage_files(loaded) if stages else _runner_files(request, loaded, set_ or ())
    if output_dir is not None:
        _write(output_dir, {name: to_yaml(objects) for name, objects in files.items()})
        print(f"{len(files)} files in {output_dir}; kubectl apply -k {output_dir}", file=sys.stderr)
        return
    sys.stdout.write(to_yaml([one for objects in files.values() for one in objects]))


def _runner_files(
    request: Request, dag: Dag, sets: Sequence[str]
) -> Mapping[str, list[dict[str, Any]]]:
    from pipeline.executors.kubernetes.manifest.checks import check_cluster
    from pipeline.executors.kubernetes.manifest.runner import RunRequest, runner_objects

    check_cluster(dag)
    asked = RunRequest(
        dag=dag.name,
        text=request.text,
        profile=request.profile,
        values=[text for _, text in request.values],
        sets=sets,
    )
    return {"runner": runner_objects(asked, dag.cluster)}


def _stage_files(dag: Dag) -> Mapping[str, list[dict[str, Any]]]:
    import os

    from pipeline.cli.session import workdir
    from pipeline.executors.kubernetes.manifest.names import slug
    from pipeline.executors.kubernetes.manifest.whole import render_stages

    rendered = render_stages(dag, environ=os.environ, workdir=workdir())
    if drivers := [one.address for one in rendered if not one.objects]:
        print(
            f"{', '.join(drivers)}: which cells to run is decided while they run, so only a runner "
            "can. Render without --stages.",
            file=sys.stderr,
        )
    width = len(str(len(rendered)))
    return {
        f"{number:0{width}}-{slug(one.address, _MAX_FILE_NAME)}": one.objects
        for number, one in enumerate(rendered, 1)
        if one.objects
    }


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    """Writes the files and a kustomization of them; files of an earlier rendering are removed."""
    from pipeline.errors import StoreError
    from pipeline.executors.kubernetes.manifest.text import HEADER
    from pipeline.storage.failures import cause_and_fix
    from pipeline.storage.files import replace_file

    names = [f"{name}.yaml" for name in texts]
    listed = "".join(f"  - {name}\n" for name in names)
    kustomization = (
        f"{HEADER}apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
        f"resources:\n{listed}"
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.yaml"):
            with old.open(encoding="utf-8", errors="replace") as file:
                is_ours = file.readline() == HEADER
            if is_ours and old.name not in names:
                old.unlink()
        for name, text in zip(names, texts.values(), strict=True):
            replace_file(folder / name, text.encode(), durable=False)
        replace_file(folder / "kustomization.yaml", kustomization.encode(), durable=False)
    except OSError as exc:
        cause, fix = cause_and_fix(exc)
        msg = f"cannot write {folder}: {cause}. {fix}"
        raise StoreError(msg) from exc
