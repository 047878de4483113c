"""Rewards as they are trained on: scaled, and cut to a range.

What a policy reached is told in the environment's own rewards, which stay beside those
(`TimeStep.own_reward`).
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from heredity.environments.contract import (
    Environment,
    HostEnvironment,
    JaxEnvironment,
    TimeStep,
)
from heredity.environments.wrappers.base import HostWrapper, JaxWrapper


class JaxRewards(JaxWrapper):
    """A JAX environment whose rewards are multiplied, then cut.

    Args:
        env: The environment inside.
        scale: Factor.
        bound: Largest size of a reward afterwards.
    """

    def __init__(
        self, env: JaxEnvironment, scale: float = 1.0, bound: float = float("inf")
    ) -> None:
        super().__init__(env)
        self._scale = scale
        self._bound = bound

    def step(self, state: Any, action: Any) -> tuple[Any, TimeStep]:
        state, result = self.env.step(state, action)
        reward = jnp.asarray(result.reward, jnp.float32) * self._scale
        cut = jnp.clip(reward, -self._bound, self._bound)
        own = jnp.asarray(result.earned, jnp.float32)
        return state, result._replace(reward=cut, own_reward=own)


class HostRewards(HostWrapper):
    """The same for a vector of host environments.

    Args:
        env: The environment inside.
        scale: Factor.
        bound: Largest size of a reward afterwards.
    """

    def __init__(
        self, env: HostEnvironment, scale: float = 1.0, bound: float = float("inf")
    ) -> None:
        super().__init__(env)
        self._scale = np.float32(scale)
        self._bound = np.float32(bound)

    def step(self, actions: np.ndarray) -> TimeStep:
        result = self.env.step(actions)
        reward = np.asarray(result.reward, np.float32) * self._scale
        cut = np.clip(reward, -self._bound, self._bound)
        return result._replace(reward=cut, own_reward=np.asarray(result.earned, np.float32))


def scale_rewards(env: Environment, scale: float) -> Environment:
    """Multiply rewards."""
    if isinstance(env, JaxEnvironment):
        return JaxRewards(env, scale=scale)
    return HostRewards(env, scale=scale)


def clip_rewards(env: Environment, bound: float) -> Environment:
    """Cut rewards to between minus and plus `bound`."""
    if isinstance(env, JaxEnvironment):
        return JaxRewards(env, bound=bound)
    return HostRewards(env, bound=bound)
