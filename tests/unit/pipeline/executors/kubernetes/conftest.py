"""A scripted API server, and the real client on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.executors.kubernetes.client import Cluster
from tests.kubernetes.api_server import ApiServer, api_server


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with api_server() as running:
        yield running


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Iterator[Cluster]:
    connected = Cluster(
        "pipeline", kubeconfig=str(server.kubeconfig(tmp_path)), patience_seconds=3.0
    )
    yield connected
    connected.close()
