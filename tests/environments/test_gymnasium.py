"""Gymnasium behind the host contract: both endings, masks, seeds, both kinds of vector."""

import functools
import importlib.util
import logging
import os
import sys
from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest
from tests.environments.counting import Counting

from heredity.common.errors import UnknownNameError, UsageError
from heredity.environments import HostEnvironment, list_environments, make
from heredity.environments.gymnasium import _draw_quietly
from heredity.environments.gymnasium_vectors import AsyncEnvironment, SyncEnvironment
from heredity.spaces import Box, Dict, Discrete, MultiDiscrete

KINDS = {"sync": SyncEnvironment, "async": AsyncEnvironment}


def limited(limit: int, **kwargs):
    return gym.wrappers.TimeLimit(Counting(**kwargs), limit)


@pytest.fixture(params=list(KINDS))
def vector(request):
    """Makes a vector of `Counting` environments of either kind, and closes it."""
    made = []

    def build(num_envs, limit=5, **kwargs):
        maker = functools.partial(limited, limit, **kwargs)
        env = KINDS[request.param]([maker] * num_envs)
        made.append(env)
        return env

    yield build
    for env in made:
        env.close()


def everybody(count):
    return np.ones(count, bool)


def test_it_ends_by_truncation_with_the_last_observation(vector):
    env = vector(2, limit=3)
    assert env.max_episode_steps == 3
    np.testing.assert_array_equal(env.reset(np.array([7, 8]), everybody(2)), [[7, 0], [8, 0]])
    for step in (1, 2):
        result = env.step(np.array([1, 3]))
        np.testing.assert_array_equal(result.observation, [[7, step], [8, step]])
        assert not result.truncated.any()
    result = env.step(np.array([1, 3]))
    np.testing.assert_array_equal(result.truncated, [True, True])
    np.testing.assert_array_equal(result.terminated, [False, False])
    np.testing.assert_array_equal(result.observation, [[7, 3], [8, 3]])
    np.testing.assert_array_equal(result.reward, np.array([1, 3], np.float32))
    assert result.reward.dtype == result.observation.dtype == np.float32
    assert result.terminated.dtype == result.truncated.dtype == bool


def test_it_ends_by_termination_and_never_both_ways(vector):
    env = vector(2, limit=2)
    env.reset(np.array([1, 2]), everybody(2))
    result = env.step(np.array([2, 1]))
    np.testing.assert_array_equal(result.terminated, [True, False])
    np.testing.assert_array_equal(result.observation, [[1, 1], [2, 1]])
    env.reset(np.array([5, 0]), np.array([True, False]))
    # Environment 1 reaches its limit in the very step in which its task ends.
    result = env.step(np.array([1, 2]))
    np.testing.assert_array_equal(result.terminated, [False, True])
    np.testing.assert_array_equal(result.truncated, [False, False])
    np.testing.assert_array_equal(result.observation, [[5, 1], [2, 2]])


def test_only_the_masked_begin_anew_and_only_their_seeds_count(vector):
    env = vector(3)
    env.reset(np.array([1, 2, 3]), everybody(3))
    first = env.step(np.array([1, 1, 1])).observation
    kept = first.copy()
    seen = env.reset(np.array([100, 101, 102]), np.array([False, True, False]))
    np.testing.assert_array_equal(seen, [[1, 1], [101, 0], [3, 1]])
    np.testing.assert_array_equal(first, kept)  # what was handed out stays as it was
    np.testing.assert_array_equal(env.reset(np.arange(3), np.zeros(3, bool)), seen)
    result = env.step(np.array([1, 1, 1]))
    np.testing.assert_array_equal(result.observation, [[1, 2], [101, 1], [3, 2]])
    np.testing.assert_array_equal(seen, [[1, 1], [101, 0], [3, 1]])


def test_the_limit_counts_from_each_ones_own_reset(vector):
    env = vector(2, limit=3)
    env.reset(np.array([0, 0]), everybody(2))
    env.step(np.array([1, 1]))
    env.reset(np.array([0, 0]), np.array([True, False]))
    env.step(np.array([1, 1]))
    np.testing.assert_array_equal(env.step(np.array([1, 1])).truncated, [False, True])


def test_an_environment_may_truncate_itself(vector):
    env = vector(1, limit=9, cut=2)
    env.reset(np.array([0]), everybody(1))
    assert not env.step(np.array([1])).truncated[0]
    assert env.step(np.array([1])).truncated[0]


