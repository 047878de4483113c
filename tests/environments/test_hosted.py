"""JAX environments behind the host contract."""

import jax
import numpy as np

from heredity.environments import HostEnvironment, make


def test_only_masked_environments_begin_anew():
    env = make("probe/always-terminated", 3, host=True, length=4)
    assert isinstance(env, HostEnvironment)
    everybody = np.ones(3, bool)
    np.testing.assert_array_equal(env.reset(np.arange(3), everybody), np.zeros((3, 1)))
    env.step(np.zeros(3, np.int32))
    result = env.step(np.zeros(3, np.int32))
    np.testing.assert_array_equal(result.observation, np.full((3, 1), 0.5))
    seen = env.reset(np.arange(3), np.array([False, True, False]))
    np.testing.assert_array_equal(seen, [[0.5], [0.0], [0.5]])
    env.step(np.zeros(3, np.int32))
    result = env.step(np.zeros(3, np.int32))
    np.testing.assert_array_equal(result.terminated, [True, False, True])
    np.testing.assert_array_equal(result.truncated, [False] * 3)
    np.testing.assert_array_equal(result.observation, [[1.0], [0.5], [1.0]])


def test_it_is_the_same_environment():
    env = make("probe/observation-reward")
    hosted = make("probe/observation-reward", 5, host=True)
    seen = hosted.reset(np.arange(5), np.ones(5, bool))
    for seed in range(5):
        state, first = env.reset(jax.random.key(seed))
        np.testing.assert_array_equal(seen[seed], first)
        del state
    result = hosted.step(np.zeros(5, np.int32))
    np.testing.assert_array_equal(result.reward, seen[:, 0])
    assert isinstance(result.reward, np.ndarray)
    assert result.reward.flags.writeable


def test_keys_in_a_state_may_be_masked_too():
    gymnax = make("gymnax/CartPole-v1")
    from heredity.environments.hosted import HostedEnvironment

    env = HostedEnvironment(gymnax, 2)
    env.reset(np.arange(2), np.ones(2, bool))
    moved = env.step(np.ones(2, np.int32)).observation
    seen = env.reset(np.array([7, 8]), np.array([True, False]))
    np.testing.assert_array_equal(seen[1], moved[1])
    assert not np.array_equal(seen[0], moved[0])
