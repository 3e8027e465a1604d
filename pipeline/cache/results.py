"""Results: what was computed under a key, and why a look-up misses."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from pipeline.cache.manifest import Sha256
from pipeline.cache.presence import absence
from pipeline.errors import StoreError
from pipeline.storage import Store
from pipeline.storage.digests import canonical_json
from pipeline.storage.keys import safe_name

KeyPart = str | int | float | bool | None


class Result(BaseModel):
    """The outputs of a stage and where they came from.

    Attributes:
        format: of this file; readers refuse other numbers.
        artifacts: port -> digest.
        plan_key, content_key: the two keys it was computed under.
        stage: address in the DAG that computed it.
        kind: what `uses:` resolved to.
        run, attempt_id: that computed it.
        created: seconds since the epoch.
        key_parts: what the plan key is the digest of; `explain` compares them.
        provenance: commit, versions, machine, placement, duration: for people, in no key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(1, ge=1, le=1)
    artifacts: dict[str, Sha256]
    plan_key: str
    content_key: str
    stage: str
    kind: str
    run: str
    attempt_id: str
    created: float = Field(default_factory=time.time)
    key_parts: dict[str, KeyPart] = {}
    provenance: dict[str, JsonValue] = {}


@dataclass(frozen=True)
class Lookup:
    """What a look-up found: a result that can be used, or the reason why there is none."""

    result: Result | None
    reason: str = ""


class Results:
    """The results of a store."""

    def __init__(self, store: Store) -> None:
        """Opens nothing yet."""
        self._store = store

    def lookup(self, key: str) -> Result | None:
        """The result under a plan key or content key, when all its artifacts are there.

        Raises:
            StoreError: the store failed.
        """
        return self.find(key).result

    def find(self, key: str) -> Lookup:
        """As `lookup`, with the reason of a miss; damage of any kind is a miss.

        Checks manifests and sizes, not contents: those are read when the artifact is opened.

        Raises:
            StoreError: the store failed.
        """
        found = self.read(key)
        if found.result is None:
            return found
        for port, digest in found.result.artifacts.items():
            reason = absence(self._store, digest)
            if reason:
                return Lookup(None, f"artifact {digest[:12]} of port {port}: {reason}")
        if self._store.local_path() is not None:
            # Tells eviction that it is in use; on an object store this would cost a write a hit.
            self._touch(key)
        return found

    def read(self, key: str) -> Lookup:
        """What is recorded under a key, whether or not its artifacts still are there.

        Raises:
            StoreError: the store failed.
        """
        try:
            return Lookup(Result.model_validate_json(self._store.read(_key(key))))
        except KeyError:
            return Lookup(None, "nothing is recorded under this key")
        except ValidationError as exc:
            problem = exc.errors(include_url=False)[0]
            place = ".".join(str(part) for part in problem["loc"]) or "content"
            return Lookup(None, f"{_key(key)} is damaged: {place}: {problem['msg']}")

    def record(self, keys: Iterable[str], result: Result) -> None:
        """Records a result under each key, replacing what was there; the last line of a commit.

        Only the first is fsynced: when the machine goes down, losing another costs no more than
        a look-up that could have ended early.

        Raises:
            StoreError: the store failed; some of the keys may have been recorded.
        """
        data = canonical_json(result.model_dump(mode="json")) + b"\n"
        for number, key in enumerate(dict.fromkeys(keys)):
            self._store.write(_key(key), data, durable=number == 0)

    def latest(self, dag: str, stage: str) -> str | None:
        """The plan key that was last computed or reused at a stage of a DAG, None when never.

        Raises:
            StoreError: the store failed.
        """
        try:
            return self._store.read(_latest_key(dag, stage)).decode("ascii").strip() or None
        except (KeyError, UnicodeDecodeError):
            return None

    def set_latest(self, dag: str, stage: str, plan_key: str) -> None:
        """Notes the plan key that a stage of a DAG has now."""
        if self.latest(dag, stage) != plan_key:
            # Not fsynced: losing it costs one explanation.
            self._store.write(_latest_key(dag, stage), f"{plan_key}\n".encode(), durable=False)

    def _touch(self, key: str) -> None:
        try:
            self._store.touch(_key(key))
        except (KeyError, StoreError):
            # Forgotten meanwhile, or a store that may only be read: planning works there too, and
            # whoever has to write or open something is told.
            return


def _key(key: str) -> str:
    return f"results/{key}.json"


def _latest_key(dag: str, stage: str) -> str:
    return f"latest/{safe_name(dag)}/{safe_name(stage)}.txt"
