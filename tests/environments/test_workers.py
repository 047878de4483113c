"""Environments in processes: signals to the whole group, workers that die, errors of their own."""

from __future__ import annotations

import functools
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from tests.environments.counting import Counting

from heredity.common.errors import HeredityError, UsageError
from heredity.common.run_folder import RunFolder
from heredity.environments import SeededEpisodes, make
from heredity.environments.gymnasium_vectors import AsyncEnvironment, SyncEnvironment
from heredity.environments.worker_process import SIGNALS
from heredity.environments.workers import DEATHS_IN_A_ROW

EVERYBODY = np.ones(4, bool)
ONES = np.ones(4, np.int64)
SEEDS = np.array([1, 2, 3, 4])


@pytest.fixture
def build():
    """Makes a vector of `Counting` environments in worker processes, and closes it."""
    made = []

    def build(maker: Callable[[], gym.Env] = Counting, count: int = 4, workers: int = 2):
        env = AsyncEnvironment([maker] * count, workers)
        made.append(env)
        return env

    yield build
    for env in made:
        env.close()


@pytest.fixture
def env(build):
    """Four environments in two workers, one step after their first observations."""
    env = build()
    env.reset(SEEDS, EVERYBODY)
    env.step(ONES)
    return env


def kill(env: AsyncEnvironment, worker: int, number: int = signal.SIGKILL) -> None:
    """Let a worker die between two calls, and wait until it has."""
    process = env._vector.processes[worker]
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == -number


def test_workers_outlive_signals(env: AsyncEnvironment):
    before = [signal.getsignal(number) for number in SIGNALS]
    for process in env._vector.processes:
        for number in SIGNALS:
            os.kill(process.pid, number)
    time.sleep(0.1)
    result = env.step(ONES)
    np.testing.assert_array_equal(result.observation, [[1, 2], [2, 2], [3, 2], [4, 2]])
    assert env.restarts == 0 and result.lost is None
    # Those of this process are as they were, although the first maker is called here too.
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(SIGNALS)


@pytest.mark.parametrize(
    ("count", "workers", "shares"),
    [(4, 2, [(0, 2), (2, 4)]), (3, 2, [(0, 1), (1, 3)]), (2, 5, [(0, 1), (1, 2)])],
)
def test_environments_are_shared_out_evenly(build, count: int, workers: int, shares: list):
    env = build(count=count, workers=workers)
    given = [worker.duty.indices for worker in env._vector._workers]
    assert [(indices.start, indices.stop) for indices in given] == shares
    seen = env.reset(np.arange(count), np.ones(count, bool))
    np.testing.assert_array_equal(seen[:, 0], np.arange(count))
    result = env.step(np.arange(count) % 3 + 1)
    np.testing.assert_array_equal(result.reward, np.arange(count) % 3 + 1)
    np.testing.assert_array_equal(result.terminated, np.arange(count) % 3 == 1)


def test_a_killed_worker_is_started_again_and_its_episodes_are_cut_off(
    env: AsyncEnvironment, caplog: pytest.LogCaptureFixture
):
    kill(env, 1)
    with caplog.at_level(logging.WARNING, "heredity"):
        result = env.step(ONES)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("worker 1 of 2 died (SIGKILL) and is started again, restart 1")
    assert "environments 2 to 3" in message
    assert env.restarts == 1
    # The last observation known, no reward, and truncated: its value is bootstrapped.
    np.testing.assert_array_equal(result.observation, [[1, 2], [2, 2], [3, 1], [4, 1]])
    np.testing.assert_array_equal(result.reward, [1, 1, 0, 0])
    np.testing.assert_array_equal(result.truncated, [False, False, True, True])
    np.testing.assert_array_equal(result.lost, [False, False, True, True])
    assert not result.terminated.any()
    # Until they are reset there is nothing new to see of them; one after the other is.
    result = env.step(ONES)
    np.testing.assert_array_equal(result.truncated, [False, False, True, True])
    seen = env.reset(np.array([0, 0, 30, 0]), np.array([False, False, True, False]))
    np.testing.assert_array_equal(seen, [[1, 3], [2, 3], [30, 0], [4, 1]])
    result = env.step(ONES)
    np.testing.assert_array_equal(result.observation, [[1, 4], [2, 4], [30, 1], [4, 1]])
    np.testing.assert_array_equal(result.lost, [False, False, False, True])
    env.reset(np.array([0, 0, 0, 40]), np.array([False, False, False, True]))
    result = env.step(ONES)
    np.testing.assert_array_equal(result.observation, [[1, 5], [2, 5], [30, 2], [40, 1]])
    assert result.lost is None and env.restarts == 1


def test_a_worker_that_dies_before_a_reset_loses_only_the_episodes_that_go_on(
    env: AsyncEnvironment,
):
    kill(env, 0)
    seen = env.reset(np.array([10, 0, 0, 0]), np.array([True, False, False, False]))
    np.testing.assert_array_equal(seen, [[10, 0], [2, 1], [3, 1], [4, 1]])
    result = env.step(ONES)
    np.testing.assert_array_equal(result.observation, [[10, 1], [2, 1], [3, 2], [4, 2]])
    np.testing.assert_array_equal(result.truncated, [False, True, False, False])
    assert env.restarts == 1


