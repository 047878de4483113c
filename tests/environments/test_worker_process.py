"""What goes on in a worker's process: signals, errors of the environment, the program's end."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from tests.environments.counting import EVERYBODY, ONES, SEEDS, Counting

from heredity.common.errors import HeredityError
from heredity.common.run_folder import RunFolder
from heredity.environments.gymnasium_vectors import AsyncEnvironment
from heredity.environments.worker_process import SIGNALS


def test_workers_outlive_signals(in_workers: AsyncEnvironment):
    before = [signal.getsignal(number) for number in SIGNALS]
    for process in in_workers._vector.processes:
        for number in SIGNALS:
            os.kill(process.pid, number)
    time.sleep(0.1)
    result = in_workers.step(ONES)
    np.testing.assert_array_equal(result.observation, [[1, 2], [2, 2], [3, 2], [4, 2]])
    assert in_workers.restarts == 0 and result.lost is None
    # Those of this process are as they were, although the first maker is called here too.
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(SIGNALS)


class Failing(Counting):
    """Its own code goes wrong, in a way that can be sent on or not."""

    def __init__(self, moment: str, stubborn: bool = False):
        super().__init__()
        self.moment, self.stubborn = moment, stubborn

    def fail_at(self, moment: str) -> None:
        if moment == self.moment and self.seen_seed >= 2:
            raise Stubborn(1, 2) if self.stubborn else ValueError("a wheel came off")

    def step(self, action):
        self.fail_at("step")
        return super().step(action)

    def close(self):
        self.fail_at("close")


class Stubborn(Exception):
    """Can be pickled, and not made again from that."""

    def __init__(self, one: int, two: int):
        super().__init__(f"{one} and {two}")


def test_what_an_environment_raises_is_raised_with_its_traceback(build_in_workers):
    env = build_in_workers(functools.partial(Failing, "step"))
    env.reset(SEEDS, EVERYBODY)
    with pytest.raises(ValueError, match="a wheel came off") as told:
        env.step(ONES)
    (note,) = told.value.__notes__
    assert "environments 0 to 1" in note and "in fail_at" in note
    # It is no crash: the processes are those that were there, and the vector is as good as before.
    assert env.restarts == 0
    env.reset(np.zeros(4, int), EVERYBODY)
    assert env.step(ONES).lost is None


def test_an_error_that_cannot_be_sent_is_told(build_in_workers):
    env = build_in_workers(functools.partial(Failing, "step", stubborn=True))
    env.reset(SEEDS, EVERYBODY)
    with pytest.raises(HeredityError, match=r"(?s)environments 0 to 1.*Stubborn: 1 and 2"):
        env.step(ONES)


def test_an_error_of_closing_is_raised_when_all_is_closed(build_in_workers):
    env = build_in_workers(functools.partial(Failing, "close"))
    env.reset(SEEDS, EVERYBODY)
    with pytest.raises(ValueError, match="a wheel came off"):
        env.close()
    assert not any(process.is_alive() for process in env._vector.processes)
    with pytest.raises(HeredityError, match="is closed"):
        env.step(ONES)


class Remembering(Counting):
    """Pays for the difference between its action and the one before, which it keeps as it is."""

    def __init__(self):
        super().__init__()
        self.action_space = gym.spaces.Box(-1, 1, (1,))
        self.before = np.zeros(1)

    def step(self, action):
        reward = float(action[0] - self.before[0])
        self.before = action
        observation, *_ = super().step(0)
        return observation, reward, False, False, {}


def test_an_environment_may_keep_its_action(build_in_workers):
    env = build_in_workers(Remembering)
    env.reset(SEEDS, EVERYBODY)
    env.step(np.full((4, 1), 0.5, np.float32))
    np.testing.assert_array_equal(env.step(np.ones((4, 1), np.float32)).reward, [0.5] * 4)


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


@pytest.mark.parametrize("hang", [False, True], ids=["waiting", "hanging"])
def test_a_program_that_is_killed_leaves_no_workers_behind(hang: bool):
    program = (
        "from tests.environments.test_worker_process import Hanging\n"
        "from heredity.environments.gymnasium_vectors import AsyncEnvironment\n"
        "import numpy as np, time\n"
        "if __name__ == '__main__':\n"
        "    env = AsyncEnvironment([Hanging] * 2, workers=2)\n"
        "    print(*[process.pid for process in env._vector.processes], flush=True)\n"
        f"    env.step(np.zeros(2, int)) if {hang} else time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        workers = process.stdout.readline().split()
        time.sleep(0.5 if hang else 0.0)  # until the step has begun
        process.kill()
    assert len(workers) == 2
    until = time.monotonic() + 60
    while any(_is_running(pid) for pid in workers):
        assert time.monotonic() < until
        time.sleep(0.02)


class Hanging(Counting):
    """Never comes back from a step."""

    def step(self, action):
        while True:
            time.sleep(1)


def _is_running(pid: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2]
    except FileNotFoundError:
        return False
    return not state.startswith("Z")  # what nobody reaps here is over all the same


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
