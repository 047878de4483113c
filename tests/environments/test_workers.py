"""Environments in processes: how they are shared out, and workers that die."""

from __future__ import annotations

import functools
import gc
import logging
import os
import signal
import threading
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from tests.environments.counting import EVERYBODY, ONES, SEEDS, Counting

from heredity.common.errors import HeredityError, UsageError
from heredity.environments import HostEnvironment, SeededEpisodes, make
from heredity.environments.gymnasium_vectors import AsyncEnvironment, SyncEnvironment
from heredity.environments.registry import load_adapter
from heredity.environments.workers import DEATHS_IN_A_ROW


def kill(env: AsyncEnvironment, worker: int, number: int = signal.SIGKILL) -> None:
    """Let a worker die between two calls, and wait until it has."""
    process = env._vector.processes[worker]
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == -number


@pytest.mark.parametrize(
    ("count", "workers", "shares"),
    [(4, 2, [(0, 2), (2, 4)]), (3, 2, [(0, 1), (1, 3)]), (2, 5, [(0, 1), (1, 2)])],
)
def test_environments_are_shared_out_evenly(
    build_in_workers, count: int, workers: int, shares: list
):
    env = build_in_workers(count=count, workers=workers)
    given = [worker.duty.indices for worker in env._vector._workers]
    assert [(indices.start, indices.stop) for indices in given] == shares
    seen = env.reset(np.arange(count), np.ones(count, bool))
    np.testing.assert_array_equal(seen[:, 0], np.arange(count))
    result = env.step(np.arange(count) % 3 + 1)
    np.testing.assert_array_equal(result.reward, np.arange(count) % 3 + 1)
    np.testing.assert_array_equal(result.terminated, np.arange(count) % 3 == 1)


def test_a_killed_worker_is_started_again_and_its_episodes_are_cut_off(
    in_workers: AsyncEnvironment, caplog: pytest.LogCaptureFixture
):
    kill(in_workers, 1)
    with caplog.at_level(logging.WARNING, "heredity"):
        result = in_workers.step(ONES)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("worker 1 of 2 died (SIGKILL) and is started again, restart 1")
    assert "environments 2 to 3" in message
    assert in_workers.restarts == 1
    # The last observation known, no reward, and truncated: its value is bootstrapped.
    np.testing.assert_array_equal(result.observation, [[1, 2], [2, 2], [3, 1], [4, 1]])
    np.testing.assert_array_equal(result.reward, [1, 1, 0, 0])
    np.testing.assert_array_equal(result.truncated, [False, False, True, True])
    np.testing.assert_array_equal(result.lost, [False, False, True, True])
    assert not result.terminated.any()
    # Until they are reset there is nothing new to see of them; one after the other is.
    result = in_workers.step(ONES)
    np.testing.assert_array_equal(result.truncated, [False, False, True, True])
    seen = in_workers.reset(np.array([0, 0, 30, 0]), np.array([False, False, True, False]))
    np.testing.assert_array_equal(seen, [[1, 3], [2, 3], [30, 0], [4, 1]])
    result = in_workers.step(ONES)
    np.testing.assert_array_equal(result.observation, [[1, 4], [2, 4], [30, 1], [4, 1]])
    np.testing.assert_array_equal(result.lost, [False, False, False, True])
    in_workers.reset(np.array([0, 0, 0, 40]), np.array([False, False, False, True]))
    result = in_workers.step(ONES)
    np.testing.assert_array_equal(result.observation, [[1, 5], [2, 5], [30, 2], [40, 1]])
    assert result.lost is None and in_workers.restarts == 1


def test_a_worker_that_dies_before_a_reset_loses_only_the_episodes_that_go_on(
    in_workers: AsyncEnvironment,
):
    kill(in_workers, 0)
    seen = in_workers.reset(np.array([10, 0, 0, 0]), np.array([True, False, False, False]))
    np.testing.assert_array_equal(seen, [[10, 0], [2, 1], [3, 1], [4, 1]])
    result = in_workers.step(ONES)
    np.testing.assert_array_equal(result.observation, [[10, 1], [2, 1], [3, 2], [4, 2]])
    np.testing.assert_array_equal(result.truncated, [False, True, False, False])
    assert in_workers.restarts == 1


def test_a_worker_that_dies_before_a_picture_shows_none(build_in_workers):
    env = build_in_workers(functools.partial(Counting, render_mode="rgb_array"))
    env.reset(SEEDS, EVERYBODY)
    assert (env.render() == 0).all()
    kill(env, 0)
    assert env.render() is None and env.render() is None
    assert env.restarts == 1
    assert env.step(ONES).lost.tolist() == [True, True, False, False]
    env.reset(SEEDS, np.array([True, True, False, False]))
    assert (env.render() == 0).all()


def test_a_worker_that_dies_in_the_middle_of_a_step(in_workers: AsyncEnvironment):
    stopped = in_workers._vector.processes[0]
    os.kill(stopped.pid, signal.SIGSTOP)
    killer = threading.Timer(0.3, os.kill, (stopped.pid, signal.SIGKILL))
    killer.start()
    began = time.monotonic()
    result = in_workers.step(ONES)
    assert time.monotonic() - began < 30
    np.testing.assert_array_equal(result.observation, [[1, 1], [2, 1], [3, 2], [4, 2]])
    np.testing.assert_array_equal(result.truncated, [True, True, False, False])
    killer.join()


