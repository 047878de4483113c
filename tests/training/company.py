"""Runs of several processes, as commands."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from heredity.common.run_folder import RunFolder

TOTAL = 12_800
CADENCE = 640

# What `tiny_runs.CONFIG` is, on the command line.
TINY = (
    *("ppo", "--env", "probe/observation-action-reward", "--env.length", "5", "--preset", "none"),
    *("--num-envs", "4", "--num-steps", "16", "--num-epochs", "1", "--num-minibatches", "2"),
    *("--learning-rate", "1e-2", "--network.hidden", "8", "--normalize-observations"),
    *("--normalize-rewards", "--evaluation-episodes", "2", "--evaluate-every", "6400"),
    *("--total-timesteps", str(TOTAL), "--checkpoint-every", str(CADENCE)),
    *("--keep-last", "50", "--log-every", "1280", "--no-report"),
)

SCHEDULE = {"schedule_timesteps": TOTAL, "checkpoint_every": CADENCE, "evaluate_every": 6400}
"""The same in Python, beside `tiny_runs.CONFIG`."""


def free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "heredity", *map(str, words)]


def start(words: Sequence[str | Path], errors: Path) -> list[subprocess.Popen[bytes]]:
    """Two processes of one run; what they say goes to the files ``errors/0`` and ``errors/1``."""
    errors.mkdir(parents=True, exist_ok=True)
    address = free_address()
    started = []
    for index in range(2):
        place = ("--distributed.coordinator", address, "--distributed.processes", "2")
        with open(errors / str(index), "wb") as file:
            started.append(
                subprocess.Popen(
                    command(*words, *place, "--distributed.process", str(index)),
                    stdout=subprocess.DEVNULL,
                    stderr=file,
                    env=one_device(),
                )
            )
    return started


def one_device() -> dict[str, str]:
    """Each process has one; and compiled programs of its own, because one of them is killed."""
    return {**os.environ, "JAX_NUM_CPU_DEVICES": "1"}


def wait_for(reached: Callable[[], bool], alive: Callable[[], bool], seconds: float = 240) -> None:
    """Wait for something that a process does.

    Raises:
        AssertionError: when it ends before, or takes longer.
    """
    until = time.monotonic() + seconds
    while not reached():
        assert alive(), "it ended before"
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.01)


def has_checkpoint(directory: Path, step: int) -> bool:
    steps = RunFolder(directory).checkpoint_steps()
    return bool(steps) and steps[-1] >= step
