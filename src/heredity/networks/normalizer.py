"""Running statistics of observations and rewards, kept inside the policy's weights.

Every feature has a count of its own, so that a sensor added later starts at zero while the others
keep what they know. Merging follows Chan, Golub and LeVeque (1979), eq. 2.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from heredity.common import counters
from heredity.networks.observations import leaf_observations, leaf_spaces, map_entries
from heredity.spaces import Box, Space
from heredity.weights import Params, unflatten

EPSILON = 1e-8


def init_statistics(shape: tuple[int, ...]) -> Params:
    """Mean 0, variance 1, seen 0 times; ``count`` has shape ``(*shape, 2)`` (see `counters`)."""
    return {
        "mean": jnp.zeros(shape, jnp.float32),
        "variance": jnp.ones(shape, jnp.float32),
        "count": counters.zero(shape),
    }


def update_statistics(statistics: Params, batch: jax.Array) -> Params:
    """Statistics that have seen a batch as well.

    Args:
        statistics: Of shape ``S``.
        batch: Shape ``(..., *S)``; every leading axis is a sample axis.
    """
    shape = statistics["mean"].shape
    samples = batch.astype(jnp.float32).reshape((-1, *shape))
    size = samples.shape[0]
    seen = counters.to_float(statistics["count"])
    total = seen + size
    batch_mean = jnp.mean(samples, axis=0, keepdims=True)
    batch_variance = jnp.mean(jnp.square(samples - batch_mean), axis=0)
    shift = batch_mean[0] - statistics["mean"]
    share = size / total
    variance = (
        statistics["variance"] * (1 - share)
        + batch_variance * share
        + jnp.square(shift) * (1 - share) * share
    )
    return {
        "mean": statistics["mean"] + shift * share,
        "variance": variance,
        "count": counters.add(statistics["count"], size),
    }


def normalized_leaves(space: Space) -> dict[str, Box]:
    """Only float boxes are normalised; pixels and choices have scales of their own."""
    return {
        path: leaf
        for path, leaf in leaf_spaces(space).items()
        if isinstance(leaf, Box) and leaf.dtype.startswith("float")
    }


def init_observation_statistics(space: Space) -> Params:
    """Statistics for each float entry of an observation space, by the entry's name."""
    leaves = {
        path: init_statistics(box.concrete_shape) for path, box in normalized_leaves(space).items()
    }
    return unflatten(leaves) if leaves else {}


def _at(tree: Params, path: str) -> Params:
    for part in path.split("/"):
        tree = tree[part]
    return tree


def update_observation_statistics(space: Space, statistics: Params, observations: Any) -> Params:
    """Statistics that have seen observations with leading axes ``(...,)`` as well."""
    values = leaf_observations(space, observations)
    return unflatten(
        {
            path: update_statistics(_at(statistics, path), values[path])
            for path in normalized_leaves(space)
        }
    )


def normalize(
    statistics: Params, values: jax.Array, clip: float, epsilon: float = EPSILON
) -> jax.Array:
    """``(values - mean) / sqrt(variance + epsilon)`` cut to ``[-clip, clip]``."""
    factor = jax.lax.rsqrt(statistics["variance"] + epsilon)
    mean, factor = (jnp.broadcast_to(a, values.shape) for a in (statistics["mean"], factor))
    return jnp.clip((values.astype(jnp.float32) - mean) * factor, -clip, clip)


def normalize_observation(
    space: Space, statistics: Params, observation: Any, clip: float, epsilon: float = EPSILON
) -> Any:
    """The same observation with its float entries normalised."""
    chosen = normalized_leaves(space)

    def normalized(path: str, _: Space, value: Any) -> Any:
        if path not in chosen:
            return value
        return normalize(_at(statistics, path), jnp.asarray(value), clip, epsilon)

    return map_entries(space, normalized, observation)


def normalizer_in_numpy(
    space: Space, statistics: Params, clip: float, epsilon: float = EPSILON
) -> Callable[[Any], Any]:
    """`normalize_observation` for one observation at a time, in numpy.

    Args:
        space: Of the observation.
        statistics: As numpy arrays; read once.
        clip: Normalised values are cut to ``[-clip, clip]``.
        epsilon: Added to the variance.
    """
    means, factors = {}, {}
    for path in normalized_leaves(space):
        found = _at(statistics, path)
        means[path] = found["mean"]
        factors[path] = (1 / np.sqrt(found["variance"] + np.float32(epsilon))).astype(np.float32)
    low, high = np.float32(-clip), np.float32(clip)

    def normalized(path: str, _: Space, value: Any) -> Any:
        if path not in means:
            return value
        scaled = (np.asarray(value, np.float32) - means[path]) * factors[path]
        return np.minimum(np.maximum(scaled, low), high)

    return lambda observation: map_entries(space, normalized, observation)
