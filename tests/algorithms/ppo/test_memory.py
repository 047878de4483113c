"""Recurrent actors and critics: how sequences are cut, and what is forgotten when."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.algorithms.ppo.algorithm import PPO
from heredity.algorithms.ppo.collect import begin, collect, iteration
from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.ppo.update import Minibatch, as_sequences, chosen_items
from heredity.common.errors import UsageError
from heredity.environments import make

GRU = {"kind": "gru", "hidden": (16,), "memory_size": 16}
CONFIG = PPOConfig(
    num_envs=32,
    num_steps=24,
    num_minibatches=4,
    learning_rate=3e-3,
    discount=0.9,
    network=GRU,
)


def algorithm_for(env: Any, config: PPOConfig = CONFIG) -> PPO:
    spaces = (env.observation_space, env.action_space)
    return PPO(config, *spaces, schedule_timesteps=10**6)


@pytest.mark.parametrize("length", [24, 8])
def test_what_is_learnt_from_is_what_acted(length: int):
    """Unrolled again, the acting policy gives the probabilities that it acted with."""
    env = make("probe/recall", length=5)
    ppo = algorithm_for(env, dataclasses.replace(CONFIG, sequence_length=length))
    constants, state = ppo.init(3)
    params = ppo.all_params(constants, state)
    state = dataclasses.replace(state, experience=begin(ppo, env, 3))

    @jax.jit
    def play(state: Any) -> Any:
        experience, rollout, _ = collect(ppo, env, params, state)
        # A second rollout begins in the middle of episodes, with memory of them.
        state = dataclasses.replace(state, experience=experience, attempt=jnp.uint32(1))
        _, rollout, _ = collect(ppo, env, params, state)
        seen = ppo.functions.preprocess(params, rollout.observations)
        transitions = Minibatch(
            seen, rollout.raw_actions, rollout.log_probs, rollout.parameters, rollout.log_probs,
            rollout.log_probs, rollout.log_probs, rollout.is_first,
        )  # fmt: skip
        batch = chosen_items(as_sequences(transitions, rollout.carries), jnp.arange(32))
        parameters, _ = ppo.functions.unroll(params, batch.seen, batch.carry, batch.is_first)
        family = ppo.functions.family
        return rollout, batch, family.log_prob(parameters, batch.raw_actions)

    rollout, batch, log_probs = play(state)
    assert batch.raw_actions.shape == (length, 32)
    assert 0 < np.asarray(rollout.is_first).mean() < 1
    assert not np.allclose(jax.tree.leaves(rollout.carries)[0][0], 0)
    np.testing.assert_allclose(log_probs, batch.log_probs, rtol=1e-5, atol=1e-6)


def test_values_after_a_truncation_remember():
    """The cut-off observation is judged with the memory of its episode."""
    env = make("probe/always-truncated", length=5)
    ppo = algorithm_for(env)
    constants, state = ppo.init(0)
    # Biases, because a memory of zeros that sees zeros stays one.
    state = dataclasses.replace(state, params=jax.tree.map(lambda leaf: leaf + 0.1, state.params))
    params = ppo.all_params(constants, state)
    state = dataclasses.replace(state, experience=begin(ppo, env, 0))
    _, rollout, _ = jax.jit(lambda state: collect(ppo, env, params, state))(state)
    truncated = np.asarray(rollout.truncated)
    assert truncated[4].all() and not truncated[:4].any()
    carry, zero = ppo.functions.initial_carry((32,)), jnp.zeros((32, 1))
    for _ in range(5):
        _, carry = ppo.functions.parameters(params, zero, carry)
    remembered = ppo.functions.value(params, zero, carry)
    fresh = ppo.functions.value(params, zero, ppo.functions.initial_carry((32,)))
    np.testing.assert_allclose(rollout.final_values[4], remembered, rtol=1e-5)
    assert not np.allclose(remembered, fresh)


def test_sequences_keep_what_belongs_together():
    steps, envs, length = 6, 3, 2
    numbers = jnp.arange(steps * envs).reshape(steps, envs)
    carries = {"actor": numbers[::length]}
    batch = as_sequences(Minibatch(*[numbers] * 7, is_first=numbers), carries)
    assert batch.seen.shape == (length, steps // length * envs)
    np.testing.assert_array_equal(batch.carry["actor"], batch.seen[0])
    np.testing.assert_array_equal(batch.seen[1], batch.seen[0] + envs)
    some = chosen_items(batch, jnp.array([4, 0]))
    np.testing.assert_array_equal(some.targets, batch.targets[:, jnp.array([4, 0])])
    np.testing.assert_array_equal(some.carry["actor"], some.targets[0])


def test_sequences_that_cannot_be_cut_are_refused():
    with pytest.raises(UsageError, match="sequence_length 7 does not divide num_steps 24"):
        dataclasses.replace(CONFIG, sequence_length=7)
    env = make("probe/recall")
    odd = dataclasses.replace(CONFIG, num_envs=3, num_steps=8, num_minibatches=2)
    with pytest.raises(UsageError, match=r"num_minibatches 2 does not divide.* = 3"):
        algorithm_for(env, odd)


def test_an_iteration_with_memory_is_finite_and_moves_the_memory():
    env = make("probe/recall")
    ppo = algorithm_for(env)
    constants, state = ppo.init(0)
    state = dataclasses.replace(state, experience=begin(ppo, env, 0))
    after, logged = jax.jit(lambda state: iteration(ppo, env, constants, state))(state)
    assert bool(logged["finite"])
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), state.params, after.params)
    assert all(jax.tree.leaves(moved))
