"""Groups of choices that a world model draws: one-hot, with a gradient through the draw."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def mixed_probs(logits: jax.Array, uniform_mix: float) -> jax.Array:
    """Chances, mixed with equal ones, in float32.

    Args:
        logits: ``(..., groups, classes)``.
        uniform_mix: Share of the equal chances.
    """
    own = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
    return (1.0 - uniform_mix) * own + uniform_mix / own.shape[-1]


def noise(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """What decides draws: a number in [0, 1) for each group, ``(..., groups)``.

    A number for each class (Gumbel's) would decide as well, but a processor takes three times as
    long (`benchmarks/profile_products.py`).
    """
    return jax.random.uniform(key, shape, jnp.float32)


def choose(probs: jax.Array, chance: jax.Array | None) -> jax.Array:
    """One choice of each group, one-hot float32; the gradient is that of the chances.

    Args:
        probs: Of `mixed_probs`.
        chance: Of `noise`, ``(..., groups)``; None for the most likely choices.
    """
    if chance is None:
        index = jnp.argmax(probs, axis=-1)
    else:
        sums = jnp.cumsum(probs, axis=-1)
        index = (sums[..., :-1] <= chance[..., None] * sums[..., -1:]).sum(axis=-1)
    chosen = jax.nn.one_hot(index, probs.shape[-1], dtype=jnp.float32)
    return _straight_through(chosen, probs)


@jax.custom_vjp
def _straight_through(chosen: jax.Array, probs: jax.Array) -> jax.Array:
    """What was chosen; its gradient is that of the chances."""
    del probs
    return chosen


_straight_through.defvjp(
    lambda chosen, probs: (chosen, None), lambda _, gradient: (jnp.zeros_like(gradient), gradient)
)


def divergence(left: jax.Array, right: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence of ``right`` from ``left``, summed over groups: ``(...,)``.

    Args:
        left: Logarithms of `mixed_probs`, ``(..., groups, classes)``.
        right: The same.
    """
    return jnp.sum(jnp.exp(left) * (left - right), axis=(-2, -1))


def entropy(logs: jax.Array) -> jax.Array:
    """Of all groups together, ``(...,)``."""
    return -jnp.sum(jnp.exp(logs) * logs, axis=(-2, -1))
