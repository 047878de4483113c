"""The command that an interrupted run tells does go on with it."""

import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import TINY

from heredity.cli import launching
from heredity.cli.going_on import resume_command
from heredity.common.errors import UsageError
from heredity.common.run_folder import RunFolder
from heredity.networks import contract
from heredity.training import session
from heredity.training.runners import DeviceRunner

MODULE = """
import flax.linen as nn

class Dense(nn.Module):
    output_size: int = 2

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.output_size)(x)
"""
KIND = "my_dense:Dense"


@pytest.fixture
def own_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "my_dense.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(contract, "_BUILDERS", dict(contract._BUILDERS))
    yield
    sys.modules.pop("my_dense", None)


def own_words(*more: str) -> list[str]:
    """`TINY` with a network of one's own."""
    place = TINY.index("--network.hidden")
    return [*TINY[:place], *TINY[place + 2 :], "--network.kind", KIND, *more]


@pytest.mark.usefixtures("own_network")
def test_what_an_interrupted_run_tells_goes_on_with_it(
    heredity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    directory = tmp_path / "run"
    real = DeviceRunner.iterate

    def iterate(self: DeviceRunner, iterations: int) -> Any:
        signal.raise_signal(signal.SIGINT)
        return real(self, 1)

    with monkeypatch.context() as patched:
        patched.setattr(DeviceRunner, "iterate", iterate)
        words = own_words("--total-timesteps", "128", "--directory", str(directory))
        done = heredity("train", *words)
    assert done.code == 130, done.err
    command = done.err.partition("saved at step 64. Go on with: ")[2].splitlines()[0]
    assert shlex.split(command) == ["heredity", "resume", str(directory), "--trust", KIND]
    # Another process has not imported it.
    monkeypatch.delitem(contract._BUILDERS, KIND)
    done = heredity(*shlex.split(command)[1:])
    assert done.code == 0, done.err
    assert RunFolder(directory).checkpoint_steps()[-1] == 128


def test_what_the_folder_does_not_remember_is_given_again(monkeypatch: pytest.MonkeyPatch):
    words = "--distributed.coordinator a:1 --seed 3 --distributed.process=1 --no-report --wandb x"
    kept = "--distributed.coordinator a:1 --distributed.process=1 --wandb x"
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    told = resume_command(Path("my runs"), words.split(), [])
    assert told == f"heredity resume 'my runs' {kept}"
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "2")
    told = resume_command(Path("a"), ["--devices", "2"], ["gym/m:E-v0"])
    assert told == "JAX_NUM_CPU_DEVICES=2 heredity resume a --trust gym/m:E-v0"


@pytest.mark.usefixtures("own_network")
def test_workers_of_a_launcher_know_how_to_go_on(
    heredity, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    launched: list[list[str]] = []
    monkeypatch.setattr(launching, "launch", lambda *given: launched.extend(given[:2]) or 0)
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES", raising=False)
    place, ray = str(tmp_path / "run"), ["--launcher", "ray", "--ray.workers", "3"]
    words = own_words("--total-timesteps", "128", "--directory", place, "--wandb", "mine", *ray)
    assert heredity("train", *words).code == 0
    assert heredity("resume", trained, "--trust", KIND, *ray).code == 0
    begun, after_loss, resumed, _ = launched
    told = f"heredity resume {place} --trust {KIND} --wandb mine {' '.join(ray)}"
    for given in (begun, after_loss):
        assert given[-2:] == ["--distributed.resume-with", told]
    assert after_loss[1:-2] == [
        *(place, "--trust", KIND, "--wandb", "mine"),
        *("--no-progress", "--no-report", "--after-loss"),
    ]
    assert resumed[-1] == f"heredity resume {trained} --trust {KIND} {' '.join(ray)}"
    # What a worker is given is what it tells.
    given: list[str] = []

    def begin(*_: Any, resume_command: str, **more: Any) -> None:
        given.append(resume_command)
        raise UsageError("far enough")

    monkeypatch.setattr(session, "begin_run", begin)
    monkeypatch.setattr(session, "resume_run", begin)
    assert heredity(*launching.without(begun, "--wandb")).code == 2
    assert heredity(*resumed).code == 2
    assert given == [begun[-1], resumed[-1]]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--env", "gym/CartPole-v1"], "2 processes (--ray.workers) in gym/CartPole-v1: only JAX"),
        (["--env", "probe/recall", "--seeds", "2"], "seeds 2 on 2 processes"),
        (["--env", "probe/recall", "--on-divergence", "rollback"], "rollback with 2 processes"),
    ],
)
def test_what_processes_cannot_do_is_refused_before_there_are_any(
    heredity, words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launching, "launch", lambda *_: pytest.fail("a cluster was started"))
    done = heredity("train", "ppo", *words, "--total-timesteps", "64", "--launcher", "ray")
    assert done.code == 2 and told in done.told
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_not_there_starts_no_cluster(
    heredity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(launching, "launch", lambda *_: pytest.fail("a cluster was started"))
    done = heredity("resume", tmp_path / "nowhere", "--launcher", "ray")
    assert done.code == 3 and "nowhere" in done.err
