"""Environments of other libraries, made one by one, as a vector."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import gymnasium as gym
from gymnasium.wrappers import TimeLimit

from heredity.common.errors import UsageError


@dataclasses.dataclass(frozen=True)
class VectorOptions:
    """Options of every adapter whose environments are made one by one."""

    vectorization: Literal["sync", "async"] = "sync"
    """sync: all in this process, best for cheap environments; async: one process each."""

    render: bool = False
    """Make environment 0 able to draw pictures of itself (async: all of them)."""

    max_episode_steps: int | None = None
    """Truncate episodes after so many steps; none for the limit that the environment comes with."""

    def __post_init__(self) -> None:
        if self.max_episode_steps is not None:
            check_positive("max_episode_steps", self.max_episode_steps)


def check_positive(name: str, value: int) -> None:
    """Refuse an option that is below 1.

    Raises:
        UsageError: then.
    """
    if value < 1:
        raise UsageError(f"{name}={value}: a whole number >= 1 was expected")


def limited(env: gym.Env[Any, Any], steps: int | None) -> gym.Env[Any, Any]:
    """The environment truncated after so many steps; None for never."""
    return env if steps is None else TimeLimit(env, steps)
