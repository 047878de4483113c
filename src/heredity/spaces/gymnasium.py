"""Spaces to and from Gymnasium's."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from heredity.common.errors import UsageError
from heredity.spaces.space import Box, Dict, Discrete, MultiDiscrete, Space


def from_gymnasium(space: gym.Space[Any]) -> Space:
    """The heredity space of a Gymnasium one.

    float64 boxes become float32, which is what networks compute in. `MultiBinary` becomes
    `MultiDiscrete` with two options each, `Tuple` a `Dict` keyed ``"0"``, ``"1"``, ….

    Raises:
        UsageError: for a kind that has no counterpart.
    """
    match space:
        case gym.spaces.Box():
            dtype = "float32" if np.issubdtype(space.dtype, np.floating) else space.dtype.name
            return Box(space.shape, space.low.tolist(), space.high.tolist(), dtype)
        case gym.spaces.Discrete():
            return Discrete(int(space.n), int(space.start))
        case gym.spaces.MultiDiscrete():
            if np.any(space.start != 0) or space.nvec.ndim != 1:
                raise UsageError(f"{space}: MultiDiscrete is supported flat and starting at 0")
            return MultiDiscrete(tuple(space.nvec.tolist()))
        case gym.spaces.MultiBinary():
            return MultiDiscrete((2,) * int(np.prod(space.shape)))
        case gym.spaces.Dict():
            return Dict({name: from_gymnasium(part) for name, part in space.spaces.items()})
        case gym.spaces.Tuple():
            return Dict({str(i): from_gymnasium(part) for i, part in enumerate(space.spaces)})
    raise UsageError(f"Gymnasium space {space} has no counterpart here: flatten it with a wrapper")


def to_gymnasium(space: Space) -> gym.Space[Any]:
    """The Gymnasium space of a heredity one; symbolic sizes have to be bound first."""
    match space:
        case Box():
            shape = space.concrete_shape
            low = np.broadcast_to(np.asarray(space.low, space.dtype), shape)
            high = np.broadcast_to(np.asarray(space.high, space.dtype), shape)
            return gym.spaces.Box(low, high, shape, dtype=np.dtype(space.dtype).type)
        case Discrete():
            return gym.spaces.Discrete(space.size, start=space.start)
        case MultiDiscrete():
            return gym.spaces.MultiDiscrete(list(space.nvec))
        case Dict():
            return gym.spaces.Dict({name: to_gymnasium(part) for name, part in space.entries})
    raise UsageError(f"{type(space).__name__} has no Gymnasium form with fixed sizes")