def test_nested_observations(vector):
    env = vector(2, nested=True)
    bits = MultiDiscrete((2, 2, 2, 2))
    assert env.observation_space == Dict(
        {"plain": Box((2,)), "pair": Dict({"0": Discrete(1000), "1": bits})}
    )
    seen = env.reset(np.array([4, 5]), everybody(2))
    np.testing.assert_array_equal(seen["plain"], [[4, 0], [5, 0]])
    seen = env.step(np.array([1, 1])).observation
    assert seen["plain"].dtype == np.float32
    np.testing.assert_array_equal(seen["pair"]["0"], [1, 1])
    np.testing.assert_array_equal(seen["pair"]["1"], [[1, 0, 0, 1]] * 2)
    seen = env.reset(np.array([9, 9]), np.array([False, True]))
    np.testing.assert_array_equal(seen["plain"], [[4, 1], [9, 0]])
    np.testing.assert_array_equal(seen["pair"]["1"], [[1, 0, 0, 1], [1, 0, 0, 0]])


def test_actions_begin_where_their_space_begins():
    env = SyncEnvironment([functools.partial(limited, 5)])
    assert env.action_space == Discrete(3, start=1)
    env.reset(np.array([0]), everybody(1))
    env.step(np.array([3], np.int32))
    assert env._stepper.envs[0].actions == [3]
    assert type(env._stepper.envs[0].actions[0]) is int


def test_pictures(vector):
    env = vector(2, render_mode="rgb_array")
    env.reset(np.array([0, 0]), everybody(2))
    env.step(np.array([1, 1]))
    picture = env.render()
    assert picture.shape == (4, 6, 3)
    assert picture.dtype == np.uint8
    assert (picture == 1).all()
    assert vector(1).render() is None


def test_seconds_of_a_step():
    assert SyncEnvironment([functools.partial(limited, 4)]).step_seconds == 0.1
    assert make("gym/CartPole-v1", 1).step_seconds == 0.02
    assert make("gym/Pendulum-v1", 1).step_seconds == 0.05


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_it_is_gymnasiums_own_environment(name):
    env = make(f"gym/{name}", 2)
    single = gym.make(name)
    first, _ = single.reset(seed=11)
    seen = env.reset(np.array([11, 12]), everybody(2))
    np.testing.assert_array_equal(seen[0], first)
    assert env.observation_space.contains(seen[0])
    generator = np.random.default_rng(0)
    for _ in range(300):
        actions = np.stack([env.action_space.sample(generator) for _ in range(2)])
        expected = single.step(actions[0] if name == "Pendulum-v1" else int(actions[0]))
        result = env.step(actions)
        np.testing.assert_array_equal(result.observation[0], expected[0])
        assert result.reward[0] == np.float32(expected[1])
        assert (result.terminated[0], result.truncated[0]) == expected[2:4]
        over = result.terminated | result.truncated
        if over[0]:
            single.reset(seed=3)
        if over.any():
            env.reset(np.array([3, 4]), over)
    assert env.max_episode_steps == (200 if name == "Pendulum-v1" else 500)


def test_options():
    env = make("gym/CartPole-v1", 2, max_episode_steps=4, env_kwargs={"sutton_barto_reward": True})
    assert isinstance(env, HostEnvironment)
    env.reset(np.arange(2), everybody(2))
    results = [env.step(np.array([t % 2, t % 2])) for t in range(4)]
    assert results[0].reward[0] == 0.0  # Sutton and Barto give nothing until the pole falls
    assert [bool(r.truncated[0]) for r in results] == [False, False, False, True]
    with pytest.raises(UsageError, match="max_episode_steps=0"):
        make("gym/CartPole-v1", 2, max_episode_steps=0)
    with pytest.raises(UsageError, match=r"did not take env_kwargs=.*gravitas"):
        make("gym/CartPole-v1", 2, env_kwargs={"gravitas": 1})
    with pytest.raises(UsageError, match="env_kwargs may not hold render_mode"):
        make("gym/CartPole-v1", 2, env_kwargs={"render_mode": "human"})
    with pytest.raises(UsageError, match="'sync' or 'async' expected"):
        make("gym/CartPole-v1", 2, vectorization="threads")


def test_async_by_name():
    env = make("gym/CartPole-v1", 2, vectorization="async")
    same = make("gym/CartPole-v1", 2)
    try:
        seeds = np.array([1, 2])
        np.testing.assert_array_equal(
            env.reset(seeds, everybody(2)), same.reset(seeds, everybody(2))
        )
        for _ in range(5):
            ours, theirs = env.step(np.array([0, 1])), same.step(np.array([0, 1]))
            np.testing.assert_array_equal(ours.observation, theirs.observation)
            np.testing.assert_array_equal(ours.reward, theirs.reward)
    finally:
        env.close()
        env.close()


def test_a_module_in_a_name_that_is_not_there():
    with pytest.raises(UsageError, match=r"there is no module 'no_such_module_anywhere'; run from"):
        make("gym/no_such_module_anywhere:Thing-v0")
    with pytest.raises(UnknownNameError):
        make("gym/Thing-v0")


