"""A JAX environment behind the host contract: the other path through a runner, on known ground."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from heredity.environments.contract import HostEnvironment, JaxEnvironment, TimeStep


class HostedEnvironment(HostEnvironment):
    """A vector of copies of a JAX environment, stepped one compiled call at a time.

    For tests and for tools that only know host environments; slower than the JAX path, and its
    episodes depend on their seeds alone.

    Args:
        env: The environment.
        num_envs: How many copies.
    """

    def __init__(self, env: JaxEnvironment, num_envs: int) -> None:
        self.env = env
        self.num_envs = num_envs
        self.observation_space = env.observation_space
        self.action_space = env.action_space
        self.max_episode_steps = env.max_episode_steps
        self.step_seconds = env.step_seconds
        self.actor_reads = env.actor_reads
        self._state: Any = None
        self._observation: Any = None

        def begin(seeds: Any) -> Any:
            return jax.vmap(lambda seed: env.reset(jax.random.key(seed)))(seeds)

        def begin_where(seeds: Any, mask: Any, current: Any) -> Any:
            def pick(new: Any, old: Any) -> Any:
                return jax.numpy.where(mask.reshape((-1,) + (1,) * (new.ndim - 1)), new, old)

            return jax.tree.map(pick, begin(seeds), current)

        self._begin = jax.jit(begin)
        self._begin_where = jax.jit(begin_where)
        self._step = jax.jit(jax.vmap(env.step))

    def reset(self, seeds: np.ndarray, mask: np.ndarray) -> Any:
        seeds = np.asarray(seeds).astype(np.uint32)
        if self._state is None:
            self._state, self._observation = self._begin(seeds)
        else:
            current = (self._state, self._observation)
            self._state, self._observation = self._begin_where(seeds, np.asarray(mask), current)
        return jax.tree.map(np.array, self._observation)

    def step(self, actions: np.ndarray) -> TimeStep:
        self._state, result = self._step(self._state, actions)
        self._observation = result.observation
        return jax.tree.map(np.array, result)
