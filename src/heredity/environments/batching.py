"""Observations of several Gymnasium environments as one batch, with as little copying as can be."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from heredity.common.errors import UsageError
from heredity.environments.shared_arrays import SharedArrays


class Batch(abc.ABC):
    """Collects one observation of each environment.

    Attributes:
        value: The batch; a new one after every `begin`, so that callers may keep the old.
    """

    value: Any

    @abc.abstractmethod
    def begin(self, keep: bool = False) -> None:
        """Start a new batch: empty, or with `keep` a copy of the one before."""

    @abc.abstractmethod
    def put(self, index: int, observation: Any) -> None:
        """Set the observation of one environment."""

    @abc.abstractmethod
    def fill(self, observations: Sequence[Any], first: int = 0) -> None:
        """Set the observations of neighbours, the one with index `first` and those after it."""

    @abc.abstractmethod
    def copy(self) -> Any:
        """What `value` holds now, as arrays of its own."""

    @abc.abstractmethod
    def layout(self, name: str = "observation") -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape and dtype of each array in `value`, by a path that begins with `name`."""

    @abc.abstractmethod
    def adopt(self, arrays: SharedArrays, name: str = "observation") -> None:
        """Keep the observations in those `arrays` that have the paths of `layout`."""


class ArrayBatch(Batch):
    """Arrays: shape (num_envs, ...); float64 becomes float32.

    Args:
        num_envs: How many environments.
        shape: Of one observation.
        dtype: Of the batch.
    """

    def __init__(self, num_envs: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._shape = (num_envs, *shape)
        self._dtype = dtype
        self.value = np.zeros(self._shape, dtype)

    def begin(self, keep: bool = False) -> None:
        self.value = self.value.copy() if keep else np.empty(self._shape, self._dtype)

    def put(self, index: int, observation: Any) -> None:
        self.value[index] = observation

    def fill(self, observations: Sequence[Any], first: int = 0) -> None:
        # One by one into place is faster than one array of a list of arrays.
        value = self.value
        for index, observation in enumerate(observations, first):
            value[index] = observation

    def copy(self) -> Any:
        return self.value.copy()

    def layout(self, name: str = "observation") -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        return {name: (self._shape, self._dtype)}

    def adopt(self, arrays: SharedArrays, name: str = "observation") -> None:
        self.value = arrays[name]


class FlattenedBatch(ArrayBatch):
    """Like `ArrayBatch` for observations of more axes than their space has here."""

    def put(self, index: int, observation: Any) -> None:
        self.value[index] = np.reshape(observation, -1)

    def fill(self, observations: Sequence[Any], first: int = 0) -> None:
        for index, observation in enumerate(observations, first):
            self.put(index, observation)


class NestedBatch(Batch):
    """Mappings and tuples: a dict of batches, keyed as the space is here.

    Args:
        parts: By our key: Gymnasium's key, and the batch of that part.
    """

    def __init__(self, parts: dict[str, tuple[Any, Batch]]) -> None:
        self._parts = parts
        self.value = {name: part.value for name, (_, part) in parts.items()}

    def begin(self, keep: bool = False) -> None:
        for _, part in self._parts.values():
            part.begin(keep)
        self.value = {name: part.value for name, (_, part) in self._parts.items()}

    def put(self, index: int, observation: Any) -> None:
        for key, part in self._parts.values():
            part.put(index, observation[key])

    def fill(self, observations: Sequence[Any], first: int = 0) -> None:
        for key, part in self._parts.values():
            part.fill([observation[key] for observation in observations], first)

    def copy(self) -> Any:
        return {name: part.copy() for name, (_, part) in self._parts.items()}

    def layout(self, name: str = "observation") -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        layouts = [part.layout(f"{name}/{own}") for own, (_, part) in self._parts.items()]
        return {path: place for layout in layouts for path, place in layout.items()}

    def adopt(self, arrays: SharedArrays, name: str = "observation") -> None:
        for own, (_, part) in self._parts.items():
            part.adopt(arrays, f"{name}/{own}")
        self.value = {own: part.value for own, (_, part) in self._parts.items()}


def batch_for(space: gym.Space[Any], num_envs: int) -> Batch:
    """The batch for observations of one environment's Gymnasium space.

    Raises:
        UsageError: for a kind of space that has no counterpart here.
    """
    match space:
        case gym.spaces.Box():
            floating = np.issubdtype(space.dtype, np.floating)
            dtype = np.dtype("float32") if floating else np.dtype(space.dtype)
            return ArrayBatch(num_envs, space.shape, dtype)
        case gym.spaces.Discrete():
            return ArrayBatch(num_envs, (), np.dtype("int32"))
        case gym.spaces.MultiDiscrete() | gym.spaces.MultiBinary():
            kind = ArrayBatch if len(space.shape) == 1 else FlattenedBatch
            return kind(num_envs, (int(np.prod(space.shape)),), np.dtype("int32"))
        case gym.spaces.Dict():
            return NestedBatch({k: (k, batch_for(s, num_envs)) for k, s in space.spaces.items()})
        case gym.spaces.Tuple():
            parts = enumerate(space.spaces)
            return NestedBatch({str(i): (i, batch_for(s, num_envs)) for i, s in parts})
    raise UsageError(f"Gymnasium space {space} has no counterpart here: flatten it with a wrapper")
