"""LaProp (Ziyin et al. 2020) with adaptive gradient clipping (Brock et al. 2021) and a warm-up."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from heredity.weights import Params, flatten, unflatten

_LEAST_NORM = 1e-3  # of a weight, for what its gradient may be


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LaPropState:
    """Moments of the weights that are trained.

    Args:
        count: Steps since each stage began, (stages,) int32.
        squares: Means of squared gradients.
        momentum: Means of gradients divided by their size.
    """

    count: jax.Array
    squares: Params
    momentum: Params


@dataclasses.dataclass(frozen=True)
class LaProp:
    """The optimiser of DreamerV3. Momentum is taken after gradients are divided by their size.

    Args:
        learning_rate: After the warm-up.
        warmup: Steps over which the learning rate rises from 0.
        clip: A gradient may be so many times as long as its weights.
        decay: Of the momentum.
        decay_of_squares: Of the means of squares.
        epsilon: Added to the root of the squares.
        begins: The stage at which each weight began to be trained, by path; {} for 0.
        scales: What its learning rate is multiplied by, by path; {} for 1.
    """

    learning_rate: float = 4e-5
    warmup: int = 1000
    clip: float = 0.3
    decay: float = 0.9
    decay_of_squares: float = 0.999
    epsilon: float = 1e-20
    begins: Mapping[str, int | None] = dataclasses.field(default_factory=dict)
    scales: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def init(self, params: Params, stages: int = 1) -> LaPropState:
        """The state before the first step."""
        zeros = jax.tree.map(jnp.zeros_like, params)
        return LaPropState(jnp.zeros(stages, jnp.int32), zeros, zeros)

    def rate(self, count: jax.Array) -> jax.Array:
        """The learning rate after so many steps."""
        if not self.warmup:
            return jnp.float32(self.learning_rate)
        return self.learning_rate * jnp.minimum(count.astype(jnp.float32) / self.warmup, 1.0)

    def update(
        self, params: Params, gradients: Params, state: LaPropState
    ) -> tuple[Params, LaPropState]:
        """Weights and state after a step."""
        count = state.count + 1
        rate = self.rate(state.count[0])
        ages = count.astype(jnp.float32)
        corrections = [
            (1.0 - self.decay_of_squares**age, 1.0 - self.decay**age) for age in list(ages)
        ]
        weights, slopes = flatten(params), flatten(gradients)
        squares, momentum = flatten(state.squares), flatten(state.momentum)
        moved: dict[str, Any] = {}
        for path, weight in weights.items():
            of_squares, of_momentum = corrections[self.begins.get(path) or 0]
            slope = _clipped(slopes[path], weight, self.clip)
            squares[path] = self.decay_of_squares * squares[path] + (
                1.0 - self.decay_of_squares
            ) * jnp.square(slope)
            scaled = slope / (jnp.sqrt(squares[path] / of_squares) + self.epsilon)
            momentum[path] = self.decay * momentum[path] + (1.0 - self.decay) * scaled
            step = rate * self.scales.get(path, 1.0) * (momentum[path] / of_momentum)
            moved[path] = weight - step
        found = LaPropState(count, unflatten(squares), unflatten(momentum))
        return unflatten(moved), found


def _clipped(slope: jax.Array, weight: jax.Array, clip: float) -> jax.Array:
    """A gradient that is not longer than its share of the weight's length."""
    length = jnp.linalg.norm(slope.reshape(-1))
    most = clip * jnp.maximum(_LEAST_NORM, jnp.linalg.norm(weight.reshape(-1)))
    return slope / jnp.maximum(1.0, length / most)
