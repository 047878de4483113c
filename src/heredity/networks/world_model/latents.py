"""Groups of choices that a world model draws: one-hot, with a gradient through the draw."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def probs(logits: jax.Array, uniform_mix: float) -> jax.Array:
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


def choose(chances: jax.Array, drawn: jax.Array | None) -> jax.Array:
    """One choice of each group, one-hot float32; the gradient is that of the chances.

    Args:
        chances: Of `probs`.
        drawn: Of `noise`, ``(..., groups)``; None for the most likely choices.
    """
    if drawn is None:
        index = jnp.argmax(chances, axis=-1)
    else:
        sums = jnp.cumsum(chances, axis=-1)
        index = (sums[..., :-1] <= drawn[..., None] * sums[..., -1:]).sum(axis=-1)
    chosen = jax.nn.one_hot(index, chances.shape[-1], dtype=jnp.float32)
    return _straight_through(chosen, chances)


@jax.custom_vjp
def _straight_through(chosen: jax.Array, chances: jax.Array) -> jax.Array:
    """What was chosen; its gradient is that of the chances."""
    del chances
    return chosen


_straight_through.defvjp(
    lambda chosen, chances: (chosen, None), lambda _, gradient: (jnp.zeros_like(gradient), gradient)
)


def divergence(left: jax.Array, right: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence of ``right`` from ``left``, summed over groups: ``(...,)``.

    Args:
        left: Logarithms of `probs`, ``(..., groups, classes)``.
        right: The same.
    """
    return jnp.sum(jnp.exp(left) * (left - right), axis=(-2, -1))


def entropy(logs: jax.Array) -> jax.Array:
    """Of all groups together, ``(...,)``."""
    return -jnp.sum(jnp.exp(logs) * logs, axis=(-2, -1))
