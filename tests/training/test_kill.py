"""Killed at any moment, resumed: the same bytes as if nothing had happened."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heredity.common.group_folder import GroupFolder
from heredity.common.run_folder import RunFolder
from heredity.environments import find_adapter, registry
from heredity.training.checkpoints import verify_checkpoint

TOTAL = 24_576

COMMON = [
    *("--seed", "7", "--num-envs", "4", "--num-steps", "64", "--preset", "none"),
    *("--evaluation-episodes", "2", "--no-progress", "--no-report"),
]
# One of each kind of environment; with normalisers, schedules and the adaptive rate.
PPO = [
    *("--num-epochs", "2", "--num-minibatches", "2", "--normalize-observations"),
    *("--normalize-rewards", "--clip-range-schedule", "linear", "--network.hidden", "16"),
]
# Few gradient steps, and a replay that is full and overwritten before the end.
DREAMER = [
    *("--deter", "16", "--hidden", "8", "--units", "8", "--groups", "2", "--classes", "3"),
    *("--batch-size", "2", "--batch-length", "8", "--imagination-length", "3"),
    *("--train-ratio", "0.25", "--replay-capacity", "8192"),
]
OF_ALGORITHMS = {"ppo": PPO, "dreamer": DREAMER}


@dataclasses.dataclass(frozen=True)
class Case:
    """One kind of run.

    Args:
        name: For the test's id.
        flags: What differs from the others.
        seeds: Of the policies; none for a run of one.
        devices: That the processor is divided into.
        total: Steps of the run.
        algorithm: That trains.
    """

    name: str
    flags: tuple[str, ...]
    seeds: tuple[int, ...] = ()
    devices: int = 1
    total: int = TOTAL
    algorithm: str = "ppo"

    @property
    def variables(self) -> dict[str, str]:
        """Of the processes of such a run."""
        return {**os.environ, "JAX_NUM_CPU_DEVICES": str(self.devices)}

    def folders(self, directory: Path) -> list[RunFolder]:
        """Where the policies of such a run lie."""
        if not self.seeds:
            return [RunFolder(directory)]
        return [GroupFolder(directory).member(seed) for seed in self.seeds]


CASES = {
    "jax": Case(
        "jax",
        ("--env", "gymnax/Pendulum-v1", "--learning-rate-schedule", "adaptive_kl"),
    ),
    "gymnasium": Case(
        "gymnasium",
        ("--env", "gym/CartPole-v1", "--learning-rate-schedule", "linear"),
    ),
    # Three policies in one program.
    "seeds": Case(
        "seeds",
        ("--env", "gymnax/Pendulum-v1", "--target-kl", "0.05", "--seeds", "3"),
        seeds=(7, 8, 9),
    ),
    "dreamer": Case("dreamer", ("--env", "gymnax/Catch-bsuite"), algorithm="dreamer"),
    "dreamer-gymnasium": Case(
        "dreamer-gymnasium", ("--env", "gym/CartPole-v1"), algorithm="dreamer"
    ),
}

_MEMORY = ("--network.kind", "gru", "--network.memory-size", "8", "--sequence-length", "16")
MORE_CASES = {
    "gru": Case("gru", ("--env", "gymnax/Pendulum-v1", *_MEMORY)),
    "gru-gymnasium": Case("gru-gymnasium", ("--env", "gym/CartPole-v1", *_MEMORY)),
    "cnn": Case("cnn", ("--env", "probe/catch", "--env.length", "5")),
    "dict": Case(
        "dict", ("--env", "probe/luck", "--env.length", "5", "--network.actor-reads", "state")
    ),
    "mesh": Case("mesh", ("--env", "gymnax/Pendulum-v1", "--devices", "2"), devices=2),
    "async": Case("async", ("--env", "gym/CartPole-v1", "--env.vectorization", "async")),
}
"""Other networks and vectors, of which fewer runs are killed."""


def _adapter_case(env: str, total: int, *flags: str) -> Case:
    return Case(env, ("--env", env, *flags), total=total)


_SHORT = ("--env.max-episode-steps", "150")
ADAPTER_CASES = {
    case.name: case
    for case in (
        _adapter_case("atari/Breakout", 2048, *_SHORT, "--env.resolution", "21"),
        _adapter_case(
            "brax/inverted_pendulum",
            2048,
            *("--env.backend", "positional", "--env.randomize", "gravity", "0.8", "1.2"),
        ),
        _adapter_case("crafter/CrafterReward-v1", 1024, *_SHORT, "--env.size", "18"),
        _adapter_case("dm_control/cartpole-swingup", 4096, *_SHORT),
        _adapter_case("envpool/HalfCheetah-v5", 4096, *_SHORT, "--env.seeding", "episode"),
        _adapter_case("minigrid/MiniGrid-Dynamic-Obstacles-5x5-v0", 4096, *_SHORT),
        _adapter_case("playground/CartpoleBalance", 1024, "--env.episode-length", "150"),
    )
}
"""One of each adapter that is not among the others; names that make small and quick runs."""


def _case(kind: str) -> Case:
    return {**CASES, **MORE_CASES, **ADAPTER_CASES}[kind]


def _command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "heredity", *map(str, words)]


def _train(directory: Path, case: Case, cadence: str) -> list[str]:
    ends = ("--total-timesteps", str(case.total), "--checkpoint-every", cadence)
    own = OF_ALGORITHMS[case.algorithm]
    return _command(
        "train", case.algorithm, *COMMON, *own, *case.flags, *ends, "--directory", directory
    )


def _finished(directory: Path, case: Case) -> dict[str, bytes]:
    return {
        f"{folder.root.relative_to(directory)}/{name}": (
            folder.checkpoint(case.total) / name
        ).read_bytes()
        for folder in case.folders(directory)
        for name in ("policy/model.safetensors", "training_state/state.safetensors")
    }


def _unreadable(directory: Path, case: Case) -> list[str]:
    problems = []
    for folder in case.folders(directory):
        for step in folder.checkpoint_steps():
            try:
                verify_checkpoint(folder.checkpoint(step))
            except Exception as error:  # whatever it is, it belongs in the report of the test
                problems.append(f"{folder.root.name} {step}: {error!r}")
    return problems


def _newest(directory: Path, case: Case) -> int:
    """The newest step that all policies have a checkpoint of; -1 without one."""
    steps = [set(folder.checkpoint_steps()) for folder in case.folders(directory)]
    return max(set.intersection(*steps), default=-1)


def _run(command: list[str], case: Case) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=case.variables)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory):
    """The bytes of an uninterrupted run, by kind; made once each."""
    made: dict[str, dict[str, bytes]] = {}

    def get(kind: str) -> dict[str, bytes]:
        if kind not in made:
            directory = tmp_path_factory.mktemp("whole") / "run"
            _run(_train(directory, _case(kind), "4096"), _case(kind))
            made[kind] = _finished(directory, _case(kind))
        return made[kind]

    return get


@dataclasses.dataclass(frozen=True)
class Moment:
    """When to kill.

    Args:
        step: Once a checkpoint of this step or later is there; 0 for once the run has begun.
        seconds: So long after that.
        cadence: Steps between the checkpoints of the run that is killed.
    """

    step: int
    seconds: float
    cadence: str


def _moments(kind: str, count: int) -> list[Moment]:
    """Random moments: the first before any checkpoint, every other one amid constant saving.

    One alone is amid saving.
    """
    draw, total = random.Random(f"{kind} {count}"), _case(kind).total
    last = total - min(4096, total // 4)
    moments = [] if count == 1 else [Moment(0, draw.uniform(0.0, 0.2), "4096")]
    for index in range(1, max(count, 2)):
        step, seconds = draw.randrange(256, last), draw.uniform(0.0, 0.05)
        moments.append(Moment(step, seconds, "256" if index % 2 else "4096"))
    return moments


def _reached(directory: Path, case: Case, step: int) -> bool:
    if step == 0:
        return RunFolder(directory).config.exists()
    # Of the first policy: so some kills fall between those of two.
    steps = case.folders(directory)[0].checkpoint_steps()
    return bool(steps) and steps[-1] >= step


def _kill_and_resume(directory: Path, case: Case, moment: Moment) -> int:
    """Start, kill at the moment, resume until done.

    Returns:
        The step of the newest checkpoint when it was killed; -1 before the first.
    """
    # What is killed may leave half of a compiled program behind, which nobody else shall read.
    compiled = directory.with_name(f"{directory.name}-compiled")
    shutil.copytree(os.environ["JAX_COMPILATION_CACHE_DIR"], compiled, copy_function=os.link)
    process = subprocess.Popen(
        _train(directory, case, moment.cadence),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**case.variables, "JAX_COMPILATION_CACHE_DIR": str(compiled)},
    )
    while process.poll() is None and not _reached(directory, case, moment.step):
        time.sleep(0.002)
    time.sleep(moment.seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    shutil.rmtree(compiled)
    assert _unreadable(directory, case) == []
    newest = _newest(directory, case)
    if newest < case.total:
        _run(_command("resume", directory, "--no-progress", "--no-report"), case)
    return newest


def _check(kind: str, count: int, whole, tmp_path: Path) -> None:
    expected = whole(kind)
    reached = []
    for index, moment in enumerate(_moments(kind, count)):
        directory = tmp_path / f"run-{index}"
        reached.append(_kill_and_resume(directory, _case(kind), moment))
        assert _unreadable(directory, _case(kind)) == []
        found = _finished(directory, _case(kind))
        for name, content in expected.items():
            assert found[name] == content, f"{name} differs, killed at {moment}"
    print(f"{kind}: {count} kills, newest checkpoints then: {reached}")
    assert count == 1 or -1 in reached
    assert any(0 < step < _case(kind).total for step in reached), "no kill fell into the run"


# Each kill is two more processes: here one of each path, the program of several seeds for JAX.
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gymnasium", "seeds", "dreamer-gymnasium"])
def test_a_killed_run_resumes_bit_for_bit(kind: str, whole, tmp_path: Path) -> None:
    _check(kind, 1, whole, tmp_path)


@pytest.mark.kill
@pytest.mark.parametrize("kind", CASES)
def test_twenty_random_moments(kind: str, whole, tmp_path: Path) -> None:
    _check(kind, 20, whole, tmp_path)


@pytest.mark.kill
@pytest.mark.parametrize("kind", MORE_CASES)
def test_five_random_moments(kind: str, whole, tmp_path: Path) -> None:
    _check(kind, 5, whole, tmp_path)


@pytest.mark.kill
@pytest.mark.parametrize("kind", ADAPTER_CASES)
def test_two_random_moments_in_every_adapter(kind: str, whole, tmp_path: Path) -> None:
    missing = find_adapter(kind).missing()
    if missing:
        pytest.skip(missing)
    _check(kind, 2, whole, tmp_path)


def test_every_built_in_adapter_is_killed() -> None:
    cases = (*CASES.values(), *MORE_CASES.values(), *ADAPTER_CASES.values())
    killed = {case.flags[case.flags.index("--env") + 1].partition("/")[0] for case in cases}
    assert killed == set(registry._BUILT_IN)
