"""The stage kinds that come with the framework: configuration and ports, not what they do."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pipeline.spec.config import Source, StageConfig
from pipeline.spec.ports import (
    SCORES,
    InputText,
    OutputText,
    Port,
    PortName,
    parse_port,
    parse_ports,
)
from pipeline.spec.scalars import scalar_text
from pipeline.spec.stage import StageSpec

PLACEHOLDER = re.compile(
    r"\{(?:(inputs?|outputs?|sources?)\.([A-Za-z_][A-Za-z0-9_]*)|(scratch|seed))\}"
)
"""What `fill` replaces; other braces stay as they are, so JSON and awk need no escape."""
_GLOB = re.compile(r"[*?\[]")
_Ports = tuple[Mapping[str, Port], Mapping[str, Port]]


def _as_text(value: object) -> object:
    return scalar_text(value) if isinstance(value, bool | int | float) else value


_Text = Annotated[str, BeforeValidator(_as_text, json_schema_input_type=str | int | float | bool)]
"""A text; a number stands for itself, so that `${matrix.lr}` may be an argument."""


class CommandConfig(StageConfig):
    """Runs a program with declared inputs and outputs.

    `{inputs.NAME}`, `{outputs.NAME}`, `{sources.NAME}`, `{scratch}` and `{seed}` in `argv` and
    `env` become paths and the seed. A list (an input that ends in `[]`, a source with a wildcard)
    must be a whole argument and becomes one argument for each path. The program runs in the
    scratch folder and inherits the environment; a status other than 0 fails the stage.
    """

    argv: tuple[_Text, ...] = Field(min_length=1, description="program and arguments; no shell")
    inputs: dict[PortName, InputText] = Field(
        {}, description="input port -> kind, e.g. shards(tokens); scores[] takes a list"
    )
    outputs: dict[PortName, OutputText] = Field(
        {}, description="output port -> kind; the program fills the folder {outputs.NAME}"
    )
    sources: dict[PortName, Source] = Field(
        {}, description="scripts and data the program reads; their content is part of the key"
    )
    env: dict[str, _Text] = Field(
        {}, description="variables set for the program; part of the key, so no place for secrets"
    )

    @model_validator(mode="after")
    def _placeholders_are_declared(self) -> Self:
        for text in (*self.argv, *self.env.values()):
            for match in PLACEHOLDER.finditer(text):
                self._check_placeholder(text, match, is_argument=text in self.argv)
        return self

    @property
    def uses_seed(self) -> bool:
        """Whether `{seed}` stands anywhere; a program cannot get at the seed in another way."""
        texts = (*self.argv, *self.env.values())
        return any(m[3] == "seed" for text in texts for m in PLACEHOLDER.finditer(text))

    def _check_placeholder(self, text: str, match: re.Match[str], *, is_argument: bool) -> None:
        group, name = match[1], match[2]
        if group is None:
            return
        declared: dict[str, dict[str, str]] = {
            "inputs": self.inputs,
            "outputs": self.outputs,
            "sources": self.sources,
        }
        if group not in declared:
            msg = f"{match[0]} names nothing; write {{{group}s.{name}}}"
            raise ValueError(msg)
        if name not in declared[group]:
            known = ", ".join(sorted(declared[group])) or "none"
            msg = f"{match[0]} is not declared; {group} of this stage: {known}"
            raise ValueError(msg)
        is_list = (group == "inputs" and parse_port(self.inputs[name]).many) or (
            group == "sources" and _GLOB.search(self.sources[name])
        )
        if is_list and not (is_argument and text == match[0]):
            msg = f"{match[0]} is a list; make it an argument of its own, not {text!r}"
            raise ValueError(msg)


def fill(text: str, values: Mapping[str, Sequence[str]]) -> list[str]:
    """`text` with its placeholders replaced.

    Args:
        text: an argument or a variable's value of a CommandConfig.
        values: "inputs.NAME", "outputs.NAME", "sources.NAME", "scratch", "seed" -> its texts, one
            except for a list.

    Returns:
        One text, or the texts of a list when the whole of `text` is its placeholder.
    """
    whole = PLACEHOLDER.fullmatch(text)
    if whole is not None:
        return list(values[whole[0][1:-1]])
    return [PLACEHOLDER.sub(lambda match: values[match[0][1:-1]][0], text)]


def _command_ports(config: StageConfig) -> _Ports:
    assert isinstance(config, CommandConfig)  # the spec below says so
    return parse_ports(config.inputs), parse_ports(config.outputs)


class ImportConfig(StageConfig):
    """Makes an artifact of a folder, weights or a checkpoint that was made elsewhere.

    The output port is called as the kind: `uses: import` with `kind: checkpoint(xlnet)` gives
    `STAGE.checkpoint`.
    """

    source: Source = Field(description="folder, file, glob or URL; names below it are kept")
    kind: OutputText = Field(description="what it is: folder, checkpoint(xlnet), shards(tokens)")
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="refuse a file with another digest"
    )


def _import_ports(config: StageConfig) -> _Ports:
    assert isinstance(config, ImportConfig)  # the spec below says so
    port = parse_port(config.kind)
    return {}, {str(port.kind): port}


class Bound(BaseModel):
    """What a score may be; both ends belong to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min: float | None = Field(None, allow_inf_nan=False, description="smallest score that passes")
    max: float | None = Field(None, allow_inf_nan=False, description="largest score that passes")

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.min is None and self.max is None:
            msg = "gives neither min nor max"
            raise ValueError(msg)
        if self.min is not None and self.max is not None and self.min > self.max:
            msg = f"min={self.min} is above max={self.max}: nothing can pass"
            raise ValueError(msg)
        return self


class CheckConfig(StageConfig):
    """Fails unless scores are within bounds: `with: {perplexity: {max: 120}}`.

    Every artifact connected to `scores` must have every score named here, and a number: a score
    that is absent or NaN fails.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Bound] = Field(init=False)

    @model_validator(mode="after")
    def _names_a_score(self) -> Self:
        if not self.bounds:
            msg = "names no score; write for example {perplexity: {max: 120}}"
            raise ValueError(msg)
        return self

    @property
    def bounds(self) -> Mapping[str, Bound]:
        """Score name -> what it may be."""
        return self.__pydantic_extra__


COMMAND = StageSpec(
    name="command",
    config=CommandConfig,
    run="pipeline.node.builtins.command:run",
    ports_of=_command_ports,
    uses_seed=lambda config: config.uses_seed,
)
IMPORT = StageSpec(
    name="import",
    config=ImportConfig,
    run="pipeline.node.builtins.import_artifact:run",
    ports_of=_import_ports,
)
CHECK = StageSpec(
    name="check",
    config=CheckConfig,
    run="pipeline.node.builtins.check:run",
    inputs={"scores": replace(SCORES, many=True)},
)
