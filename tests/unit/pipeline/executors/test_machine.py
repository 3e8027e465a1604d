"""What the local executor finds on a machine."""

import os
import socket

import pytest

from pipeline.executors.local.machine import gpu_names, machine_capacity, reserve_port


def test_capacity_is_no_more_than_the_machine() -> None:
    capacity = machine_capacity()
    assert capacity.cpus is not None
    assert 1 <= capacity.cpus <= (os.cpu_count() or 1)
    assert capacity.memory_bytes is not None
    assert capacity.memory_bytes > 1 << 28


@pytest.mark.parametrize(
    ("visible", "names"), [("", []), ("-1", []), ("3,GPU-5a", ["3", "GPU-5a"])]
)
def test_gpus_are_those_the_user_left_visible(
    monkeypatch: pytest.MonkeyPatch, visible: str, names: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu_names() == names


def test_reserved_port_can_be_listened_on_by_the_rank_and_is_given_to_nobody_else() -> None:
    with reserve_port() as reserved, socket.socket() as rank:
        port = reserved.getsockname()[1]
        rank.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        rank.bind(("127.0.0.1", port))
        rank.listen()
        with reserve_port() as other:
            assert other.getsockname()[1] != port
