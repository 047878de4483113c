"""What DreamerV3 changes while it trains."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from heredity.algorithms.dreamer.laprop import LaPropState
from heredity.algorithms.dreamer.returns import ReturnRange
from heredity.common.streams import stream
from heredity.weights import Params


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DreamerState:
    """Everything that training changes, and nothing else.

    Args:
        params: Trained weights.
        statistics: {}: DreamerV3 normalises nothing that is seen.
        optimizer: Moments of the weights.
        slow_critic: Weights of the critic that follows slowly.
        return_range: Percentiles of the returns.
        owed: Gradient steps that are due, and less than one more, float32.
        steps: Counter of environment steps.
        iterations: Counter of rounds of acting and learning.
        updates: Counter of gradient steps.
        attempt: uint32; how often training was rolled back. Every draw depends on it.
        seed: uint32.
        experience: Environments in the middle of their episodes, and the replay; () on the host.
    """

    params: Params
    statistics: Params
    optimizer: LaPropState
    slow_critic: Params
    return_range: ReturnRange
    owed: jax.Array
    steps: jax.Array
    iterations: jax.Array
    updates: jax.Array
    attempt: jax.Array
    seed: jax.Array
    experience: Any = ()

    def key(self, purpose: str, counter: jax.Array) -> jax.Array:
        """The key for one purpose at one moment.

        Args:
            purpose: What for.
            counter: Of the moments.
        """
        return stream(self.seed, purpose, self.attempt, counter[0], counter[1])
