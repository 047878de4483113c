"""Which units of hidden layers put out the same whatever is seen: they take no part in acting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from heredity.policies import ActorCritic
from heredity.weights import Params

# What an output may vary by and still count as one value: the rounding of a saturated tanh.
TOLERANCE = 1e-6

Ranges: TypeAlias = dict[str, tuple[jax.Array, jax.Array]]
"""The least and the greatest output so far of each unit, by layer, each (units,)."""


def no_ranges(functions: ActorCritic, params: Params, observation: Any, carry: Any) -> Ranges:
    """The ranges before anything was seen.

    Args:
        functions: Of the policy.
        params: All weights, or their shapes.
        observation: With a leading axis (B,).
        carry: Memory before it.
    """
    shapes = jax.eval_shape(functions.hidden_outputs, params, observation, carry)
    return {
        layer: (jnp.full(leaf.shape[-1], jnp.inf), jnp.full(leaf.shape[-1], -jnp.inf))
        for layer, leaf in shapes.items()
    }


def widened(
    ranges: Ranges, outputs: Mapping[str, jax.Array], counts: jax.Array | None = None
) -> Ranges:
    """The ranges with the outputs of one more moment.

    Args:
        ranges: Before it.
        outputs: Of each hidden layer, (B, units).
        counts: Which of the B count, bool; None for all.

    Example:
        >>> ranges = {"hidden_0": (jnp.full(2, jnp.inf), jnp.full(2, -jnp.inf))}
        >>> ranges = widened(ranges, {"hidden_0": jnp.array([[0.0, 1.0], [0.0, 2.0]])})
        >>> counted(ranges)
        {'hidden_0': (1, 2)}
    """
    found: Ranges = {}
    for layer, output in outputs.items():
        low, high = ranges[layer]
        output = output.astype(jnp.float32)
        chosen = True if counts is None else counts[:, None]
        found[layer] = (
            jnp.minimum(low, jnp.min(jnp.where(chosen, output, jnp.inf), axis=0)),
            jnp.maximum(high, jnp.max(jnp.where(chosen, output, -jnp.inf), axis=0)),
        )
    return found


def counted(ranges: Ranges) -> dict[str, tuple[int, int]]:
    """Dead units, and all units, of each hidden layer."""
    return {
        layer: (int(np.sum(np.asarray(high) - np.asarray(low) <= TOLERANCE)), len(low))
        for layer, (low, high) in ranges.items()
    }
