"""What a runner is, and what both of them share: weights and state in and out."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import jax.numpy as jnp
import numpy as np

from heredity.algorithms.ppo.algorithm import PPO, PPOState
from heredity.common import counters
from heredity.environments import Exactness
from heredity.training.metrics import LAST_VALUES
from heredity.weights import (
    Params,
    flatten,
    merge,
    partition,
    to_host,
    tree_from_host,
    tree_to_host,
    unflatten,
)


class Runner(Protocol):
    """What the loop needs."""

    algorithm: PPO
    constants: Params

    @property
    def step(self) -> int:
        """Environment steps so far."""
        ...

    def iterate(self, iterations: int) -> dict[str, float]:
        """Run whole iterations; stops early when something is not finite.

        Returns:
            Means of what is logged (of `LAST_VALUES` the last one); sums ``episodes``,
            ``episode_returns``, ``episode_lengths``; ``iterations`` made; ``finite`` 1 or 0.
        """
        ...

    def policy_leaves(self) -> dict[str, np.ndarray]:
        """All weights by path, copies of their own."""
        ...

    def save(self) -> dict[str, np.ndarray]:
        """Everything else that a resume needs, by path, copies of their own."""
        ...

    def load(
        self, policy: dict[str, np.ndarray], state: dict[str, np.ndarray], attempt: int | None
    ) -> Exactness:
        """Go on from what `policy_leaves` and `save` gave."""
        ...


class BaseRunner:
    """What both runners share: weights and state in and out."""

    constants: Params
    state: PPOState

    def __init__(self, algorithm: PPO) -> None:
        self.algorithm = algorithm

    @property
    def step(self) -> int:
        """Environment steps so far."""
        return counters.to_int(self.state.steps)

    def policy_leaves(self) -> dict[str, np.ndarray]:
        """All weights by path, copies of their own."""
        return to_host(merge(self.constants, self.state.params, self.state.statistics))

    def save(self) -> dict[str, np.ndarray]:
        """The state without the weights, which stand in the policy's own file."""
        return tree_to_host(dataclasses.replace(self.state, params={}, statistics={}))

    def _load_state(
        self, policy: dict[str, np.ndarray], state: dict[str, np.ndarray], attempt: int | None
    ) -> None:
        template = dataclasses.replace(self.state, params={}, statistics={})
        restored: PPOState = tree_from_host(template, state, "training_state/state.safetensors")
        paths = set(flatten(self.constants))
        params = unflatten({path: jnp.array(leaf) for path, leaf in policy.items()})
        frozen, rest = partition(params, sorted(paths)) if paths else ({}, params)
        statistics = {"normalizer": rest.pop("normalizer")} if "normalizer" in rest else {}
        self.constants = frozen
        self.state = dataclasses.replace(restored, params=rest, statistics=statistics)
        if attempt is not None:
            self.state = dataclasses.replace(self.state, attempt=jnp.uint32(attempt))


def means(sums: dict[str, float]) -> dict[str, float]:
    """Means over the iterations made, of everything that is neither a count nor a last value."""
    counts = ("episodes", "episode_returns", "episode_lengths", "iterations", "finite")
    made = max(sums["iterations"], 1)
    kept = (*counts, *LAST_VALUES)
    return {name: v if name in kept else v / made for name, v in sums.items()}
