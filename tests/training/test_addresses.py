"""What processes say before they wait for each other."""

from __future__ import annotations

import socket
import subprocess
import sys
import time

import pytest

from heredity.common.errors import UsageError
from heredity.training.addresses import check_answers, check_free, claim, host_and_port
from heredity.training.processes import join
from heredity.training.ray_launcher import RayCluster, launch


@pytest.fixture
def listening():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.mark.parametrize("text", ["", "a", ":1", "a:", "a:b", "a:0", "a:65536", "a:\u0663"])
def test_what_is_no_address(text: str):
    assert host_and_port(text) is None


def test_who_answers_is_there(listening: int):
    check_answers("it", "127.0.0.1", listening, 1.0)
    with pytest.raises(UsageError, match=rf"nobody answers at 127\.0\.0\.1:{free()} \("):
        check_answers("it", "127.0.0.1", free(), 1.0)


def free() -> int:
    # Ports below 1024 are given to services; nobody has this one.
    return 1


def test_a_port_that_is_taken_is_told_to_process_0(listening: int):
    with pytest.raises(UsageError, match=f"port {listening} cannot be had here .*process 0"):
        join(f"127.0.0.1:{listening}", 2, 0)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    check_free(f"127.0.0.1:{port}")


@pytest.mark.skipif(sys.platform != "linux", reason="names that end with their process")
def test_a_number_has_one_process():
    coordinator = "127.0.0.1:1"
    first = claim(coordinator, 1)
    assert first is not None
    try:
        with pytest.raises(UsageError, match=r"process 1 of the run at 127\.0\.0\.1:1 already"):
            join(coordinator, 2, 1)
        others = [claim(coordinator, 2), claim("127.0.0.1:2", 1)]
        for other in others:
            assert other is not None
            other.close()
    finally:
        first.close()
    program = "import sys; from heredity.training.addresses import claim; held = claim"
    program += f"({coordinator!r}, 1); print(held is not None, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"True\n"
        with pytest.raises(UsageError, match="already"):
            claim(coordinator, 1)
        process.kill()
    again = claim(coordinator, 1)
    assert again is not None
    again.close()


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("localhost:1", "nobody answers at localhost:1"),
        ("ray://127.0.0.1:1", "nobody answers at 127.0.0.1:1"),
        ("no.such.host.invalid:6379", "nobody answers at no.such.host.invalid:6379"),
        ("cluster", "auto, or a host and a port"),
        ("", "auto, or a host and a port"),
    ],
)
def test_a_cluster_that_is_not_there_is_told_at_once(address: str, told: str, tmp_path):
    began = time.monotonic()
    with pytest.raises(UsageError, match=told):
        launch(["train"], ["resume"], tmp_path, RayCluster(address=address))
    assert time.monotonic() - began < 30
