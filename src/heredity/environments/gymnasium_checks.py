"""The first look at a Gymnasium environment: what it declares, its first reset, its first step.

Only the first: Gymnasium's own checker looks at each, which costs more than a cheap step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from heredity.common.errors import UsageError
from heredity.environments.batching import batch_for
from heredity.environments.checks import (
    FINITE,
    WHICHEVER,
    array_difference,
    described,
    different_keys,
    first_problem,
    kind_of,
    not_finite,
)

_FIVE = "observation, reward, terminated, truncated, info"
_OLD = (
    "in place of done give terminated (the task itself ended) and truncated (a time limit cut it "
    "off), or wrap an environment that is not yours with the package shimmy"
)


def check_declared(env: gym.Env[Any, Any], owner: str) -> None:
    """Refuse an environment that declares no spaces of Gymnasium's.

    Raises:
        UsageError: then.
    """
    for name in ("observation_space", "action_space"):
        space = getattr(env, name, None)
        if isinstance(space, gym.Space):
            continue
        given = "nothing" if space is None else f"a {type(space).__module__}.{type(space).__name__}"
        raise UsageError(
            f"{owner}: its {name} is {given}: set self.{name} in __init__ to one of "
            "gymnasium.spaces, such as Box or Discrete"
        )


def declared(env: gym.Env[Any, Any]) -> tuple[Any, ...]:
    """What all environments of a vector have to declare alike: what they are stepped by."""
    # Not the bounds of observations, which nothing depends on.
    return batch_for(env.observation_space, 1).layout(), env.action_space


def check_alike(
    envs: Sequence[gym.Env[Any, Any]], expected: tuple[Any, ...], owner: str, first: int = 0
) -> None:
    """Refuse environments whose spaces are not those that their vector was made for.

    Args:
        envs: Neighbours in the vector.
        expected: What is `declared` by the one that the vector was made for.
        owner: What they are called.
        first: Index of the first one.

    Raises:
        UsageError: then.
    """
    for index, env in enumerate(envs, first):
        check_declared(env, f"{owner}, environment {index}")
        if declared(env) != expected:
            raise UsageError(
                f"{owner}: environment {index} declares the spaces {env.observation_space} and "
                f"{env.action_space}, other ones than environment 0: all of a vector have to be "
                "alike"
            )


class FirstLook:
    """Resets and steps an environment, and looks at what it gives.

    Args:
        env: The environment.
        owner: What it is called, for errors: its id, and its index in the vector.
    """

    def __init__(self, env: gym.Env[Any, Any], owner: str) -> None:
        self._env = env
        self._owner = owner

    def reset(self, *, seed: int) -> Any:
        """As the environment's own.

        Raises:
            UsageError: when it gives something else than its space says.
        """
        try:
            told = self._env.reset(seed=seed)
        except TypeError as error:
            if "unexpected keyword argument 'seed'" not in str(error):
                raise
            raise self._refused(
                f"reset cannot be called with a seed ({error})",
                "def reset(self, *, seed=None, options=None) was expected, whose first line is "
                "super().reset(seed=seed)",
            ) from error
        expected = "(observation, info) was expected, where info is a dict"
        if not isinstance(told, tuple | list) or len(told) != 2:
            raise self._refused(f"reset gave {described(told)}", f"{expected}: return both")
        observation, info = told
        if not isinstance(info, Mapping):
            raise self._refused(f"reset gave {described(info)} as its info", expected)
        self.check_observation("reset", observation)
        return told

    def step(self, action: Any) -> Any:
        """As the environment's own.

        Raises:
            UsageError: when it gives something else than its space, or Gymnasium, says.
        """
        told = self._env.step(action)
        self.check_step(told)
        return told

    def check_step(self, told: Any) -> None:
        """Look at what a step gave.

        Raises:
            UsageError: when it is something else than the space, or Gymnasium, says.
        """
        if not isinstance(told, tuple | list) or len(told) != 5:
            problem, remedy = f"step gave {described(told)}", f"({_FIVE}) was expected"
            if isinstance(told, tuple | list) and len(told) == 4:
                problem, remedy = f"{problem}, as those of the old gym do", f"{remedy}; {_OLD}"
            raise self._refused(problem, remedy)
        observation, reward, terminated, truncated, info = told
        self.check_observation("step", observation)
        self._check_reward(reward)
        for name, value in (("terminated", terminated), ("truncated", truncated)):
            array = np.asarray(value)
            # 0 and 1 of whole numbers are as good as booleans; None and fractions are mistakes.
            if array.shape != () or array.dtype.kind not in "biu" or array.item() not in (0, 1):
                raise self._refused(
                    f"step gave {described(value)} as {name}",
                    f"True or False was expected: ({_FIVE})",
                )
        if not isinstance(info, Mapping):
            raise self._refused(
                f"step gave {described(info)} as its info", f"a dict was expected: ({_FIVE})"
            )

    def _check_reward(self, reward: Any) -> None:
        array = np.asarray(reward)
        if array.shape != () or array.dtype.kind not in "biuf":
            raise self._refused(
                f"step gave {described(reward)} as its reward",
                "one number was expected, such as float(reward)",
            )
        if not np.isfinite(array):
            raise self._refused(f"step gave the reward {reward}", "a finite number was expected")

    def check_observation(self, moment: str, observation: Any) -> None:
        """Look at an observation that ``reset`` or ``step`` gave.

        Raises:
            UsageError: when it is something else than the space says.
        """
        problem, remedy = _difference(self._env.observation_space, observation, ""), WHICHEVER
        if not problem:
            problem, remedy = not_finite(observation), FINITE
        if problem:
            raise self._refused(f"{moment} gave {problem}", remedy)

    def _refused(self, problem: str, remedy: str) -> UsageError:
        return UsageError(f"{self._owner}: {problem}: {remedy}")


def _difference(space: gym.Space[Any], value: Any, path: str) -> str:
    """In what an observation differs from its space; empty where it does not."""
    what = f"observation{path}" if path else "an observation"
    match space:
        case gym.spaces.Dict():
            if not isinstance(value, Mapping):
                return f"{what} that is {described(value)}, its observation_space says Dict"
            keys = different_keys(list(value), list(space.spaces))
            return (
                f"{what} {keys}"
                if keys
                else first_problem(
                    _difference(part, value[name], f"{path}[{name!r}]")
                    for name, part in space.spaces.items()
                )
            )
        case gym.spaces.Tuple():
            if not isinstance(value, tuple | list) or len(value) != len(space.spaces):
                return (
                    f"{what} that is {described(value)}, its observation_space says a tuple of "
                    f"{len(space.spaces)}"
                )
            parts = zip(space.spaces, value, strict=True)
            return first_problem(
                _difference(part, one, f"{path}[{i}]") for i, (part, one) in enumerate(parts)
            )
    if value is None:
        return f"{what} that is None, its observation_space says {space.shape}"
    try:
        array = np.asarray(value)
    except ValueError as error:  # lists of different lengths
        return f"{what} that is no array ({error}), its observation_space says {space.shape}"
    dtype = np.dtype(space.dtype if isinstance(space, gym.spaces.Box) else "int32")
    problem = array_difference(array, space.shape or (), kind_of(dtype), path)
    if problem or array.dtype.kind not in "iu" or dtype.kind not in "iu":
        return problem
    limits = np.iinfo(dtype.name)
    over = array[(array < limits.min) | (array > limits.max)]
    return f"{what} with {over[0]}, its observation_space says {dtype}" if over.size else ""
