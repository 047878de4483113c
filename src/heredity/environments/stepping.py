"""Gymnasium environments one after the other, without the wrappers that cost time at each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

from heredity.environments.batching import Batch


class Stepper:
    """Some neighbours of a vector, stepped in this process.

    Gymnasium's outer wrappers for order, time limit and checks are taken off: whoever steps the
    whole vector counts the limit.

    Args:
        envs: The environments.
        batch: Where their observations go; of the whole vector.
        first: The first one's index in the vector.
    """

    def __init__(self, envs: Sequence[gym.Env[Any, Any]], batch: Batch, first: int = 0) -> None:
        self.envs = [_strip(env) for env in envs]
        self._batch = batch
        self._first = first
        self._steps = [env.step for env in self.envs]
        self._one_number = isinstance(envs[0].action_space, gym.spaces.Discrete)

    def reset(self, index: int, seed: int) -> None:
        """Begin an episode in one of them.

        Args:
            index: In the vector.
            seed: Of the episode.
        """
        observation, _ = self.envs[index - self._first].reset(seed=seed)
        self._batch.put(index, observation)

    def step(self, actions: np.ndarray) -> tuple[Sequence[Any], ...]:
        """One decision in each; observations go to the batch.

        Args:
            actions: Theirs, in the dtype of their space, (envs, ...).

        Returns:
            Rewards, terminated, truncated, infos: as the environments gave them, one of each.
        """
        # Python ints are what discrete environments test and index with fastest.
        each = actions.tolist() if self._one_number else actions
        told = [step(action) for step, action in zip(self._steps, each, strict=True)]
        observations, rewards, terminated, truncated, infos = zip(*told, strict=True)
        self._batch.fill(observations, self._first)
        return rewards, terminated, truncated, infos

    def step_one(self, index: int, action: np.ndarray) -> tuple[Any, Any, Any, Any]:
        """One decision in the one with this index in the vector; as `step` otherwise."""
        given = action.item() if self._one_number else action
        observation, reward, ended, cut, info = self._steps[index - self._first](given)
        self._batch.put(index, observation)
        return reward, ended, cut, info

    def close(self) -> None:
        """Close all of them; the first error is raised when none is left open."""
        errors = []
        for env in self.envs:
            try:
                env.close()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]


def _strip(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    while isinstance(env, OrderEnforcing | TimeLimit | PassiveEnvChecker):
        env = env.env
    return env
