"""Stores to test with: a local folder, fsspec's memory, and a real S3 server on loopback."""

import logging
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from pipeline.storage import Store
from pipeline.storage.backend import Backend

S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="session")
def s3_bucket() -> Iterator[str]:
    """URL of a bucket on a server of this process, reached as users reach theirs: by environment."""
    # Deferred: a second that tests without S3 do not pay.
    import s3fs  # noqa: PLC0415
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer  # noqa: PLC0415

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = S3_ENVIRONMENT | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem(use_listings_cache=False).mkdir("bucket")
        yield "s3://bucket"
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def local_store(tmp_path: Path) -> Store:
    """A store in a folder that does not exist yet."""
    return Store(tmp_path / "store")


@pytest.fixture(params=["local", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """One store of every sort: what holds for one holds for all."""
    if request.param == "local":
        return Store(tmp_path / "store")
    if request.param == "memory":
        return Store(f"memory://{uuid.uuid4().hex}/store")
    bucket: str = request.getfixturevalue("s3_bucket")
    return Store(f"{bucket}/{uuid.uuid4().hex}")


def before_each_operation(store: Store, action: Callable[[str], None]) -> Store:
    """The same store, which calls `action` with the name of every operation before it happens."""
    announcing = Store(store.url)
    announcing._backend = cast("Backend", _Announcing(store._backend, action))
    return announcing


class _Announcing:
    def __init__(self, backend: Backend, action: Callable[[str], None]) -> None:
        self._backend = backend
        self._action = action

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._backend, name)
        if not callable(inner) or name == "local_path":
            return inner

        def operation(*arguments: Any, **options: Any) -> Any:
            self._action(name)
            return inner(*arguments, **options)

        return operation
