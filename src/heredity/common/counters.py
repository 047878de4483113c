"""Exact counters inside compiled programs.

float32 stops counting at 16.7 million and JAX computes in 32 bits, so a counter is two uint32:
``[high, low]``, exact up to 2**64.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def zero(shape: tuple[int, ...] = ()) -> jax.Array:
    """Counters at zero, shape ``(*shape, 2)``."""
    return jnp.zeros((*shape, 2), jnp.uint32)


def from_int(value: int) -> jax.Array:
    """A counter that stands at `value` (0 <= value < 2**64)."""
    return jnp.asarray(np.array([value >> 32, value & 0xFFFFFFFF], np.uint32))


def add(counter: jax.Array, amount: jax.Array | int) -> jax.Array:
    """The counter, `amount` (below 2**32) further.

    Example:
        >>> to_int(add(from_int(2**32 - 1), 2))
        4294967297
    """
    step = jnp.asarray(amount).astype(jnp.uint32)
    low = counter[..., 1] + step
    carry = (low < step).astype(jnp.uint32)
    return jnp.stack([counter[..., 0] + carry, low], axis=-1)


def to_int(counter: jax.Array | np.ndarray) -> int:
    """The exact value of one counter as a Python integer."""
    high, low = np.asarray(counter).tolist()
    return (high << 32) | low


def to_float(counter: jax.Array) -> jax.Array:
    """The value rounded to float32, for ratios; shape without the last axis."""
    return counter[..., 0].astype(jnp.float32) * 2.0**32 + counter[..., 1].astype(jnp.float32)
