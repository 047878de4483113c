"""The last observations, shown together."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from heredity.common.errors import UsageError
from heredity.environments.contract import (
    Environment,
    HostEnvironment,
    JaxEnvironment,
    TimeStep,
)
from heredity.environments.room import bytes_of, check_room
from heredity.environments.wrappers.base import HostWrapper, JaxWrapper, check_whole, choose
from heredity.environments.wrappers.observations import (
    is_picture,
    map_spaces,
    map_values,
    with_channels,
)
from heredity.spaces import Box, Space

_MOST_NAMES = 10_000  # of columns


class _Stack:
    """Which parts of an observation are stacked, and how.

    Arrays are put one behind the other along their last axis, the oldest first: channels of
    pictures, columns of vectors. What stays the same within an episode and what is no array is
    shown as it is now.
    """

    def __init__(self, space: Space, frames: int) -> None:
        check_whole("frame_stack", frames)
        self._frames = frames
        self._before = space
        self.space, stacked = map_spaces(self._box, space, _is_stacked)
        if not stacked:
            raise UsageError(
                f"frame_stack: observations that are arrays were expected, the environment shows "
                f"{space}"
            )

    def _box(self, space: Box) -> Box:
        box = with_channels(space) if is_picture(space) else space
        shape = box.concrete_shape
        bounds = sum(isinstance(bound, tuple) for bound in (box.low, box.high))
        check_room(
            (1 + bounds) * bytes_of(box) * self._frames,
            f"frame_stack={self._frames}: the frames of one environment",
            "stack fewer",
        )
        low, high = (
            np.tile(np.asarray(bound), self._frames)  # along the last axis
            if isinstance(bound, tuple)
            else bound
            for bound in (box.low, box.high)
        )
        # Nobody reads so many names, and they take more memory than the numbers.
        named = box.names if len(box.names) * self._frames <= _MOST_NAMES else ()
        names = [
            f"{name}[t-{age}]" if age else name  # what is seen now keeps its name
            for age in reversed(range(self._frames))
            for name in named
        ]
        shape = (*shape[:-1], shape[-1] * self._frames)
        return dataclasses.replace(box, shape=shape, low=low, high=high, names=tuple(names))

    def first(self, xp: Any, observation: Any) -> Any:
        """What is shown when an episode begins: its first observation, so many times."""

        def leaf(space: Space, value: Any) -> Any:
            if not _is_stacked(space):
                return value
            return xp.concatenate([_channels(space, value)] * self._frames, -1)

        return map_values(leaf, self._before, observation)

    def next(self, xp: Any, stacked: Any, observation: Any) -> Any:
        """What is shown after another step: the oldest is dropped."""

        def leaf(space: Space, old: Any, value: Any) -> Any:
            if not _is_stacked(space):
                return value
            value = _channels(space, value)
            return xp.concatenate([old[..., value.shape[-1] :], value], -1)

        return map_values(leaf, self._before, stacked, observation)


def _is_stacked(space: Space) -> bool:
    return isinstance(space, Box) and not space.static and len(space.shape) > 0


def _channels(space: Space, value: Any) -> Any:
    """A picture with an axis of channels; anything else as it is."""
    flat = isinstance(space, Box) and is_picture(space) and len(space.shape) == 2
    return value[..., None] if flat else value


class FrameStackState(NamedTuple):
    """What goes from step to step.

    Args:
        inner: State of the environment inside.
        stacked: What is shown now.
    """

    inner: Any
    stacked: Any


class JaxFrameStack(JaxWrapper):
    """A JAX environment that shows its last observations together.

    Args:
        env: The environment inside.
        frames: How many.

    Raises:
        UsageError: when it shows nothing that can be stacked.
    """

    def __init__(self, env: JaxEnvironment, frames: int) -> None:
        super().__init__(env)
        self._stack = _Stack(env.observation_space, frames)
        self.observation_space = self._stack.space

    def inner_state(self, state: FrameStackState) -> Any:
        return state.inner

    def reset(self, key: Any) -> tuple[FrameStackState, Any]:
        inner, observation = self.env.reset(key)
        stacked = self._stack.first(jnp, observation)
        return FrameStackState(inner, stacked), stacked

    def step(self, state: FrameStackState, action: Any) -> tuple[FrameStackState, TimeStep]:
        inner, result = self.env.step(state.inner, action)
        stacked = self._stack.next(jnp, state.stacked, result.observation)
        return FrameStackState(inner, stacked), result._replace(observation=stacked)


class HostFrameStack(HostWrapper):
    """The same for a vector of host environments.

    Args:
        env: The environment inside.
        frames: How many.

    Raises:
        UsageError: when it shows nothing that can be stacked.
    """

    def __init__(self, env: HostEnvironment, frames: int) -> None:
        super().__init__(env)
        self._stack = _Stack(env.observation_space, frames)
        self.observation_space = self._stack.space
        self._stacked: Any = None

    def reset(self, seeds: np.ndarray, mask: np.ndarray) -> Any:
        first = self._stack.first(np, self.env.reset(seeds, mask))
        # Those that go on keep what they saw before.
        self._stacked = first if self._stacked is None else choose(mask, first, self._stacked)
        return self._stacked

    def step(self, actions: np.ndarray) -> TimeStep:
        result = self.env.step(actions)
        self._stacked = self._stack.next(np, self._stacked, result.observation)
        return result._replace(observation=self._stacked)


def stack_frames(env: Environment, frames: int) -> Environment:
    """Show the last `frames` observations together.

    Raises:
        UsageError: when the environment shows nothing that can be stacked.
    """
    if isinstance(env, JaxEnvironment):
        return JaxFrameStack(env, frames)
    return HostFrameStack(env, frames)