def test_a_worker_that_dies_before_a_picture_shows_none(build):
    env = build(functools.partial(Counting, render_mode="rgb_array"))
    env.reset(SEEDS, EVERYBODY)
    assert (env.render() == 0).all()
    kill(env, 0)
    assert env.render() is None and env.render() is None
    assert env.restarts == 1
    assert env.step(ONES).lost.tolist() == [True, True, False, False]
    env.reset(SEEDS, np.array([True, True, False, False]))
    assert (env.render() == 0).all()


def test_a_worker_that_dies_in_the_middle_of_a_step(env: AsyncEnvironment):
    stopped = env._vector.processes[0]
    os.kill(stopped.pid, signal.SIGSTOP)
    killer = threading.Timer(0.3, os.kill, (stopped.pid, signal.SIGKILL))
    killer.start()
    began = time.monotonic()
    result = env.step(ONES)
    assert time.monotonic() - began < 30
    np.testing.assert_array_equal(result.observation, [[1, 1], [2, 1], [3, 2], [4, 2]])
    np.testing.assert_array_equal(result.truncated, [True, True, False, False])
    killer.join()


class Torn(Counting):
    """Leaves in the middle of what it is doing; files are how it knows that it did before."""

    def __init__(self, marks: str, moment: str, times: int):
        super().__init__()
        self.marks, self.moment, self.times = Path(marks), moment, times
        self.main = not (self.marks / "main").exists()  # here, for the spaces
        (self.marks / "main").touch()
        self.die_at("make")

    def die_at(self, moment: str) -> None:
        died = len(list(self.marks.glob("died*")))
        if moment == self.moment and not self.main and died < self.times:
            (self.marks / f"died{died}").touch()
            os._exit(3)

    def reset(self, **kwargs):
        if kwargs["seed"] == 7:
            self.die_at("reset")
        return super().reset(**kwargs)

    def step(self, action):
        if self.steps == 1 and self.seen_seed == 2:
            self.die_at("step")
        return super().step(action)


@pytest.mark.parametrize(
    ("moment", "times"), [("step", 1), ("reset", 1), ("reset", DEATHS_IN_A_ROW - 1)]
)
def test_an_environment_that_leaves_is_given_another_process(
    build, tmp_path: Path, moment: str, times: int
):
    env = build(functools.partial(Torn, str(tmp_path), moment, times), count=2, workers=1)
    env.reset(np.array([1, 2]), np.ones(2, bool))
    env.step(np.array([1, 1]))
    if moment == "step":
        # Environment 0 had made its step and shown what came of it when the process ended.
        result = env.step(np.array([1, 1]))
        np.testing.assert_array_equal(result.observation, [[1, 1], [2, 1]])
        np.testing.assert_array_equal(result.lost, [True, True])
    else:
        seen = env.reset(np.array([7, 0]), np.array([True, False]))
        np.testing.assert_array_equal(seen, [[7, 0], [2, 1]])
        np.testing.assert_array_equal(env.step(np.array([1, 1])).lost, [False, True])
    assert env.restarts == times


def test_a_worker_that_dies_again_and_again_is_an_error(env: AsyncEnvironment):
    for _ in range(DEATHS_IN_A_ROW + 1):  # with steps in between it goes on
        kill(env, 1)
        assert env.step(ONES).lost is not None
        assert env.step(ONES) is not None
    for _ in range(DEATHS_IN_A_ROW - 1):
        kill(env, 1)
        env.reset(SEEDS, EVERYBODY)
    kill(env, 1)
    for _ in range(2):
        with pytest.raises(
            HeredityError,
            match=rf"died {DEATHS_IN_A_ROW} times.*worker 1 of 2 \(SIGKILL\).*heredity resume",
        ):
            env.reset(SEEDS, EVERYBODY)
    began = time.monotonic()
    env.close()
    assert time.monotonic() - began < 30
    assert not any(process.is_alive() for process in env._vector.processes)


def test_a_worker_that_dies_while_it_is_made_is_an_error_at_once(build, tmp_path: Path):
    with pytest.raises(
        HeredityError, match=r"before it had made them: worker 0 of 1 \(exit code 3"
    ):
        build(functools.partial(Torn, str(tmp_path), "make", 1), count=1)


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


def test_what_an_environment_raises_is_raised_with_its_traceback(build):
    env = build(functools.partial(Failing, "step"))
    env.reset(SEEDS, EVERYBODY)
    with pytest.raises(ValueError, match="a wheel came off") as told:
        env.step(ONES)
    (note,) = told.value.__notes__
    assert "environments 0 to 1" in note and "in fail_at" in note
    # It is no crash: the processes are those that were there, and the vector is as good as before.
    assert env.restarts == 0
    env.reset(np.zeros(4, int), EVERYBODY)
    assert env.step(ONES).lost is None


