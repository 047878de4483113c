"""Gymnasium environments one after the other, without the wrappers that cost time at each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

from heredity.environments.batching import Batch
from heredity.environments.exits import exit_error, exits_told
from heredity.environments.gymnasium_checks import FirstLook

# What numpy and Python raise about something that is not what it should be.
MISFITS = (AttributeError, KeyError, OverflowError, TypeError, ValueError)


class Stepper:
    """Some neighbours of a vector, stepped in this process.

    Gymnasium's outer wrappers for order, time limit and checks are taken off: whoever steps the
    whole vector counts the limit. What they check at each step is looked at once, see `FirstLook`.

    Args:
        envs: The environments.
        batch: Where their observations go; of the whole vector.
        first: The first one's index in the vector.
        id: What the environments are called, for errors.

    Raises:
        UsageError: from the first reset and the first step of an environment that gives something
            else than its spaces, or Gymnasium, say.
        HeredityError: from any call, for an environment that wants to end the program.
    """

    def __init__(
        self,
        envs: Sequence[gym.Env[Any, Any]],
        batch: Batch,
        first: int = 0,
        id: str = "an environment",
    ) -> None:
        self.envs = [_strip(env) for env in envs]
        self._batch = batch
        self._first = first
        self._id = id
        self._resets: list[Callable[..., Any]] = [env.reset for env in self.envs]
        self._steps: list[Callable[..., Any]] = [env.step for env in self.envs]
        self._looks: list[FirstLook] = []
        self._told: list[Any] = []  # what the last step gave
        for place, env in enumerate(self.envs):
            look = FirstLook(env, f"{id}, environment {first + place}")
            self._looks.append(look)
            _once(self._resets, place, look.reset)
            _once(self._steps, place, look.step)
        self._one_number = isinstance(envs[0].action_space, gym.spaces.Discrete)

    def reset(self, index: int, seed: int) -> None:
        """Begin an episode in one of them.

        Args:
            index: In the vector.
            seed: Of the episode.
        """
        with exits_told(self._id, "reset"):
            observation, _ = self._resets[index - self._first](seed=seed)
        try:
            self._batch.put(index, observation)
        except MISFITS:
            self._looks[index - self._first].check_observation("reset", observation)
            raise

    def step(self, actions: np.ndarray) -> tuple[Sequence[Any], ...]:
        """One decision in each; observations go to the batch.

        Args:
            actions: Theirs, in the dtype of their space, (envs, ...).

        Returns:
            Rewards, terminated, truncated, infos: as the environments gave them, one of each.
        """
        # Python ints are what discrete environments test and index with fastest.
        each = actions.tolist() if self._one_number else actions
        try:
            told = [step(action) for step, action in zip(self._steps, each, strict=True)]
        except SystemExit as error:  # `exits_told` would cost time at each step
            raise exit_error(error, self._id, "step") from error
        self._told = told
        try:
            observations, rewards, terminated, truncated, infos = zip(*told, strict=True)
            self._batch.fill(observations, self._first)
        except MISFITS:
            self.explain()
            raise
        return rewards, terminated, truncated, infos

    def explain(self) -> None:
        """Look again at what the last step gave, of which something could not be used.

        Raises:
            UsageError: naming the environment, and what it gave instead of what it says.
        """
        for look, told in zip(self._looks, self._told, strict=True):
            look.check_step(told)

    def step_one(self, index: int, action: np.ndarray) -> tuple[Any, Any, Any, Any]:
        """One decision in the one with this index in the vector; as `step` otherwise."""
        given = action.item() if self._one_number else action
        with exits_told(self._id, "step"):
            told = self._steps[index - self._first](given)
        try:
            observation, reward, ended, cut, info = told
            self._batch.put(index, observation)
        except MISFITS:
            self._looks[index - self._first].check_step(told)
            raise
        return reward, ended, cut, info

    def render(self) -> np.ndarray:
        """A picture of the first one."""
        with exits_told(self._id, "render"):
            return np.asarray(self.envs[0].render())

    def close(self) -> None:
        """Close all of them; the first error is raised when none is left open."""
        errors = []
        for env in self.envs:
            try:
                with exits_told(self._id, "close"):
                    env.close()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]


def _strip(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    while isinstance(env, OrderEnforcing | TimeLimit | PassiveEnvChecker):
        env = env.env
    return env


def _once(calls: list[Callable[..., Any]], place: int, instead: Callable[..., Any]) -> None:
    """Have another function called in a place of the list, until it has succeeded once."""
    plain = calls[place]

    def first(*arguments: Any, **keywords: Any) -> Any:
        told = instead(*arguments, **keywords)
        calls[place] = plain
        return told

    calls[place] = first