def test_what_it_cannot_take_is_said():
    class TupleActions(Counting):
        def __init__(self):
            super().__init__()
            self.action_space = gym.spaces.Dict({"a": gym.spaces.Discrete(2)})

    with pytest.raises(UsageError, match="an array of numbers or choices was expected"):
        SyncEnvironment([TupleActions])


class Undrawable(Counting):
    """Needs a library that is not there, at one of three moments; only for drawing."""

    def __init__(self, moment="render", render_mode=None):
        super().__init__(render_mode=render_mode)
        self.moment = moment
        self._need("make")

    def _need(self, moment):
        if self.render_mode and self.moment == moment:
            raise gym.error.DependencyNotInstalled("no pygame")

    def reset(self, **kwargs):
        self._need("reset")
        return super().reset(**kwargs)

    def render(self):
        self._need("render")
        return super().render()


@pytest.mark.parametrize("moment", ["make", "reset", "render", "never"])
def test_what_cannot_be_drawn_is_told_and_trained_all_the_same(moment, caplog, monkeypatch):
    monkeypatch.setitem(gym.registry, "Undrawable-v0", None)
    del gym.registry["Undrawable-v0"]
    gym.register("Undrawable-v0", Undrawable)
    with caplog.at_level(logging.WARNING, "heredity"):
        env = make("gym/Undrawable-v0", 2, render=True, env_kwargs={"moment": moment})
    env.reset(np.arange(2), everybody(2))
    assert (env.render() is None) == (moment != "never")
    told = [record.getMessage() for record in caplog.records]
    if moment == "never":
        assert told == []
    else:
        (message,) = told
        assert "observations only" in message and "no pygame" in message
        assert "heredity[classic-control]" in message


def test_what_has_no_pictures_is_not_asked_for_one(caplog, monkeypatch, recwarn):
    class Plain(Counting):
        metadata: ClassVar = {"render_modes": ["human"]}

        def __init__(self):  # nor need it take a render_mode
            super().__init__()

    monkeypatch.setitem(gym.registry, "Plain-v0", None)
    del gym.registry["Plain-v0"]
    gym.register("Plain-v0", Plain)
    with caplog.at_level(logging.WARNING, "heredity"):
        env = make("gym/Plain-v0", 2, render=True)
    env.reset(np.arange(2), everybody(2))
    assert env.render() is None
    (message,) = [record.getMessage() for record in caplog.records]
    assert "no render mode 'rgb_array'" in message and "pip install" not in message
    assert [str(warning.message) for warning in recwarn] == []


def test_a_module_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "my_gym_environments.py").write_text(
        "import gymnasium as gym\n"
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "class Mine(CartPoleEnv): pass\n"
        "gym.register('Mine-v0', Mine)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.delitem(sys.modules, "my_gym_environments", raising=False)
    try:
        assert make("gym/my_gym_environments:Mine-v0", 2).num_envs == 2
        with pytest.raises(UnknownNameError, match=r"gymnasium.register\(id='Your-v0'") as told:
            make("gym/my_gym_environments:Your-v0", 2)
        assert "did you mean 'gym/my_gym_environments:Mine-v0'" in str(told.value)
    finally:
        gym.registry.pop("Mine-v0", None)


def test_what_needs_more_than_gymnasium_is_listed_apart(monkeypatch):
    find = importlib.util.find_spec
    absent = {"Box2D", "mujoco"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name in absent else find(name)
    )
    (row,) = [row for row in list_environments() if row.name == "gym"]
    assert "CartPole-v1" in row.names and row.missing is None
    lacking = {why.partition(" ")[0]: names for why, names in row.lacking.items()}
    assert "LunarLander-v3" in lacking["Box2D"] and "Ant-v5" in lacking["mujoco"]
    assert not {"LunarLander-v3", "Ant-v5"} & set(row.names)
    absent.clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: find("json"))
    (row,) = [row for row in list_environments() if row.name == "gym"]
    assert row.lacking == {} and "LunarLander-v3" in row.names


@pytest.mark.parametrize("display", ["", ":0"])
def test_drawing_without_a_display_asks_for_none(display, monkeypatch):
    for name in ("SDL_VIDEODRIVER", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", display)
    _draw_quietly()
    assert os.environ.get("SDL_VIDEODRIVER") == (None if display else "dummy")


def test_what_is_wrong_besides_drawing_is_an_error_without_a_warning(caplog):
    with pytest.raises(UnknownNameError):
        make("gym/Thing-v0", render=True)
    assert caplog.records == []


def test_drawing_makes_no_sound(monkeypatch):
    monkeypatch.delenv("SDL_AUDIODRIVER", raising=False)
    make("gym/CartPole-v1", 1)
    assert "SDL_AUDIODRIVER" not in os.environ
    make("gym/CartPole-v1", 1, render=True)
    assert os.environ["SDL_AUDIODRIVER"] == "dummy"