def test_a_worker_that_hangs_is_started_again(build_in_workers, caplog: pytest.LogCaptureFixture):
    env = build_in_workers(timeout=2.0)
    env.reset(SEEDS, EVERYBODY)
    os.kill(env._vector.processes[0].pid, signal.SIGSTOP)
    with caplog.at_level(logging.WARNING, "heredity"):
        result = env.step(ONES)
    assert "worker 0 of 2 died (no answer in 2 s) and is started again" in caplog.text
    np.testing.assert_array_equal(result.lost, [True, True, False, False])
    np.testing.assert_array_equal(result.observation, [[1, 0], [2, 0], [3, 1], [4, 1]])
    env.reset(SEEDS, result.lost)
    # A call that was broken off while one hung: it is ended with the next one.
    os.kill(env._vector.processes[1].pid, signal.SIGSTOP)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        env.step(ONES)
    timer.join()
    seen = env.reset(SEEDS, EVERYBODY)
    np.testing.assert_array_equal(seen, [[1, 0], [2, 0], [3, 0], [4, 0]])
    result = env.step(ONES)
    assert result.lost is None and env.restarts == 2
    np.testing.assert_array_equal(result.observation[:, 1], ONES)


def test_closing_does_not_wait_for_ever(
    in_workers: AsyncEnvironment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("heredity.environments.workers.CLOSING_SECONDS", 0.5)
    os.kill(in_workers._vector.processes[1].pid, signal.SIGSTOP)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "heredity"):
        in_workers.close()
    assert time.monotonic() - began < 30
    assert "worker 1 of 2 did not close in 0.5 s" in caplog.text
    assert not any(process.is_alive() for process in in_workers._vector.processes)


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
    build_in_workers, tmp_path: Path, moment: str, times: int
):
    env = build_in_workers(
        functools.partial(Torn, str(tmp_path), moment, times), count=2, workers=1
    )
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


def test_a_worker_that_dies_again_and_again_is_an_error(in_workers: AsyncEnvironment):
    for _ in range(DEATHS_IN_A_ROW + 1):  # with steps in between it goes on
        kill(in_workers, 1)
        assert in_workers.step(ONES).lost is not None
        assert in_workers.step(ONES) is not None
    for _ in range(DEATHS_IN_A_ROW - 1):
        kill(in_workers, 1)
        in_workers.reset(SEEDS, EVERYBODY)
    kill(in_workers, 1)
    for _ in range(2):
        with pytest.raises(
            HeredityError,
            match=rf"died {DEATHS_IN_A_ROW} times.*worker 1 of 2 \(SIGKILL\).*heredity resume",
        ):
            in_workers.reset(SEEDS, EVERYBODY)
    began = time.monotonic()
    in_workers.close()
    assert time.monotonic() - began < 30
    assert not any(process.is_alive() for process in in_workers._vector.processes)


def test_a_worker_that_dies_while_it_is_made_is_an_error_at_once(build_in_workers, tmp_path: Path):
    with pytest.raises(
        HeredityError, match=r"before it had made them: worker 0 of 1 \(exit code 3"
    ):
        build_in_workers(functools.partial(Torn, str(tmp_path), "make", 1), count=1)


def test_a_call_that_was_broken_off_leaves_the_vector_usable(in_workers: AsyncEnvironment):
    stopped = in_workers._vector.processes[1]
    os.kill(stopped.pid, signal.SIGSTOP)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        in_workers.step(ONES)
    timer.join()
    os.kill(stopped.pid, signal.SIGCONT)
    seen = in_workers.reset(SEEDS + 10, EVERYBODY)
    np.testing.assert_array_equal(seen[:, 0], SEEDS + 10)
    np.testing.assert_array_equal(in_workers.step(ONES).observation[:, 1], ONES)


def test_the_others_never_notice():
    """Ten deaths in a run of seeded episodes: the other worker's environments are as ever."""
    ours = SeededEpisodes(make("gym/CartPole-v1", 4, vectorization="async", workers=2), seed=3)
    calm = SeededEpisodes(make("gym/CartPole-v1", 4), seed=3)
    assert isinstance(ours.host, AsyncEnvironment)
    gc.collect()  # else what other tests left is closed while this one counts
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
    with pytest.raises(UsageError, match=r"worker_timeout=0\.0: seconds > 0"):
        make("gym/CartPole-v1", 2, vectorization="async", worker_timeout=0)
    with pytest.raises(UsageError, match=r"worker_timeout=9\.0: there are worker processes with"):
        make("gym/CartPole-v1", 2, worker_timeout=9)


@pytest.mark.parametrize("name", ["atari", "crafter", "dm_control", "gym", "minigrid"])
def test_every_family_of_vectors_chooses_its_workers(name: str, monkeypatch: pytest.MonkeyPatch):
    """Whatever is made goes into as many processes as were asked for, and draws nowhere."""
    made = []

    class Seen(AsyncEnvironment):
        def __init__(self, makers, workers=None, timeout=None, id=""):
            made.append((len(makers), workers, timeout, id))
            super().__init__([Counting] * len(makers), workers, timeout, id)

    monkeypatch.setattr("heredity.environments.gymnasium_vectors.AsyncEnvironment", Seen)
    adapter = load_adapter(name)
    if adapter.missing():
        pytest.skip(adapter.missing())
    chosen = {"vectorization": "async", "workers": 1, "worker_timeout": 60.0}
    env = make(f"{name}/{adapter.names()[0]}", 3, **chosen)
    assert isinstance(env, HostEnvironment)
    env.close()
    assert made == [(3, 1, 60.0, f"{name}/{adapter.names()[0]}")]
    with pytest.raises(UsageError, match="workers=1: there are worker processes with"):
        make(f"{name}/{adapter.names()[0]}", 3, workers=1)


def nested() -> gym.Env:
    return gym.wrappers.TimeLimit(Counting(nested=True), 3)


def test_nested_observations_and_time_limits_outlive_a_death(build_in_workers):
    ours, calm = build_in_workers(nested, count=3), SyncEnvironment([nested] * 3)
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
