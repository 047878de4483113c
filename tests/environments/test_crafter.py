"""Crafter: the library's own world, and the same one for the same seed."""

import functools

import numpy as np
import pytest
from tests.environments.resuming import actions_of, maker_survives_pickling, restored

from heredity.common.errors import UsageError
from heredity.environments import crafter as adapter
from heredity.environments import make
from heredity.spaces import Box, Discrete

crafter = pytest.importorskip("crafter")

BOTH = np.ones(2, bool)


@pytest.fixture(autouse=True)
def _small_worlds(monkeypatch):
    """Making a world of the usual size takes a second."""
    monkeypatch.setattr(crafter, "Env", functools.partial(crafter.Env, area=(24, 24)))


@pytest.fixture
def env():
    return make("crafter/CrafterReward-v1", 2, max_episode_steps=40)


def worlds(env):
    return [one._env._world for one in env._stepper.envs]


def test_it_begins_as_the_librarys_own_and_ends_by_its_limit(env):
    assert env.observation_space == Box((64, 64, 3), 0, 255, "uint8")
    assert env.action_space == Discrete(17)
    seen = env.reset(np.array([7, 8]), BOTH)
    own = crafter.Env(seed=7)
    np.testing.assert_array_equal(seen[0], own.reset())
    assert not np.array_equal(seen[0], seen[1])
    actions = actions_of(env, 40)
    for action in actions[:-1]:
        result = env.step(action)
        picture, reward, _, _ = own.step(int(action[0]))
        np.testing.assert_array_equal(result.observation[0], picture)
        assert result.reward[0] == np.float32(reward)
        assert not (result.terminated | result.truncated).any()
    result = env.step(actions[-1])
    assert result.truncated.all() and not result.terminated.any()


def test_the_death_of_the_player_terminates(env):
    env.reset(np.array([1, 2]), BOTH)
    env._stepper.envs[1]._env._player.health = 0
    result = env.step(np.zeros(2, np.int64))
    np.testing.assert_array_equal(result.terminated, [False, True])
    assert not result.truncated.any()


def test_creatures_are_counted_in_the_order_in_which_they_came(env):
    """A set would have the order of their places in memory, and one is picked by its number."""
    env.reset(np.array([1, 2]), BOTH)
    for world in worlds(env):
        assert world.chunks
        for creatures in world.chunks.values():
            assert isinstance(creatures, adapter._Ordered)
    ordered, things = adapter._Ordered(), [object() for _ in range(50)]
    for thing in things:
        ordered.add(thing)
    ordered.remove(things[7])
    assert list(ordered) == things[:7] + things[8:]


def test_a_look_at_it_changes_nothing():
    env = make("crafter/CrafterReward-v1", 2, render=True)
    env.reset(np.array([5, 5]), BOTH)
    for one in env._stepper.envs:
        one._env._step = 205  # at night, which is noisy
    for _ in range(3):
        assert env.render().shape == (256, 256, 3)
        result = env.step(np.array([4, 4]))
        np.testing.assert_array_equal(*result.observation)
    assert worlds(env)[0].daylight < 0.5


def test_it_can_be_resumed():
    answer, same = restored("crafter/CrafterReward-v1", steps=20, more=15)
    assert answer.exact and same


def test_options(monkeypatch):
    assert maker_survives_pickling(monkeypatch, adapter, "crafter/CrafterNoReward-v1", size=32)
    env = make("crafter/CrafterNoReward-v1", 1, size=32)
    assert env.observation_space.shape == (32, 32, 3)
    assert env.max_episode_steps == 10_000
    assert not env._stepper.envs[0]._env._reward
    with pytest.raises(UsageError, match="size=0"):
        make("crafter/CrafterNoReward-v1", 1, size=0)
