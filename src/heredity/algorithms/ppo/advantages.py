"""Generalised advantage estimation with truncation told apart from termination."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def generalized_advantages(
    rewards: jax.Array,
    values: jax.Array,
    last_value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    final_values: jax.Array,
    discount: float,
    gae_lambda: float,
) -> tuple[jax.Array, jax.Array]:
    """Advantages and value targets (Schulman et al. 2016, eq. 16).

    After a termination the value is zero. After a truncation the task would have gone on, so the
    value of the true last observation stands in for the rest (Pardo et al. 2018). A step that is
    marked as both has terminated.

    Args:
        rewards: Shape (T, B).
        values: Of the observations acted on, (T, B).
        last_value: Of the observation after the last step, (B,).
        terminated: (T, B), bool.
        truncated: (T, B), bool.
        final_values: (T, B); where `truncated`, the value of the true last observation; read
            nowhere else.
        discount: Of the reward one decision later.
        gae_lambda: Weight of longer estimates.

    Returns:
        Advantages (T, B), and targets ``advantages + values`` (T, B).
    """
    ended = terminated | truncated
    goes_on = 1.0 - ended.astype(values.dtype)
    following = jnp.concatenate([values[1:], last_value[None]])
    following = jnp.where(truncated & ~terminated, final_values, following * goes_on)
    errors = rewards + discount * following - values

    def back(later: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        error, alive = now
        advantage = error + discount * gae_lambda * alive * later
        return advantage, advantage

    _, advantages = jax.lax.scan(
        back, jnp.zeros_like(last_value), (errors, goes_on), reverse=True, unroll=8
    )
    return advantages, advantages + values


def explained_variance(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    """``1 - Var(targets - predictions) / Var(targets)``: 1 is perfect, 0 as good as a constant."""
    variance = jnp.var(targets)
    return jnp.where(variance == 0, jnp.nan, 1 - jnp.var(targets - predictions) / variance)
