"""Returns that a world model learns values from, and the range they are scaled by."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


def lambda_returns(
    rewards: jax.Array,
    live: jax.Array,
    goes_on: jax.Array,
    values: jax.Array,
    gae_lambda: float,
) -> jax.Array:
    """Mixtures of returns of all lengths (Sutton, Barto), from the last moment back.

    ``R_t = r_{t+1} + live_{t+1} ((1 - l_{t+1}) v_{t+1} + l_{t+1} R_{t+1})`` with ``l = lambda *
    goes_on``, and ``v`` in place of ``R`` after the last moment.

    Args:
        rewards: On arriving at each moment, ``(T, ...)``.
        live: What is left of the future at each moment: discount times the chance to go on.
        goes_on: 0 at moments after which another episode begins, else 1.
        values: Of each moment.
        gae_lambda: Lambda.

    Returns:
        Of all moments but the last, ``(T - 1, ...)``.

    Example:
        >>> ones = jnp.ones(3)
        >>> lambda_returns(ones, 0.5 * ones, ones, jnp.array([0.0, 0.0, 4.0]), 1.0).tolist()
        [2.5, 3.0]
    """
    mix = goes_on[1:] * gae_lambda
    now = rewards[1:] + (1.0 - mix) * live[1:] * values[1:]

    def back(later: jax.Array, moment: tuple[jax.Array, jax.Array]) -> tuple:
        known, share = moment
        found = known + share * later
        return found, found

    _, returns = jax.lax.scan(back, values[-1], (now, live[1:] * mix), reverse=True)
    return returns


class ReturnRange(NamedTuple):
    """Running 5th and 95th percentile of returns.

    Args:
        low: float32.
        high: float32.
    """

    low: jax.Array
    high: jax.Array

    @classmethod
    def zero(cls) -> ReturnRange:
        """Before anything was returned."""
        return cls(jnp.float32(0.0), jnp.float32(0.0))

    def moved(self, returns: jax.Array, rate: float) -> ReturnRange:
        """A little nearer to the percentiles of these returns."""
        low, high = jnp.percentile(returns, jnp.array([5.0, 95.0]))
        return ReturnRange(
            (1.0 - rate) * self.low + rate * low, (1.0 - rate) * self.high + rate * high
        )

    @property
    def scale(self) -> jax.Array:
        """What advantages are divided by: small returns are not made larger."""
        return jnp.maximum(1.0, self.high - self.low)
