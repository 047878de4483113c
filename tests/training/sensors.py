"""An environment that shows some of its sensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from heredity.environments import make
from heredity.environments.contract import TimeStep
from heredity.environments.wrappers.base import JaxWrapper
from heredity.spaces import Box


class Sensors(JaxWrapper):
    """An environment of gymnax of which only some columns are seen.

    Args:
        names: Of the columns, in order.
        num_envs: How many copies are meant.
        id: Of the environment.
    """

    def __init__(
        self, names: Sequence[str], num_envs: int = 4, id: str = "gymnax/CartPole-v1"
    ) -> None:
        inside: Any = make(id, num_envs=num_envs)
        super().__init__(inside)
        space = inside.observation_space
        assert isinstance(space, Box)
        self._columns = np.array([space.names.index(name) for name in names])
        low, high = (np.asarray(bound)[self._columns] for bound in (space.low, space.high))
        self.observation_space = dataclasses.replace(
            space, shape=(len(names),), low=low, high=high, names=tuple(names)
        )

    def reset(self, key: Any) -> tuple[Any, Any]:
        state, observation = self.env.reset(key)
        return state, observation[..., self._columns]

    def step(self, state: Any, action: Any) -> tuple[Any, TimeStep]:
        state, result = self.env.step(state, action)
        return state, result._replace(observation=result.observation[..., self._columns])
