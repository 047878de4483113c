"""Acting in JAX environments, step by step, and remembering it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from heredity.algorithms.dreamer.replay import Record, Replay, halved, packed
from heredity.algorithms.dreamer.state import DreamerState
from heredity.common.devices import split, whole
from heredity.common.streams import stream
from heredity.environments.contract import JaxEnvironment
from heredity.networks.world_model import State
from heredity.weights import Params, all_finite

if TYPE_CHECKING:
    from heredity.algorithms.dreamer.algorithm import Dreamer


class Moment(NamedTuple):
    """Environments in the middle of their episodes; axis 0 is E environments.

    Args:
        environment: Their states.
        observation: What they show now.
        reward: On arriving here, float32.
        is_first: Whether an episode begins.
        is_last: Whether one ends: the next step is another episode's first.
        is_terminal: Whether the task itself ended.
        carry: Memory of the policy from the step before.
        episode_return: Sum of the environment's own rewards since the episode began.
        episode_length: Decisions since then, int32.
    """

    environment: Any
    observation: Any
    reward: jax.Array
    is_first: jax.Array
    is_last: jax.Array
    is_terminal: jax.Array
    carry: Any
    episode_return: jax.Array
    episode_length: jax.Array


class Experience(NamedTuple):
    """Where environments are, and what happened in them.

    Args:
        moment: Where they are.
        replay: What happened.
    """

    moment: Moment
    replay: Replay


def first_moment(algorithm: Dreamer, environment: JaxEnvironment, keys: jax.Array) -> Moment:
    """The first moments of episodes that follow from keys ``(E,)``."""
    states, observation = jax.vmap(environment.reset)(keys)
    count = len(keys)
    zeros, none = jnp.zeros(count, jnp.float32), jnp.zeros(count, bool)
    carry = algorithm.functions.initial_carry((count,), acting=True)
    return Moment(
        states, observation, zeros, ~none, none, none, carry, zeros, zeros.astype(jnp.int32)
    )


def begin(algorithm: Dreamer, environment: JaxEnvironment, seed: jax.Array | int) -> Experience:
    """First moments of all environments, and an empty replay."""
    config = algorithm.config
    keys = jax.random.split(stream(jnp.uint32(seed), "begin"), config.num_envs)
    moment = first_moment(algorithm, environment, keys)
    shapes = algorithm.functions.shapes()
    example = jax.eval_shape(
        lambda params, moment: acted(algorithm, params, moment, jax.random.key(0), jnp.uint32(0))[
            1
        ],
        shapes,
        moment,
    )
    return Experience(moment, Replay.empty(example, config.records_per_env, config.mixture))


def acted(
    algorithm: Dreamer, params: Params, now: Moment, key: jax.Array, version: Any
) -> tuple[Any, Record, jax.Array]:
    """Act on a moment.

    Args:
        algorithm: Whose functions.
        params: All weights.
        now: The moment.
        key: Decides what is drawn.
        version: How many gradient steps made the weights, uint32.

    Returns:
        The memory after acting, the record of this moment, and what environments receive.
    """
    functions, family = algorithm.functions, algorithm.functions.family
    of_networks, of_action = jax.random.split(key)
    parameters, carry = functions.parameters(
        params, now.observation, now.carry, is_first=now.is_first, key=of_networks
    )
    raw = family.sample(parameters, of_action)
    ended = now.is_last.reshape(now.is_last.shape + (1,) * (raw.ndim - 1))
    raw = jnp.where(ended, jnp.zeros_like(raw), raw)
    carry = functions.acted(carry, raw)
    deter, stoch = packed(State(carry["trunk"]["deter"], carry["trunk"]["stoch"]))
    tokens: Any = ()
    if algorithm.keeps_tokens:
        # The policy has computed them too: the compiler does it once.
        tokens = halved(algorithm.world.rssm.tokens(params["trunk"], now.observation))
    record = Record(
        now.observation,
        raw,
        now.reward,
        now.is_first,
        now.is_last,
        now.is_terminal,
        deter,
        stoch,
        tokens,
        jnp.broadcast_to(version, now.is_first.shape),
    )
    return carry, record, family.to_action(raw)


def _where(mask: jax.Array, yes: Any, no: Any) -> Any:
    def choose(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(mask.reshape(mask.shape + (1,) * (a.ndim - 1)), a, b)

    return jax.tree.map(choose, yes, no)


def collect(
    algorithm: Dreamer, environment: JaxEnvironment, params: Params, state: DreamerState
) -> tuple[Experience, dict[str, jax.Array]]:
    """Act for ``num_steps`` in every environment, and remember it.

    The last moment of an episode is a record like others; the next one is the first of another
    episode, and counts as a step too, as it does in the original. Of several devices each acts in
    its own environments.

    Returns:
        The experience to go on from, and what is logged: sums over the episodes that ended, means
        of what the environment tells, and ``finite``, whether all that was recorded is.
    """
    config = algorithm.config
    experience: Experience = state.experience
    chance = state.key("collect", state.iterations)
    of_actions, of_resets = jax.random.split(chance)
    shape = (config.num_steps, config.num_envs)
    if environment.reset_is_cheap:
        resets = jax.random.split(of_resets, shape)
        pool = None
    else:
        resets = jnp.zeros(config.num_steps)
        pool = first_moment(algorithm, environment, jax.random.split(of_resets, config.num_envs))

    def step(carry: tuple, chances: tuple) -> tuple[tuple, tuple]:
        now, sums = carry
        key, reset = chances
        memory, record, action = acted(algorithm, params, now, key, state.updates[1])
        states, result = environment.step_batch(now.environment, action)
        ended = result.terminated | result.truncated
        following = Moment(
            states,
            result.observation,
            result.reward.astype(jnp.float32),
            jnp.zeros_like(now.is_first),
            ended,
            result.terminated,
            memory,
            now.episode_return + result.earned.astype(jnp.float32),
            now.episode_length + 1,
        )
        fresh = pool if pool is not None else first_moment(algorithm, environment, reset)
        goes_on = ~now.is_last
        closed = ended & goes_on
        sums = {
            "episodes": sums["episodes"] + closed.sum().astype(jnp.float32),
            "episode_returns": sums["episode_returns"]
            + jnp.where(closed, following.episode_return, 0.0).sum(),
            "episode_lengths": sums["episode_lengths"]
            + jnp.where(closed, following.episode_length, 0).sum().astype(jnp.float32),
        }
        told = {
            f"environment/{name}": jnp.where(goes_on, value, 0.0).sum()
            / jnp.maximum(goes_on.sum(), 1)
            for name, value in result.info.items()
        }
        return (split(_where(now.is_last, fresh, following)), sums), (record, told)

    zero = jnp.float32(0.0)
    sums = {"episodes": zero, "episode_returns": zero, "episode_lengths": zero}
    keys = jax.random.split(of_actions, config.num_steps)
    (moment, sums), (records, told) = jax.lax.scan(step, (experience.moment, sums), (keys, resets))
    # Every device has the whole replay, so that each can draw from all of it.
    replay = experience.replay.with_records(whole(records))
    # What is not finite would wait in the replay until it is drawn, in checkpoints as well.
    finite = all_finite((records.reward, records.observation))
    return Experience(moment, replay), {**sums, **jax.tree.map(jnp.mean, told), "finite": finite}
