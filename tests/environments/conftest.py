"""Vectors of small environments in worker processes."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
import pytest
from tests.environments.counting import EVERYBODY, ONES, SEEDS, Counting

from heredity.environments.gymnasium_vectors import AsyncEnvironment


@pytest.fixture
def build_in_workers():
    """Makes a vector of `Counting` environments in worker processes, and closes it."""
    made = []

    def build_in_workers(
        maker: Callable[[], gym.Env] = Counting,
        count: int = 4,
        workers: int = 2,
        timeout: float | None = None,
    ):
        env = AsyncEnvironment([maker] * count, workers, timeout)
        made.append(env)
        return env

    yield build_in_workers
    for env in made:
        env.close()


@pytest.fixture
def in_workers(build_in_workers):
    """Four environments in two workers, one step after their first observations."""
    env = build_in_workers()
    env.reset(SEEDS, EVERYBODY)
    env.step(ONES)
    return env
