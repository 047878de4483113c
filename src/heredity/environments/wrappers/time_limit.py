"""Episodes are cut off after so many steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from heredity.environments.contract import (
    Environment,
    HostEnvironment,
    JaxEnvironment,
    TimeStep,
)
from heredity.environments.wrappers.base import HostWrapper, JaxWrapper, check_whole


class TimeLimitState(NamedTuple):
    """What goes from step to step.

    Args:
        inner: State of the environment inside.
        elapsed: int32, decisions taken in this episode.
    """

    inner: Any
    elapsed: jax.Array


class JaxTimeLimit(JaxWrapper):
    """A JAX environment whose episodes are truncated at the latest after `limit` decisions.

    An episode that ends by itself in that very step is terminated, as everywhere.

    Args:
        env: The environment inside.
        limit: Decisions.
    """

    def __init__(self, env: JaxEnvironment, limit: int) -> None:
        super().__init__(env)
        self._limit = limit
        self.max_episode_steps = min(limit, env.max_episode_steps or limit)

    def inner_state(self, state: TimeLimitState) -> Any:
        return state.inner

    def reset(self, key: Any) -> tuple[TimeLimitState, Any]:
        inner, observation = self.env.reset(key)
        return TimeLimitState(inner, jnp.zeros((), jnp.int32)), observation

    def step(self, state: TimeLimitState, action: Any) -> tuple[TimeLimitState, TimeStep]:
        inner, result = self.env.step(state.inner, action)
        elapsed = state.elapsed + 1
        over = (elapsed >= self._limit) & jnp.logical_not(result.terminated)
        return TimeLimitState(inner, elapsed), result._replace(truncated=result.truncated | over)


class HostTimeLimit(HostWrapper):
    """The same for a vector of host environments.

    Args:
        env: The environment inside.
        limit: Decisions.
    """

    def __init__(self, env: HostEnvironment, limit: int) -> None:
        super().__init__(env)
        self._limit = limit
        self._elapsed = np.zeros(env.num_envs, np.int64)
        self.max_episode_steps = min(limit, env.max_episode_steps or limit)

    def reset(self, seeds: np.ndarray, mask: np.ndarray) -> Any:
        self._elapsed[np.asarray(mask, bool)] = 0
        return self.env.reset(seeds, mask)

    def step(self, actions: np.ndarray) -> TimeStep:
        result = self.env.step(actions)
        self._elapsed += 1
        over = (self._elapsed >= self._limit) & np.logical_not(result.terminated)
        return result._replace(truncated=result.truncated | over)


def limit_time(env: Environment, limit: int) -> Environment:
    """Cut episodes off after `limit` decisions of `env`.

    Raises:
        UsageError: for a limit below one.
    """
    check_whole("max_episode_steps", limit)
    if isinstance(env, JaxEnvironment):
        return JaxTimeLimit(env, limit)
    return HostTimeLimit(env, limit)
