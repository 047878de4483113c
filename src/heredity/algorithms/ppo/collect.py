"""Acting in JAX environments: the part of an iteration that comes before the update."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from heredity.algorithms.ppo.algorithm import PPO, PPOState, Rollout
from heredity.common.seeds import any_seed
from heredity.common.streams import stream
from heredity.environments.contract import JaxEnvironment
from heredity.weights import Params

_MOST_BYTES = 2**26  # of first states that are drawn before they are needed


class Experience(NamedTuple):
    """Environments in the middle of their episodes; axis 0 is B environments.

    Args:
        environment: Their states.
        observation: What they show now.
        episode_return: Sum of rewards since the episode began, (B,).
        episode_length: Decisions since the episode began, (B,) int32.
        carry: Memory of the networks, (B, ...); {} without.
    """

    environment: Any
    observation: Any
    episode_return: jax.Array
    episode_length: jax.Array
    carry: Any = ()


def begin(algorithm: PPO, environment: JaxEnvironment, seed: int) -> Experience:
    """First states of all environments."""
    num_envs = algorithm.config.num_envs
    keys = jax.random.split(stream(jnp.uint32(seed), "begin"), num_envs)
    states, observation = jax.vmap(environment.reset)(keys)
    zeros = jnp.zeros(num_envs, jnp.float32)
    carry = algorithm.functions.initial_carry((num_envs,))
    return Experience(states, observation, zeros, zeros.astype(jnp.int32), carry)


def _where(mask: jax.Array, yes: Any, no: Any) -> Any:
    def choose(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(mask.reshape(mask.shape + (1,) * (a.ndim - 1)), a, b)

    return jax.tree.map(choose, yes, no)


class _FirstStates(NamedTuple):
    """States that finished environments begin from.

    Args:
        drawn: What belongs to each step, with leading axis (T,).
        at: From one of them to first states and observations, (B, ...).
    """

    drawn: Any
    at: Callable[[Any], Any]


def _first_states(algorithm: PPO, environment: JaxEnvironment, key: jax.Array) -> _FirstStates:
    """One for each environment and iteration where they are expensive, else one for each step."""
    steps, num_envs = algorithm.config.num_steps, algorithm.config.num_envs
    reset = jax.vmap(environment.reset)
    if not environment.reset_is_cheap:
        pool = reset(jax.random.split(key, num_envs))
        return _FirstStates((), lambda _: pool)
    keys = jax.random.split(key, (steps, num_envs))
    shapes = jax.tree.leaves(jax.eval_shape(jax.vmap(reset), keys))
    if sum(leaf.size * leaf.dtype.itemsize for leaf in shapes) > _MOST_BYTES:
        return _FirstStates(keys, reset)
    return _FirstStates(jax.vmap(reset)(keys), lambda first: first)


def collect(
    algorithm: PPO, environment: JaxEnvironment, params: Params, state: PPOState
) -> tuple[Experience, Rollout, dict[str, jax.Array]]:
    """Act for ``num_steps`` in every environment; a finished one begins anew.

    What is drawn is drawn before the first step, because many small draws cost more than one large
    one: the chance of all actions, and the first states that finished environments begin from.
    Where a reset is expensive, each environment gets one fresh first state an iteration, and an
    environment that ends twice within an iteration begins both times from it.

    Returns:
        The experience to go on from; the rollout; and what is logged: sums over the episodes that
        ended (``episodes``, ``episode_returns``, ``episode_lengths``), and means over all steps of
        what the environment tells beside the reward (``environment/<name>``).
    """
    num_envs, has_memory = algorithm.config.num_envs, algorithm.functions.has_memory
    first_states = _first_states(algorithm, environment, state.key("reset"))

    def step(carry: tuple, chance: tuple[jax.Array, Any]) -> tuple[tuple, tuple]:
        now, sums = carry
        noise, drawn = chance
        is_first = now.episode_length == 0 if has_memory else None
        action, kept, carry = algorithm.act(params, now.observation, noise, now.carry, is_first)
        env_state, result = environment.step_batch(now.environment, action)
        ended = result.terminated | result.truncated
        final_values = jax.lax.cond(
            any_seed(result.truncated.any()),
            lambda: jnp.where(
                result.truncated, algorithm.value(params, result.observation, carry), 0.0
            ),
            lambda: jnp.zeros(num_envs, jnp.float32),
        )
        rewards = result.reward.astype(jnp.float32)
        returns = now.episode_return + rewards
        lengths = now.episode_length + 1
        sums = {
            "episodes": sums["episodes"] + ended.sum().astype(jnp.float32),
            "episode_returns": sums["episode_returns"] + jnp.where(ended, returns, 0.0).sum(),
            "episode_lengths": sums["episode_lengths"]
            + jnp.where(ended, lengths, 0).sum().astype(jnp.float32),
        }
        first = first_states.at(drawn)
        env_state, observation = _where(ended, first, (env_state, result.observation))
        following = Experience(
            env_state,
            observation,
            jnp.where(ended, 0.0, returns),
            jnp.where(ended, 0, lengths),
            carry,
        )
        output = (
            now.observation,
            *kept,
            rewards,
            result.terminated,
            result.truncated,
            final_values,
        )
        remembered = (is_first, now.carry) if has_memory else ((), ())
        told = {f"environment/{name}": jnp.mean(value) for name, value in result.info.items()}
        return (following, sums), (output, remembered, told)

    names = ("episodes", "episode_returns", "episode_lengths")
    start = (state.experience, {name: jnp.float32(0.0) for name in names})
    chances = (algorithm.noise(state), first_states.drawn)
    (experience, sums), (outputs, (is_first, carries), told) = jax.lax.scan(step, start, chances)
    rollout = Rollout(*outputs, last_observation=experience.observation)
    if has_memory:
        length = algorithm.config.sequence_length or algorithm.config.num_steps
        rollout = rollout._replace(
            is_first=is_first,
            carries=jax.tree.map(lambda leaf: leaf[::length], carries),
            last_carry=experience.carry,
            last_is_first=experience.episode_length == 0,
        )
    return experience, rollout, {**sums, **jax.tree.map(jnp.mean, told)}


def iteration(
    algorithm: PPO, environment: JaxEnvironment, constants: Params, state: PPOState
) -> tuple[PPOState, dict[str, jax.Array]]:
    """Collect and learn: one iteration as one pure function."""
    params = algorithm.all_params(constants, state)
    experience, rollout, sums = collect(algorithm, environment, params, state)
    state, logged = algorithm.learn(constants, state, rollout)
    return dataclasses.replace(state, experience=experience), {**logged, **sums}
