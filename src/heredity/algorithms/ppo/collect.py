"""Acting in JAX environments: the part of an iteration that comes before the update."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from heredity.algorithms.ppo.state import PPOState, Rollout
from heredity.common.devices import on_each_device, split
from heredity.common.seeds import any_seed, seeds_together
from heredity.common.streams import stream
from heredity.environments.contract import JaxEnvironment
from heredity.weights import Params

if TYPE_CHECKING:
    from heredity.algorithms.ppo.algorithm import PPO

_MOST_BYTES = 2**26  # of first states that are drawn before they are needed, for all seeds


class Experience(NamedTuple):
    """Environments in the middle of their episodes; axis 0 is B environments.

    Args:
        environment: Their states.
        observation: What they show now.
        episode_return: Sum of the environment's own rewards since the episode began, (B,).
        episode_length: Decisions since the episode began, (B,) int32.
        carry: Memory of the networks, (B, ...); {} without.
    """

    environment: Any
    observation: Any
    episode_return: jax.Array
    episode_length: jax.Array
    carry: Any = ()


def begin(algorithm: PPO, environment: JaxEnvironment, seed: jax.Array | int) -> Experience:
    """First states of all environments."""
    num_envs = algorithm.config.num_envs
    keys = jax.random.split(stream(jnp.uint32(seed), "begin"), num_envs)
    states, observation = on_each_device(jax.vmap(environment.reset), [0], [0, 0])(keys)
    zeros = jnp.zeros(num_envs, jnp.float32)
    carry = algorithm.functions.initial_carry((num_envs,))
    return split(Experience(states, observation, zeros, zeros.astype(jnp.int32), carry))


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


def _reset_keys(algorithm: PPO, environment: JaxEnvironment, state: PPOState) -> jax.Array:
    """Of what finished environments begin from: (B,) where resets are expensive, else (T, B)."""
    steps, num_envs = algorithm.config.num_steps, algorithm.config.num_envs
    shape = (steps, num_envs) if environment.reset_is_cheap else (num_envs,)
    return jax.random.split(state.key("reset"), shape)


def _first_states(environment: JaxEnvironment, keys: jax.Array) -> _FirstStates:
    """One for each environment and iteration where they are expensive, else one for each step."""
    reset = jax.vmap(environment.reset)
    if not environment.reset_is_cheap:
        pool = reset(keys)
        return _FirstStates((), lambda _: pool)
    shapes = jax.tree.leaves(jax.eval_shape(jax.vmap(reset), keys))
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in shapes)
    if size * seeds_together() > _MOST_BYTES:
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

    Of several devices each acts in its own environments, and waits for no other one.

    Returns:
        The experience to go on from; the rollout; and what is logged: sums over the episodes that
        ended (``episodes``, ``episode_returns``, ``episode_lengths``), and means over all steps of
        what the environment tells beside the reward (``environment/<name>``).
    """

    def act(params: Params, experience: Experience, noise: jax.Array, keys: jax.Array) -> tuple:
        return _act(algorithm, environment, params, experience, noise, keys)

    keys = _reset_keys(algorithm, environment, state)
    acting = on_each_device(act, [None, 0, 1, keys.ndim - 1], [0, 1, 1, 1, 0, 0])
    experience, outputs, is_first, carries, sums, told = acting(
        params, state.experience, algorithm.noise(state), keys
    )
    *fields, encoded = outputs
    rollout = Rollout(*fields, last_observation=experience.observation, encoded=encoded)
    if algorithm.functions.has_memory:
        rollout = rollout._replace(
            is_first=is_first,
            carries=carries,
            last_carry=experience.carry,
            last_is_first=experience.episode_length == 0,
        )
    sums = jax.tree.map(lambda share: jnp.sum(share, 0), sums)
    return experience, rollout, {**sums, **jax.tree.map(lambda share: jnp.mean(share, 0), told)}


def _act(
    algorithm: PPO,
    environment: JaxEnvironment,
    params: Params,
    experience: Experience,
    noise: jax.Array,
    keys: jax.Array,
) -> tuple[Experience, tuple, Any, Any, dict[str, jax.Array], dict[str, jax.Array]]:
    """Act in some of the environments, those of one device.

    Args:
        algorithm: Says how.
        environment: Where.
        params: All weights.
        experience: To go on from, (B, ...).
        noise: The chance of all actions, (T, B, N).
        keys: Of first states, (B,) or (T, B).

    Returns:
        The experience to go on from; what each step gave, (T, B, ...); where episodes begin and
        the memory before each sequence, for networks with memory; sums and means with a leading
        axis (1,), of which others put theirs behind.
    """
    has_memory = algorithm.functions.has_memory
    first_states = _first_states(environment, keys)

    def step(carry: tuple, chance: tuple[jax.Array, Any]) -> tuple[tuple, tuple]:
        now, sums = carry
        noise, drawn = chance
        is_first = now.episode_length == 0 if has_memory else None
        seen = algorithm.seen(params, now.observation)
        action, kept, carry = algorithm.act_on(params, seen, noise, now.carry, is_first)
        env_state, result = environment.step_batch(now.environment, action)
        ended = result.terminated | result.truncated
        final_values = jax.lax.cond(
            any_seed(result.truncated.any()),
            lambda: jnp.where(
                result.truncated, algorithm.value(params, result.observation, carry), 0.0
            ),
            lambda: jnp.zeros(ended.shape, jnp.float32),
        )
        rewards = result.reward.astype(jnp.float32)
        returns = now.episode_return + result.earned.astype(jnp.float32)
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
            now.observation if algorithm.keeps_observations else (),
            *kept,
            rewards,
            result.terminated,
            result.truncated,
            final_values,
            seen if algorithm.caches_features else (),
        )
        told = {f"environment/{name}": jnp.mean(value) for name, value in result.info.items()}
        return (following, sums), (output, is_first if has_memory else (), told)

    def sequence(carry: tuple, chances: Any) -> tuple[tuple, tuple]:
        remembered = carry[0].carry
        carry, given = jax.lax.scan(step, carry, chances)
        return carry, (given, remembered)

    names = ("episodes", "episode_returns", "episode_lengths")
    start = (experience, {name: jnp.float32(0.0) for name in names})
    chances = (noise, first_states.drawn)
    if has_memory:
        # Sequence by sequence: only what is remembered before each is kept, not before each step.
        length = algorithm.config.sequence_length or algorithm.config.num_steps
        chances = jax.tree.map(lambda a: a.reshape((-1, length, *a.shape[1:])), chances)
        (experience, sums), (given, carries) = jax.lax.scan(sequence, start, chances)
        given = jax.tree.map(lambda a: a.reshape((-1, *a.shape[2:])), given)
    else:
        (experience, sums), given = jax.lax.scan(step, start, chances)
        carries = ()
    outputs, is_first, told = given
    shares = jax.tree.map(lambda share: share[None], (sums, jax.tree.map(jnp.mean, told)))
    return experience, outputs, is_first, carries, *shares


def iteration(
    algorithm: PPO, environment: JaxEnvironment, constants: Params, state: PPOState
) -> tuple[PPOState, dict[str, jax.Array]]:
    """Collect and learn: one iteration as one pure function."""
    params = algorithm.all_params(constants, state)
    experience, rollout, sums = collect(algorithm, environment, params, state)
    state, logged = algorithm.learn(constants, state, rollout)
    return dataclasses.replace(state, experience=experience), {**logged, **sums}
