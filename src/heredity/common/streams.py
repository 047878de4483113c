"""Random streams: every draw follows from (seed, purpose, counter), so nothing has to be saved."""

from __future__ import annotations

import zlib

import jax


def stream(seed: jax.Array | int, purpose: str, *counters: jax.Array | int) -> jax.Array:
    """The key for one purpose at one moment.

    Args:
        seed: uint32, may be traced (and so vmapped over).
        purpose: What it is for; different purposes never share draws.
        counters: Whole numbers below 2**32 that tell this moment from every other.

    Returns:
        A typed JAX PRNG key.

    Example:
        >>> a, b = stream(0, "action", 1), stream(0, "action", 2)
        >>> bool((jax.random.key_data(a) == jax.random.key_data(b)).all())
        False
    """
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(purpose.encode()))
    for counter in counters:
        key = jax.random.fold_in(key, counter)
    return key