def test_an_error_that_cannot_be_sent_is_told(build):
    env = build(functools.partial(Failing, "step", stubborn=True))
    env.reset(SEEDS, EVERYBODY)
    with pytest.raises(HeredityError, match=r"(?s)environments 0 to 1.*Stubborn: 1 and 2"):
        env.step(ONES)


def test_an_error_of_closing_is_raised_when_all_is_closed(build):
    env = build(functools.partial(Failing, "close"))
    env.reset(SEEDS, EVERYBODY)
    with pytest.raises(ValueError, match="a wheel came off"):
        env.close()
    assert not any(process.is_alive() for process in env._vector.processes)
    with pytest.raises(HeredityError, match="is closed"):
        env.step(ONES)


def test_a_call_that_was_broken_off_leaves_the_vector_usable(env: AsyncEnvironment):
    stopped = env._vector.processes[1]
    os.kill(stopped.pid, signal.SIGSTOP)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        env.step(ONES)
    timer.join()
    os.kill(stopped.pid, signal.SIGCONT)
    seen = env.reset(SEEDS + 10, EVERYBODY)
    np.testing.assert_array_equal(seen[:, 0], SEEDS + 10)
    np.testing.assert_array_equal(env.step(ONES).observation[:, 1], ONES)


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


def test_an_environment_may_keep_its_action(build):
    env = build(Remembering)
    env.reset(SEEDS, EVERYBODY)
    env.step(np.full((4, 1), 0.5, np.float32))
    np.testing.assert_array_equal(env.step(np.ones((4, 1), np.float32)).reward, [0.5] * 4)


def test_the_others_never_notice():
    """Ten deaths in a run of seeded episodes: the other worker's environments are as ever."""
    ours = SeededEpisodes(make("gym/CartPole-v1", 4, vectorization="async", workers=2), seed=3)
    calm = SeededEpisodes(make("gym/CartPole-v1", 4), seed=3)
    assert isinstance(ours.host, AsyncEnvironment)
    before = set(os.listdir("/dev/shm")), len(os.listdir("/proc/self/fd"))
    killed = []
    try:
        np.testing.assert_array_equal(ours.start(), calm.start())
        generator = np.random.default_rng(0)
        for step in range(200):
            if step % 20 == 7:
                killed.append(ours.host._vector.processes[0].pid)
                kill(ours.host, 0)
            actions = generator.integers(0, 2, 4)
            one, other = ours.step(actions), calm.step(actions)
            for mine, theirs in zip(one[:4], other[:4], strict=True):
                np.testing.assert_array_equal(mine[2:], theirs[2:])
            for episodes, result in ((ours, one), (calm, other)):
                episodes.reset_finished(result.terminated | result.truncated)
            np.testing.assert_array_equal(ours.observation[2:], calm.observation[2:])
        assert ours.host.restarts == len(set(killed)) == 10
        # What was saved after the deaths leads back, in processes or without.
        again = SeededEpisodes(make("gym/CartPole-v1", 4), seed=3)
        assert again.restore(ours.save()).exact
        np.testing.assert_array_equal(again.observation, ours.observation)
        assert (set(os.listdir("/dev/shm")), len(os.listdir("/proc/self/fd"))) == before
        running = [process.pid for process in ours.host._vector.processes]
    finally:
        ours.host.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in killed + running)


def test_options():
    with pytest.raises(UsageError, match="workers=0: a whole number >= 1"):
        make("gym/CartPole-v1", 2, vectorization="async", workers=0)
    with pytest.raises(UsageError, match="workers=2: there are worker processes with"):
        make("gym/CartPole-v1", 2, workers=2)


def nested() -> gym.Env:
    return gym.wrappers.TimeLimit(Counting(nested=True), 3)


def test_nested_observations_and_time_limits_outlive_a_death(build):
    ours, calm = build(nested, count=3), SyncEnvironment([nested] * 3)
    seeds = np.array([5, 6, 7])
    for env in (ours, calm):
        env.reset(seeds, np.ones(3, bool))
    kill(ours, 0)
    ours.reset(seeds, np.array([True, False, False]))
    for _ in range(3):
        one, other = ours.step(np.ones(3, int)), calm.step(np.ones(3, int))
        np.testing.assert_array_equal(one.observation["plain"], other.observation["plain"])
        for name, part in other.observation["pair"].items():
            np.testing.assert_array_equal(one.observation["pair"][name], part)
            assert one.observation["pair"][name].dtype == part.dtype
    np.testing.assert_array_equal(one.truncated, other.truncated)
    assert one.truncated.all()


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


def test_a_program_that_is_killed_leaves_no_workers_behind():
    program = (
        "from heredity.environments import make\n"
        "import numpy as np, time\n"
        "if __name__ == '__main__':\n"
        "    env = make('gym/CartPole-v1', 2, vectorization='async', workers=2)\n"
        "    print(*[process.pid for process in env._vector.processes], flush=True)\n"
        "    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        workers = process.stdout.readline().split()
        process.kill()
    assert len(workers) == 2
    until = time.monotonic() + 60
    while any(_is_running(pid) for pid in workers):
        assert time.monotonic() < until
        time.sleep(0.02)


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
