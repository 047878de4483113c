"""Whole episodes of a gymnax environment with the most likely actions, for peers that lack it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnax
import jax
import jax.numpy as jnp
import numpy as np

from problems import Problem


class FiveResults:
    """A gymnax 1.0 environment whose `step` gives one `done`, as before 1.0.

    Args:
        env: As `gymnax.make` gives it.
    """

    def __init__(self, env: Any) -> None:
        self._env = env

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # looked for by `copy`, before there is anything inside
            raise AttributeError(name)
        return getattr(self._env, name)

    def step(self, key: Any, state: Any, action: Any, params: Any) -> tuple[Any, ...]:
        seen, state, reward, terminated, truncated, info = self._env.step(
            key, state, action, params
        )
        return seen, state, reward, terminated | truncated, info


def environment_of(problem: Problem) -> tuple[FiveResults, Any]:
    """The environment of a problem, with one `done`, and its parameters."""
    made, params = gymnax.make(problem.environment.removeprefix("gymnax/"))
    return FiveResults(made), params


def player(env: Any, params: Any, episodes: int, mode: Callable[[Any, Any], Any]) -> Callable:
    """A compiled function from weights and a key to the returns of the episodes.

    Args:
        env: With one `done`; see `FiveResults`.
        params: Its parameters.
        episodes: How many, side by side.
        mode: From weights and observations (B, ...) to actions (B, ...).
    """

    @jax.jit
    def play(weights: Any, key: jax.Array) -> jax.Array:
        keys = jax.random.split(key, episodes)
        seen, state = jax.vmap(env.reset, in_axes=(0, None))(keys, params)

        def step(carry: tuple, key: jax.Array) -> tuple[tuple, None]:
            seen, state, total, over = carry
            keys = jax.random.split(key, episodes)
            seen, state, reward, ended, _ = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
                keys, state, mode(weights, seen), params
            )
            return (seen, state, total + jnp.where(over, 0.0, reward), over | ended), None

        start = (seen, state, jnp.zeros(episodes), jnp.zeros(episodes, bool))
        longest = params.max_steps_in_episode + 1
        (_, _, total, _), _ = jax.lax.scan(step, start, jax.random.split(key, longest))
        return total

    return lambda weights, seed: np.asarray(play(weights, jax.random.key(seed)))
