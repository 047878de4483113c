"""What host environments tell beside the reward: the same in this process and in several."""

from __future__ import annotations

import functools
import os
import signal

import numpy as np
import pytest
from tests.environments.counting import Telling

from heredity.common.errors import UsageError
from heredity.environments import make
from heredity.environments.gymnasium_vectors import AsyncEnvironment, SyncEnvironment
from heredity.environments.infos import InfoMeans, stacked
from heredity.environments.worker_process import MOST_INFOS
from heredity.environments.wrappers.action_repeat import repeat_actions

ALL = np.ones(4, bool)
SEEDS = np.array([1, 3, 2, 4])  # the odd ones in the first worker


class Chatty(Telling):
    """Tells more than anybody hears."""

    def step(self, action):
        *rest, _ = super().step(action)
        return *rest, {f"n{number}": float(number) for number in range(MOST_INFOS + 3)}


class Own(Telling):
    """Tells forty numbers that the others tell as well, and thirteen of its own."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def step(self, action):
        *rest, _ = super().step(action)
        common = {f"n{number}": 1.0 for number in range(40)}
        return *rest, common | {f"{self.name}{number}": 2.0 for number in range(13)}


def test_workers_together_may_tell_more_names_than_each_of_them():
    env = AsyncEnvironment([functools.partial(Own, name) for name in "ab"], workers=2)
    try:
        env.reset(SEEDS[:2], ALL[:2])
        info = env.step(np.ones(2, int)).info
        assert len(info) == 40 + 2 * 13 * 2
        assert info["n39"].tolist() == [1, 1] and info["b12"].tolist() == [0, 2]
        assert info["_b12"].tolist() == [False, True]
    finally:
        env.close()


@pytest.mark.parametrize("other", [None, "7", "left", [1.0]])
def test_what_is_no_number_in_one_environment_is_none(other):
    info = stacked([{"time": 5.0}, {"time": other}])
    assert plain(info) == {"time": [5, 0], "_time": [True, False]}


@pytest.fixture
def processes():
    env = AsyncEnvironment([Telling] * 4, workers=2)
    yield env
    env.close()


def plain(info) -> dict[str, list]:
    return {name: value.tolist() for name, value in info.items()}


def test_numbers_are_told_by_name_and_where_not_all_told_them_by_whom():
    env = SyncEnvironment([Telling] * 4)
    env.reset(SEEDS, ALL)
    assert plain(env.step(np.array([1, 1, 1, 2])).info) == {
        "steps": [1, 1, 1, 1],
        "odd": [0.5, 0.5, 0, 0],
        "_odd": [True, True, False, False],
        "seed": [0, 0, 0, 4],
        "_seed": [False, False, False, True],
    }


def test_processes_tell_the_same_before_and_after_a_death(processes: AsyncEnvironment):
    alone = SyncEnvironment([Telling] * 4)
    for env in (alone, processes):
        env.reset(SEEDS, ALL)
    for actions in ([1, 1, 1, 1], [1, 1, 1, 2], [1, 1, 1, 1], [2, 1, 1, 1]):
        theirs, ours = alone.step(np.array(actions)).info, processes.step(np.array(actions)).info
        assert plain(ours) == plain(theirs)
    process = processes._vector.processes[0]
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    info = processes.step(np.ones(4, int)).info
    assert plain(info) == {"steps": [0, 0, 5, 5], "_steps": [False, False, True, True]}
    # The new process meets the names in another order than the old one did.
    renewed = np.array([True, True, False, False])
    for env in (alone, processes):
        env.reset(np.array([2, 5, 0, 0]), renewed)
    alone.step(np.ones(4, int))
    for env in (alone, processes):
        env.reset(np.array([2, 5, 0, 0]), renewed)
    ours, theirs = processes.step(np.ones(4, int)).info, alone.step(np.ones(4, int)).info
    assert plain(ours) == plain(theirs)
    assert ours["odd"].tolist() == [0, 0.5, 0, 0]


def test_names_that_were_told_when_a_step_was_broken_off_are_heard_later(
    processes: AsyncEnvironment, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(self):
        raise KeyboardInterrupt

    processes.reset(SEEDS, ALL)
    with monkeypatch.context() as patched:
        patched.setattr("heredity.environments.workers.WorkerHandle.receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            processes.step(np.ones(4, int))
    assert processes.step(np.ones(4, int)).info["steps"].tolist() == [2] * 4


def test_workers_tell_so_many_names_and_no_more():
    env = AsyncEnvironment([Chatty] * 2, workers=1)
    try:
        env.reset(SEEDS[:2], ALL[:2])
        for _ in range(2):
            info = env.step(np.ones(2, int)).info
            assert list(info) == [f"n{number}" for number in range(MOST_INFOS)]
            assert info["n63"].tolist() == [63, 63]
    finally:
        env.close()


def test_a_repeated_action_tells_what_the_last_step_of_each_episode_told():
    env = repeat_actions(SyncEnvironment([Telling] * 4), 3)
    env.reset(SEEDS, ALL)
    info = env.step(np.array([2, 1, 2, 1])).info
    assert info["steps"].tolist() == [1, 3, 1, 3]
    assert info["seed"].tolist() == [1, 0, 2, 0]
    assert info["_seed"].tolist() == [True, False, True, False]


def test_crafter_tells_at_the_end_of_an_episode_what_was_unlocked():
    pytest.importorskip("crafter")
    env = make("crafter/CrafterReward-v1", 1, max_episode_steps=2, size=18)
    env.reset(np.zeros(1, int), np.ones(1, bool))
    assert env.step(np.zeros(1, int)).info == {}
    env._stepper.envs[0]._env._player.achievements["collect_wood"] = 3
    info = env.step(np.zeros(1, int)).info
    assert len(info) == 22
    assert info["achievement_collect_wood"] == 1 and info["achievement_collect_coal"] == 0


def test_envpool_tells_what_its_environments_do_and_not_what_it_does():
    pytest.importorskip("envpool")
    seen = []
    for seeding in ("pool", "episode"):
        env = make("envpool/HalfCheetah-v5", 2, seeding=seeding)
        env.reset(np.arange(2), np.ones(2, bool))
        info = env.step(np.zeros((2, 6), np.float32)).info
        seen.append(sorted(info))
        assert all(value.shape == (2,) for value in info.values())
        env.close()
    assert seen[0] == seen[1] == ["reward_ctrl", "reward_run", "x_position", "x_velocity"]


def test_what_is_no_number_is_an_error_that_names_it():
    with pytest.raises(UsageError, match=r"info\['way'\] of a step is 'left': numbers"):
        InfoMeans().add({"way": "left"})
