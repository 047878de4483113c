"""Environments of other libraries, made one by one, as a vector."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import gymnasium as gym
from gymnasium.wrappers import TimeLimit

from heredity.common.errors import UsageError


@dataclasses.dataclass(frozen=True)
class VectorOptions:
    """Options of every adapter whose environments are made one by one."""

    vectorization: Literal["sync", "async"] = "sync"
    """sync: all in this process, best for cheap environments; async: in worker processes."""

    workers: int | None = None
    """With async: how many worker processes share the environments; none for as many as there are
    cores. A worker that dies is started again."""

    worker_timeout: float | None = None
    """With async: seconds that a worker may take for one step, or one reset, of all its
    environments, before it is ended and counts as one that died; none for no limit."""

    render: bool = False
    """Make environment 0 able to draw pictures of itself. Where a library for drawing is missing,
    a warning says so and nothing is drawn."""

    max_episode_steps: int | None = None
    """Steps after which an episode is truncated; none for the environment's own limit."""

    def __post_init__(self) -> None:
        if self.max_episode_steps is not None:
            check_positive("max_episode_steps", self.max_episode_steps)
        if self.workers is not None:
            check_positive("workers", self.workers)
            self._check_processes("workers", self.workers)
        if self.worker_timeout is not None:
            if not 0 < self.worker_timeout < math.inf:
                raise UsageError(f"worker_timeout={self.worker_timeout}: seconds > 0 were expected")
            self._check_processes("worker_timeout", self.worker_timeout)

    def _check_processes(self, name: str, value: float) -> None:
        if self.vectorization != "async":
            raise UsageError(
                f"{name}={value}: there are worker processes with vectorization='async' alone, it "
                f"is {self.vectorization!r}"
            )


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
