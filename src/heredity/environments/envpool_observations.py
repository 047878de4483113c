"""What EnvPool shows, and how it is given here: own arrays, finite bounds only, channels last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from heredity.spaces import Box, Dict, Space, from_gymnasium


def shown_space(space: gym.Space[Any]) -> Space:
    """The space of observations as they are given here.

    EnvPool means "no bound" by the least positive number and the largest one of float64, and what
    is seen may be negative all the same.

    Args:
        space: As EnvPool declares it.
    """
    match space:
        case gym.spaces.Dict():
            return Dict({name: shown_space(part) for name, part in space.spaces.items()})
        case gym.spaces.Box() if np.issubdtype(space.dtype, np.floating):
            tiny, most = np.finfo(str(space.dtype)).tiny, np.finfo("float32").max
            low = np.where((space.low < -most) | (space.low == tiny), -np.inf, space.low)
            high = np.where(space.high > most, np.inf, space.high)
            return Box(space.shape, low.tolist(), high.tolist(), "float32")
        case gym.spaces.Box() if _channels_first(space):
            channels, height, width = space.shape
            return Box((height, width, channels), 0, 255, "uint8")
    return from_gymnasium(space)


def _channels_first(space: gym.spaces.Box) -> bool:
    """Whether it is a picture (C, H, W), as Atari's are: pictures here are (H, W, C)."""
    shape = space.shape
    return space.dtype == np.uint8 and len(shape) == 3 and shape[0] < min(shape[1:])


def read(space: gym.Space[Any], observation: Any) -> Any:
    """An own copy of what EnvPool shows, as `shown_space` says: it hands out its own memory.

    Args:
        space: As EnvPool declares it, of one environment.
        observation: Of several, (B, ...).
    """
    match space:
        case gym.spaces.Dict():
            return {name: read(part, observation[name]) for name, part in space.spaces.items()}
        case gym.spaces.Box() if np.issubdtype(space.dtype, np.floating):
            return np.array(observation, np.float32)
        case gym.spaces.Box() if _channels_first(space):
            return np.ascontiguousarray(np.moveaxis(observation, 1, -1))
        case gym.spaces.Box():
            return np.array(observation)
        case gym.spaces.Discrete():
            return np.array(observation, np.int32).reshape(len(observation))
    return np.array(observation, np.int32).reshape(len(observation), -1)


def joined(parts: Sequence[Any]) -> Any:
    """Observations of one environment each, (1, ...), as one batch.

    Example:
        >>> joined([{"state": np.zeros((1, 2))}, {"state": np.ones((1, 2))}])["state"].shape
        (2, 2)
    """
    if isinstance(parts[0], Mapping):
        return {name: joined([part[name] for part in parts]) for name in parts[0]}
    return np.concatenate(parts)


def placed(whole: Any, chosen: np.ndarray, part: Any) -> Any:
    """A copy of a batch with other observations of the chosen environments.

    Example:
        >>> placed(np.zeros(3), np.array([1]), np.ones(1))
        array([0., 1., 0.])
    """
    if isinstance(whole, Mapping):
        return {name: placed(whole[name], chosen, part[name]) for name in whole}
    whole = whole.copy()
    whole[chosen] = part
    return whole
