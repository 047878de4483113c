"""Observations changed one by one, the same way in JAX and outside it."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from heredity.common.errors import UsageError
from heredity.environments.contract import Environment, HostEnvironment, JaxEnvironment, TimeStep
from heredity.environments.wrappers.base import HostWrapper, JaxWrapper
from heredity.spaces import Box, Dict, Space


def is_picture(space: Space) -> bool:
    """Whether it is a picture: (height, width, channels), or bytes of shape (height, width).

    Example:
        >>> [is_picture(space) for space in (Box((4, 4, 3)), Box((4, 4)), Box((4,)))]
        [True, False, False]
        >>> is_picture(Box((4, 4), 0, 255, "uint8"))
        True
    """
    if not isinstance(space, Box):
        return False
    return len(space.shape) == 3 or (len(space.shape) == 2 and space.dtype == "uint8")


def with_channels(space: Box) -> Box:
    """A picture's space with an axis for its channels, which (height, width) lacks."""
    if len(space.shape) == 3:
        return space
    return dataclasses.replace(
        space, shape=(*space.shape, 1), low=_wider(space.low), high=_wider(space.high), names=()
    )


def _wider(bound: Any) -> Any:
    return np.asarray(bound)[..., None] if isinstance(bound, tuple) else bound


def map_spaces(change: Callable[[Box], Box], space: Space, applies: Callable[[Space], bool]) -> Any:
    """A space whose parts that `applies` holds of are changed, and how many those are."""
    if isinstance(space, Dict):
        parts = {name: map_spaces(change, space[name], applies) for name in space}
        changed = sum(count for _, count in parts.values())
        return Dict({name: part for name, (part, _) in parts.items()}), changed
    return (change(space), 1) if isinstance(space, Box) and applies(space) else (space, 0)


def map_values(change: Callable[..., Any], space: Space, *values: Any) -> Any:
    """`change(part of the space, parts of the values)`, for every part of nested observations."""
    if isinstance(space, Dict):
        return {n: map_values(change, space[n], *(value[n] for value in values)) for n in space}
    return change(space, *values)


class PictureChange(abc.ABC):
    """Something done to every picture of an observation.

    Attributes:
        name: The option, for errors.
    """

    name: str

    @abc.abstractmethod
    def space(self, space: Box) -> Box:
        """The space of the changed picture, given one of shape (H, W, C)."""

    @abc.abstractmethod
    def value(self, xp: Any, pictures: Any, space: Box) -> Any:
        """Changed pictures, given some of shape (..., H, W, C) and the space of one.

        Args:
            xp: `numpy` or `jax.numpy`, whose arrays the pictures are.
            pictures: In the dtype of `space`.
            space: As it was before.
        """


class _Pictures:
    """A change, and the space that it was made for."""

    def __init__(self, change: PictureChange, space: Space) -> None:
        self._change = change
        self._before = space
        self.space, changed = map_spaces(
            lambda picture: change.space(with_channels(picture)), space, is_picture
        )
        if not changed:
            raise UsageError(
                f"{change.name}: pictures of shape (height, width, channels) were expected, the "
                f"environment shows {space}"
            )

    def apply(self, xp: Any, observation: Any) -> Any:
        def leaf(space: Space, value: Any) -> Any:
            if not isinstance(space, Box) or not is_picture(space):
                return value
            pictures = value if len(space.shape) == 3 else value[..., None]
            return self._change.value(xp, pictures, with_channels(space))

        return map_values(leaf, self._before, observation)


class JaxPictures(JaxWrapper):
    """A JAX environment whose pictures are changed.

    Args:
        env: The environment inside.
        change: What is done to each.

    Raises:
        UsageError: when it shows no pictures.
    """

    def __init__(self, env: JaxEnvironment, change: PictureChange) -> None:
        super().__init__(env)
        self._pictures = _Pictures(change, env.observation_space)
        self.observation_space = self._pictures.space

    def reset(self, key: Any) -> tuple[Any, Any]:
        state, observation = self.env.reset(key)
        return state, self._pictures.apply(jnp, observation)

    def step(self, state: Any, action: Any) -> tuple[Any, TimeStep]:
        state, result = self.env.step(state, action)
        return state, result._replace(observation=self._pictures.apply(jnp, result.observation))


class HostPictures(HostWrapper):
    """The same for a vector of host environments.

    Args:
        env: The environment inside.
        change: What is done to each picture.

    Raises:
        UsageError: when it shows no pictures.
    """

    def __init__(self, env: HostEnvironment, change: PictureChange) -> None:
        super().__init__(env)
        self._pictures = _Pictures(change, env.observation_space)
        self.observation_space = self._pictures.space

    def reset(self, seeds: np.ndarray, mask: np.ndarray) -> Any:
        return self._pictures.apply(np, self.env.reset(seeds, mask))

    def step(self, actions: np.ndarray) -> TimeStep:
        result = self.env.step(actions)
        return result._replace(observation=self._pictures.apply(np, result.observation))


def change_pictures(env: Environment, change: PictureChange) -> Environment:
    """Put a change of all pictures around an environment."""
    if isinstance(env, JaxEnvironment):
        return JaxPictures(env, change)
    return HostPictures(env, change)
