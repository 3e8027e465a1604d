"""Reads a DAG file under its layers: the one door from text to a checked Dag."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from pipeline.errors import Problem, UserError
from pipeline.spec.blocks import NAME_PATTERN, DagBlock, ProfileBlock
from pipeline.spec.dag import Dag
from pipeline.spec.interpolation import Interpolator
from pipeline.spec.layers import (
    lay,
    profile_overlays,
    set_overlay,
    split_file,
    values_overlays,
)
from pipeline.spec.origins import DEFAULT
from pipeline.spec.stages import Settings, StageBuilder
from pipeline.spec.suggest import did_you_mean
from pipeline.spec.tree import Node, Path, problem
from pipeline.spec.validation import ModelT, validate
from pipeline.spec.yaml_reader import read_file, read_yaml
from pipeline.storage.sources import is_url

_MIN_SECRET_LENGTH = 4
"""Shorter values of the environment stay in messages: taking "1" out would garble them."""


def load_dag(
    file: FilePath,
    *,
    profile: str | None,
    values: Sequence[FilePath],
    sets: Sequence[str],
    environ: Mapping[str, str],
) -> Dag:
    """A DAG file under a profile, values files and `--set`s, checked as a whole.

    Args:
        file: the DAG file; relative paths in it and in every layer start at its folder.
        profile: one of its profiles; None for none.
        values: YAML files of dotted paths and values, weakest first.
        sets: PATH=VALUE, weakest first; stronger than every file.
        environ: what `${env.X}` looks up.

    Raises:
        UserError: with every problem of all layers, each at its place.
    """
    missing: list[Problem] = []
    texts: list[tuple[str, str]] = []
    for one in values:
        try:
            texts.append((str(one), read_file(one)))
        except UserError as exc:
            missing += exc.problems
    try:
        text = read_file(file)
    except UserError as exc:
        raise UserError([*missing, *exc.problems]) from exc
    try:
        dag = load_text(text, file, profile=profile, values=texts, sets=sets, environ=environ)
    except UserError as exc:
        raise UserError([*missing, *exc.problems]) from exc
    if missing:
        raise UserError(missing)
    return dag


def load_text(
    text: str,
    file: FilePath,
    *,
    profile: str | None,
    values: Sequence[tuple[str, str]],
    sets: Sequence[str],
    environ: Mapping[str, str],
) -> Dag:
    """`load_dag` of texts that were read before: a run resumes with what it was asked to do.

    Args:
        text: content of the DAG file.
        file: its path; need not exist any more, but relative paths start at its folder.
        profile: see `load_dag`.
        values: name and content of each values file.
        sets: see `load_dag`.
        environ: see `load_dag`.

    Raises:
        UserError: see `load_dag`.
    """
    root, problems = read_yaml(text, layer="file", file=str(file))
    return _Reading(file, environ, problems).dag(root, profile, values, sets)


class _Reading:
    """One reading of a DAG; `problems` grows until the end, where it is raised as a whole."""

    def __init__(
        self, file: FilePath, environ: Mapping[str, str], problems: Sequence[Problem]
    ) -> None:
        self._file = file
        self._folder = FilePath(os.path.abspath(file)).parent  # noqa: PTH100 - links stay as written
        self._environ = environ
        self._problems = list(problems)

    def dag(
        self,
        root: Node,
        profile: str | None,
        values: Sequence[tuple[str, str]],
        sets: Sequence[str],
    ) -> Dag:
        """The DAG, or UserError."""
        if not isinstance(root.value, dict):
            fix = "A DAG needs `name` and `stages`."
            raise UserError([*self._problems, problem(root.origin, "", "should be a mapping", fix)])
        tree = self._layered(root, profile, values, sets)
        self._check_shape(tree)
        params = tree.entries["params"].entries if "params" in tree.entries else {}
        interpolator = Interpolator(params, self._environ)
        interpolator.params()
        head = self._block(DagBlock, tree, ("name", "seed"), interpolator)
        place = self._block(ProfileBlock, tree, ("on", "store", "cluster"), interpolator)
        seed = tree.entries.get("seed")
        settings = Settings(
            folder=self._folder,
            seed=head.seed if head else 0,
            seed_origin=seed.origin if seed else DEFAULT,
            is_local=place is None or place.on == "local",
        )
        builder = StageBuilder(settings, interpolator)
        stages = builder.build(tree.entries["stages"].entries if "stages" in tree.entries else {})
        self._problems += [*interpolator.problems, *builder.problems]
        if self._problems or head is None or place is None:
            raise UserError(_without_secrets(self._problems, interpolator.environment))
        return Dag(
            name=head.name,
            file=self._folder / self._file.name,
            on=place.on,
            store=self._store(place.store),
            cluster=place.cluster,
            stages=stages,
            resolved=self._resolved(tree, params),
        )

    def _layered(
        self,
        root: Node,
        profile: str | None,
        values: Sequence[tuple[str, str]],
        sets: Sequence[str],
    ) -> Node:
        tree, profiles, problems = split_file(root)
        self._problems += problems
        overlays = []
        for name, node in profiles.items():
            found, problems = profile_overlays(name, node)
            self._problems += problems
            if name == profile:
                overlays += found
            else:
                # A profile that is not chosen is checked too, as far as it can be alone.
                self._problems += lay(tree, found)[1]
        if profile is not None and profile not in profiles:
            hint = did_you_mean(profile, profiles, "Profiles")
            place = root.entries.get("profiles", root).place
            self._problems.append(
                problem(place, "profiles", f"there is no profile {profile!r}", hint)
            )
        for file, text in values:
            found, problems = values_overlays(file, text)
            overlays += found
            self._problems += problems
        for text in sets:
            found, problems = set_overlay(text)
            overlays += found
            self._problems += problems
        tree, problems = lay(tree, overlays)
        self._problems += problems
        return tree

    def _check_shape(self, tree: Node) -> None:
        """The sections are mappings, `stages` is not empty, names are names."""
        for key in ("params", "stages"):
            section = tree.entries.get(key)
            if section is None or isinstance(section.value, dict):
                continue
            message = f"should be a mapping, not {section.shown()}"
            self._problems.append(problem(section.origin, key, message))
        stages = tree.entries.get("stages")
        if stages is None or stages.value == {}:
            message = "this key is required" if stages is None else "there are no stages"
            place = tree.place if stages is None else stages.place
            fix = "Write {NAME: {uses: KIND}}; `pipeline stages` lists the kinds."
            self._problems.append(problem(place, "stages", message, fix))
        for key in ("params", "stages"):
            section = tree.entries.get(key)
            for name, node in section.entries.items() if section else ():
                if not re.fullmatch(NAME_PATTERN, name):
                    message = "a name takes letters, digits, _ and -, and begins with a letter or _"
                    self._problems.append(problem(node.place, (key, name), message))

    def _block(
        self, model: type[ModelT], tree: Node, keys: Sequence[str], interpolator: Interpolator
    ) -> ModelT | None:
        """The head of the file or the profile's own keys; None when something is wrong."""
        entries = {key: node for key, node in tree.entries.items() if key in keys}
        node, _ = interpolator.replace_in(replace(tree, value=entries), ())
        value, problems = validate(model, node, (), noun="key")
        self._problems += problems
        return value

    def _store(self, store: str | None) -> str | None:
        """A store's path starts at the DAG's folder, like every path in the file."""
        if store is None or is_url(store):
            return store
        return os.path.normpath(self._folder / store)

    def _resolved(self, tree: Node, params: Mapping[str, Node]) -> dict[str, Any]:
        shown = Interpolator(params, self._environ, keep=True)
        resolved = {}
        for key, node in tree.entries.items():
            path: Path = (key,)
            resolved[key] = shown.replace_in(node, path)[0].plain()
        return resolved


def _without_secrets(problems: Sequence[Problem], environment: Mapping[str, str]) -> list[Problem]:
    """The problems with what the environment holds written as `${env.X}`."""
    secrets = [
        (value, f"${{env.{name}}}")
        for name, value in environment.items()
        if len(value) >= _MIN_SECRET_LENGTH
    ]
    # Longest first: one value may be part of another.
    secrets.sort(key=lambda item: -len(item[0]))
    cleaned = []
    for one in problems:
        message, fix = one.message, one.fix
        for value, name in secrets:
            message, fix = message.replace(value, name), fix.replace(value, name)
        cleaned.append(replace(one, message=message, fix=fix))
    return cleaned
