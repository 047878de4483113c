"""Whole episodes of a brax environment with the most likely actions, the same for everybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

EPISODE_LENGTH = 1000


def player(env: Any, episodes: int, mode: Callable[[Any, Any], Any]) -> Callable:
    """A compiled function from weights and a seed to the returns of the episodes.

    Args:
        env: As `brax.envs.get_environment` gives it, unwrapped.
        episodes: How many, side by side.
        mode: From weights and observations (B, ...) to actions (B, ...).
    """

    @jax.jit
    def play(weights: Any, key: jax.Array) -> jax.Array:
        state = jax.vmap(env.reset)(jax.random.split(key, episodes))

        def step(carry: tuple, _: None) -> tuple[tuple, None]:
            state, total, over = carry
            state = jax.vmap(env.step)(state, mode(weights, state.obs))
            total += jnp.where(over, 0.0, state.reward)
            return (state, total, over | (state.done > 0)), None

        start = (state, jnp.zeros(episodes), jnp.zeros(episodes, bool))
        (_, total, _), _ = jax.lax.scan(step, start, length=EPISODE_LENGTH)
        return total

    return lambda weights, seed: np.asarray(play(weights, jax.random.key(seed)))
