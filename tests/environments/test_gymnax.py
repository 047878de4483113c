"""Gymnax: its endings told apart, its spaces, its parameters, its pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.common.errors import UnknownNameError, UsageError
from heredity.environments import make
from heredity.environments.gymnax import NAMES
from heredity.spaces import Box, Discrete

gymnax = pytest.importorskip("gymnax")


def rollout(env, action, steps, seed=0):
    """The same action over and over; states and steps, all of them."""

    def step(state, _):
        state, result = env.step(state, action)
        return state, (state, result)

    def run(key):
        state, first = env.reset(key)
        return first, jax.lax.scan(step, state, None, steps)[1]

    return jax.jit(run)(jax.random.key(seed))


def test_termination_with_the_last_observation():
    env = make("gymnax/CartPole-v1")
    _, (states, results) = rollout(env, jnp.int32(1), 12)
    end = int(jnp.argmax(results.terminated))
    assert results.terminated[end]
    assert not results.truncated.any()
    angle = results.observation[end, 2]
    assert abs(float(angle)) > 12 * np.pi / 180  # fallen: not yet the next episode's first
    assert float(results.observation[end, 2]) == float(states.gymnax.theta[end])
    assert abs(float(results.observation[end - 1, 2])) <= 12 * np.pi / 180


def test_truncation_with_the_last_observation():
    env = make("gymnax/Pendulum-v1")
    assert env.max_episode_steps == 200
    first, (states, results) = rollout(env, jnp.zeros(1), 200)
    np.testing.assert_array_equal(np.flatnonzero(results.truncated), [199])
    assert not results.terminated.any()
    np.testing.assert_allclose(results.observation[199, 0], jnp.cos(states.gymnax.theta[199]))
    assert not np.array_equal(results.observation[199], first)


def test_both_at_once_is_termination():
    env = make("gymnax/CartPole-v1")
    _, (_, results) = rollout(env, jnp.int32(1), 20)
    end = int(jnp.argmax(results.terminated)) + 1
    short = make("gymnax/CartPole-v1", max_episode_steps=end)
    _, (_, results) = rollout(short, jnp.int32(1), end)
    assert results.terminated[end - 1]
    assert not results.truncated.any()


@pytest.mark.parametrize("name", ["CartPole-v1", "Catch-bsuite", "FourRooms-misc", "Acrobot-v1"])
def test_it_is_gymnaxs_own_dynamics(name, key):
    env = make(f"gymnax/{name}")
    theirs, params = gymnax.make(name)
    state, first = env.reset(key)
    ours, first_key = jax.random.split(key)
    seen, theirs_state = theirs.reset_env(first_key, params)
    np.testing.assert_array_equal(first, seen)
    for time in range(5):
        state, result = env.step(state, jnp.int32(0))
        seen, theirs_state, reward, over, _ = theirs.step_env(
            jax.random.fold_in(ours, time), theirs_state, jnp.int32(0), params
        )
        np.testing.assert_allclose(result.observation, seen, rtol=1e-6)
        assert float(result.reward) == float(reward)
        assert bool(result.terminated) == bool(over)


@pytest.mark.parametrize(
    "name", ["CartPole-v1", "Pendulum-v1", "FrozenLake-misc", "FourRooms-misc", "Breakout-MinAtar"]
)
def test_shapes_and_dtypes_hold(name):
    env = make(f"gymnax/{name}")
    action = jnp.asarray(env.action_space.sample(np.random.default_rng(0)))
    first, (_, results) = rollout(env, action, 3)
    assert env.observation_space.contains(np.asarray(first))
    wanted = jnp.float32 if isinstance(env.observation_space, Box) else jnp.int32
    assert results.observation.dtype == first.dtype == wanted


def test_random_draws_follow_the_key():
    env = make("gymnax/FourRooms-misc")
    runs = [rollout(env, jnp.int32(0), 40, seed)[1][1].observation for seed in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_spaces():
    env = make("gymnax/CartPole-v1")
    assert env.action_space == Discrete(2)
    assert env.observation_space.columns == ("x", "x_velocity", "theta", "theta_velocity")
    assert env.observation_space.high[1] == np.inf
    assert make("gymnax/Pendulum-v1").action_space == Box((1,), -2.0, 2.0)
    assert make("gymnax/FrozenLake-misc").observation_space == Discrete(16)


def test_parameters_are_options():
    env = make("gymnax/Pendulum-v1", params={"max_torque": 1}, max_episode_steps=7)
    assert env.action_space == Box((1,), -1.0, 1.0)
    assert env.max_episode_steps == 7
    with pytest.raises(UnknownNameError, match="parameter of gymnax/Pendulum-v1 'max_torqu'"):
        make("gymnax/Pendulum-v1", params={"max_torqu": 1})
    with pytest.raises(UsageError, match=r"memory_length=2.5 .*int expected, such as 5"):
        make("gymnax/MemoryChain-bsuite", params={"memory_length": 2.5})
    with pytest.raises(UsageError, match="give max_episode_steps"):
        make("gymnax/Pendulum-v1", params={"max_steps_in_episode": 3})
    with pytest.raises(UsageError, match="max_episode_steps=0"):
        make("gymnax/Pendulum-v1", max_episode_steps=0)


def test_all_that_gymnax_knows_is_listed_but_the_one_that_downloads():
    import gymnax.registration

    assert set(NAMES) == set(gymnax.registration._BUILTIN_ENV_IDS) - {"MNISTBandit-bsuite"}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_environment_walks_to_its_limit(name):
    env = make(f"gymnax/{name}")
    action = jnp.asarray(env.action_space.sample(np.random.default_rng(0)))
    steps = env.max_episode_steps
    _, (_, results) = rollout(env, action, steps)
    assert not (results.terminated & results.truncated).any()
    assert results.terminated.any() or results.truncated[-1]
    assert np.isfinite(results.reward).all()
