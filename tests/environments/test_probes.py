"""The probes give what their docstrings promise, and end as they promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.common.errors import UsageError
from heredity.environments import make
from heredity.environments.probes import PROBES

BEST = {
    "action-reward": lambda seen: 1,
    "observation-action-reward": lambda seen: int(seen[0] > 0),
    "continuous-action": lambda seen: np.array([0.5], np.float32),
    "multi-discrete-action": lambda seen: np.array([1, 2]),
}


def play(env, key, act, steps=50):
    """One episode: first observation, then the steps up to the first ending."""
    state, first = env.reset(key)
    seen, results = np.asarray(first), []
    for _ in range(steps):
        state, result = env.step(state, jnp.asarray(act(seen)))
        seen = np.asarray(result.observation)
        results.append(result)
        if result.terminated or result.truncated:
            break
    return np.asarray(first), results


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_acting_best_earns_the_true_value(name, seed):
    env, discount = make(f"probe/{name}"), 0.9
    first, results = play(env, jax.random.key(seed), BEST.get(name, lambda seen: 0))
    last = results[-1]
    earned = sum(discount**t * float(r.reward) for t, r in enumerate(results))
    if last.truncated:  # somebody stopped looking: the rest is still worth something
        seen = np.asarray(last.observation)
        earned += discount ** len(results) * env.true_value(seen, discount)
    assert env.true_value(first, discount) == pytest.approx(earned, rel=1e-5)
    assert bool(last.truncated) is (name == "always-truncated")
    assert not any(r.terminated & r.truncated for r in results)
    assert env.observation_space.contains(first)


@pytest.mark.parametrize("name", PROBES)
def test_state_keeps_its_dtypes_and_batches(name):
    env = make(f"probe/{name}")
    action = jnp.asarray(env.action_space.sample(np.random.default_rng(0)))
    state, _ = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 3))
    actions = jnp.broadcast_to(action, (3, *action.shape))

    def step(carry, _):
        return jax.vmap(env.step)(carry, actions)

    _, result = jax.lax.scan(step, state, None, 4)
    assert result.reward.shape == (4, 3)
    assert result.reward.dtype == jnp.float32
    assert result.observation.shape == (4, 3, 1)


def test_wrong_actions_earn_less():
    env = make("probe/observation-action-reward")
    _, results = play(env, jax.random.key(0), lambda seen: int(seen[0] < 0))
    assert float(results[0].reward) == -1.0
    _, results = play(make("probe/continuous-action"), jax.random.key(0), lambda seen: np.zeros(1))
    assert float(results[0].reward) == -0.25
    env = make("probe/multi-discrete-action")
    _, results = play(env, jax.random.key(0), lambda seen: np.array([1, 0]))
    assert float(results[0].reward) == 0.5


def test_length_is_an_option():
    env = make("probe/always-truncated", length=3)
    assert env.max_episode_steps == 3
    _, results = play(env, jax.random.key(0), lambda seen: 0)
    assert len(results) == 3
    with pytest.raises(UsageError, match="length=0: a whole number >= 1"):
        make("probe/always-truncated", length=0)
