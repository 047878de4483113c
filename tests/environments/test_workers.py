"""Environments in processes: signals to the whole group, and workers that die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tests.environments.counting import Counting

from heredity.common.errors import HeredityError
from heredity.common.run_folder import RunFolder
from heredity.environments.gymnasium import AsyncEnvironment
from heredity.environments.workers import SIGNALS


@pytest.fixture
def env():
    made = AsyncEnvironment([Counting] * 2)
    made.reset(np.array([1, 2]), np.ones(2, bool))
    yield made
    made.close()


def test_workers_outlive_signals(env: AsyncEnvironment):
    before = [signal.getsignal(number) for number in SIGNALS]
    for process in env._vector.processes:
        for number in SIGNALS:
            os.kill(process.pid, number)
    time.sleep(0.1)
    np.testing.assert_array_equal(env.step(np.array([1, 1])).observation, [[1, 1], [2, 1]])
    # Those of this process are as they were, although the first maker is called here too.
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(SIGNALS)


@pytest.mark.parametrize("call", ["step", "reset", "render"])
def test_a_killed_worker_is_an_error_that_names_it(env: AsyncEnvironment, call: str):
    env._draws = True
    victim = env._vector.processes[1]
    os.kill(victim.pid, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(HeredityError, match=r"worker 1 of 2 \(SIGKILL\)"):
        {
            "step": lambda: env.step(np.array([1, 1])),
            "reset": lambda: env.reset(np.array([1, 2]), np.ones(2, bool)),
            "render": env.render,
        }[call]()
    env.close()
    assert time.monotonic() - began < 10
    assert not any(process.is_alive() for process in env._vector.processes)


def test_a_worker_that_dies_in_the_middle_of_a_step(env: AsyncEnvironment):
    stopped = env._vector.processes[0]
    os.kill(stopped.pid, signal.SIGSTOP)
    killer = threading.Timer(0.3, os.kill, (stopped.pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(HeredityError, match=r"worker 0 of 2 \(SIGKILL\)"):
        env.step(np.array([1, 1]))
    killer.join()


def test_a_forgotten_vector_does_not_keep_the_program_from_ending():
    program = (
        "from heredity.environments import make\n"
        "import numpy as np\n"
        "if __name__ == '__main__':\n"
        "    env = make('gym/CartPole-v1', 2, vectorization='async')\n"
        "    env.reset(np.arange(2), np.ones(2, bool))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], timeout=60, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_to_everybody_saves_the_run(number: signal.Signals, tmp_path: Path):
    never = "1000000000"
    flags = ["--env", "gym/CartPole-v1", "--env.vectorization", "async", "--num-envs", "2"]
    flags += ["--num-steps", "16", "--num-minibatches", "2", "--total-timesteps", never]
    flags += ["--checkpoint-every", never, "--evaluate-every", never, "--log-every", "32"]
    flags += ["--preset", "none", "--no-progress", "--no-report", "--directory", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "heredity", "train", "ppo", *flags],
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    folder = RunFolder(tmp_path)
    until = time.monotonic() + 120
    while process.poll() is None and not folder.metrics.exists() and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.5)
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert len(folder.checkpoint_steps()) == 1
    assert "heredity resume" in said and "Traceback" not in said
