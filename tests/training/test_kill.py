"""Killed at any moment, resumed: the same bytes as if nothing had happened."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heredity.common.run_folder import RunFolder
from heredity.training.checkpoints import verify_checkpoint

TOTAL = 24_576

# One of each kind of environment; with normalisers, schedules and the adaptive rate.
COMMON = [
    *("--total-timesteps", str(TOTAL), "--seed", "7", "--num-envs", "4", "--num-steps", "64"),
    *("--num-epochs", "2", "--num-minibatches", "2", "--normalize-observations"),
    *("--normalize-rewards", "--clip-range-schedule", "linear", "--preset", "none"),
    *("--actor-hidden", "16", "--critic-hidden", "16", "--evaluation-episodes", "2"),
    *("--no-progress", "--no-report"),
]


@dataclasses.dataclass(frozen=True)
class Case:
    """One kind of run.

    Args:
        name: For the test's id.
        flags: What differs from the others.
    """

    name: str
    flags: tuple[str, ...]


CASES = {
    "jax": Case(
        "jax",
        ("--env", "gymnax/Pendulum-v1", "--learning-rate-schedule", "adaptive_kl"),
    ),
    "gymnasium": Case(
        "gymnasium",
        ("--env", "gym/CartPole-v1", "--learning-rate-schedule", "linear"),
    ),
}


def _command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "heredity", *map(str, words)]


def _train(directory: Path, case: Case, cadence: str) -> list[str]:
    flags = [*COMMON, *case.flags, "--checkpoint-every", cadence, "--directory", directory]
    return _command("train", "ppo", *flags)


def _finished(directory: Path) -> dict[str, bytes]:
    place = RunFolder(directory).checkpoint(TOTAL)
    return {
        name: (place / name).read_bytes()
        for name in ("policy/model.safetensors", "training_state/state.safetensors")
    }


def _unreadable(directory: Path) -> list[str]:
    folder = RunFolder(directory)
    problems = []
    for step in folder.checkpoint_steps():
        try:
            verify_checkpoint(folder.checkpoint(step))
        except Exception as error:  # whatever it is, it belongs in the report of the test
            problems.append(f"{step}: {error!r}")
    return problems


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory):
    """The bytes of an uninterrupted run and how long it took, by kind; made once each."""
    made: dict[str, tuple[dict[str, bytes], float]] = {}

    def get(kind: str) -> tuple[dict[str, bytes], float]:
        if kind not in made:
            directory = tmp_path_factory.mktemp("whole") / kind
            began = time.monotonic()
            _run(_train(directory, CASES[kind], "4096"))
            made[kind] = (_finished(directory), time.monotonic() - began)
        return made[kind]

    return get


def _kill_and_resume(directory: Path, case: Case, moment: float, cadence: str) -> int:
    """Start, kill at `moment` seconds (if it runs that long), resume until done.

    Returns:
        The step of the newest checkpoint when it was killed; -1 before the first.
    """
    process = subprocess.Popen(
        _train(directory, case, cadence),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert _unreadable(directory) == []
    steps = RunFolder(directory).checkpoint_steps()
    if not RunFolder(directory).config.exists():
        # Killed before the run had begun: there is nothing to resume, so it begins.
        _run(_train(directory, case, cadence))
    elif not steps or steps[-1] < TOTAL:
        _run(_command("resume", directory, "--no-progress", "--no-report"))
    return steps[-1] if steps else -1


def _moments(kind: str, count: int, seconds: float) -> list[float]:
    """Random moments of a run that takes so many seconds; the earliest before its first save."""
    draw = random.Random(f"{kind} {count}")
    early = [seconds * draw.uniform(0.1, 0.4)]
    return early + [seconds * draw.uniform(0.3, 1.0) for _ in range(count - 1)]


def _check(kind: str, count: int, whole, tmp_path: Path) -> None:
    expected, seconds = whole(kind)
    reached = []
    for index, moment in enumerate(_moments(kind, count, seconds)):
        # Every other run saves at each iteration, so that kills fall into the writing as well.
        cadence = "256" if index % 2 else "4096"
        directory = tmp_path / f"{kind}-{index}"
        reached.append(_kill_and_resume(directory, CASES[kind], moment, cadence))
        assert _unreadable(directory) == []
        found = _finished(directory)
        for name, content in expected.items():
            assert found[name] == content, f"{name} differs, killed after {moment:.1f} s"
    print(f"{kind}: {count} kills, newest checkpoints then: {reached}")


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_a_killed_run_resumes_bit_for_bit(kind: str, whole, tmp_path: Path) -> None:
    _check(kind, 3, whole, tmp_path)


@pytest.mark.kill
@pytest.mark.parametrize("kind", CASES)
def test_twenty_random_moments(kind: str, whole, tmp_path: Path) -> None:
    _check(kind, 20, whole, tmp_path)
