"""What a DAG file may say outside `with:`, as models; values are those after `${...}`."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.spec.cluster import ClusterSettings
from pipeline.spec.resources import EngineConfig, Resources, Retry

NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_-]*$"
DAG_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$"
MAX_SEED = 2**63 - 1

_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
_Scalar = bool | int | float | str


class StageBlock(BaseModel):
    """One stage: an entry under `stages:`."""

    model_config = _STRICT

    uses: str = Field(min_length=1, description="the stage kind; `pipeline stages` lists them")
    with_: dict[str, Any] = Field({}, alias="with", description="configuration of the stage kind")
    inputs: dict[str, str | list[str]] = Field(
        {}, description="input port -> STAGE.PORT, or a list of them for a port that takes many"
    )
    resources: Resources = Resources()
    deepspeed: EngineConfig = EngineConfig()
    retry: Retry = Retry()
    matrix: dict[str, Annotated[list[_Scalar], Field(min_length=1)]] | None = Field(
        None, description="axis -> values; the stage runs once for each combination"
    )
    max_parallel: int | None = Field(
        None, gt=0, description="cells of the matrix that run side by side; default: no limit"
    )
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="default: the DAG's")
    timeout_seconds: float | None = Field(None, gt=0, description="of one attempt")


class ProfileBlock(BaseModel):
    """A place to run: its own keys beside `stages.` and `params.` overlays."""

    model_config = _STRICT

    on: str = Field("local", min_length=1, description="executor")
    store: str | None = Field(
        None, min_length=1, description="URL of the artifact store; default: .pipeline"
    )
    cluster: ClusterSettings = Field(ClusterSettings(), description="settings of the cluster")


class DagBlock(BaseModel):
    """The head of a DAG file."""

    model_config = _STRICT

    name: str = Field(
        pattern=DAG_NAME_PATTERN,
        description="letters, digits, _, . and -; names the DAG and its runs",
    )
    seed: int = Field(0, ge=0, le=MAX_SEED, description="of every stage that names none")


STAGE_KEYS = tuple(field.alias or name for name, field in StageBlock.model_fields.items())
PROFILE_KEYS = tuple(ProfileBlock.model_fields)
FILE_KEYS = ("name", "seed", "params", "stages", "profiles")
