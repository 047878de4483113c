"""Several seeds side by side in one compiled program: what they have to agree on."""

from __future__ import annotations

import jax
import jax.numpy as jnp

AXIS = "seeds"  # of the vmap around the programs of all seeds


def any_seed(happened: jax.Array) -> jax.Array:
    """Whether something happened for any of the seeds that are vmapped together.

    `jax.lax.cond` on a condition that differs from seed to seed computes both branches, always. On
    one that the seeds share it stays a branch. Whoever takes the branch because of another seed has
    to come to the same result as without it.

    Args:
        happened: A boolean scalar of this seed.

    Returns:
        The same for all seeds; outside of a vmap over `AXIS`, `happened` itself.

    Example:
        >>> seeds = jnp.array([False, True, False])
        >>> jax.vmap(any_seed, axis_name=AXIS)(seeds).tolist()
        [True, True, True]
        >>> bool(any_seed(jnp.array(False)))
        False
    """
    try:
        jax.lax.axis_index(AXIS)
    except NameError:  # one seed alone: nobody is vmapped over
        return happened
    return jax.lax.pmax(happened.astype(jnp.int32), AXIS) > 0


def seeds_together() -> int:
    """How many seeds are vmapped together; 1 outside of a vmap over `AXIS`.

    Example:
        >>> seeds_together()
        1
        >>> jax.vmap(lambda seed: seed * seeds_together(), axis_name=AXIS)(jnp.ones(3)).tolist()
        [3.0, 3.0, 3.0]
    """
    try:
        return jax.lax.axis_size(AXIS)
    except NameError:  # one seed alone: nobody is vmapped over
        return 1


def most_of_seeds(count: jax.Array) -> jax.Array:
    """The largest of a number of all seeds that are vmapped together; alone, the number itself.

    A loop that runs so often stays one loop, of which all seeds take each round together.

    Example:
        >>> jax.vmap(most_of_seeds, axis_name=AXIS)(jnp.array([1, 3, 2])).tolist()
        [3, 3, 3]
    """
    try:
        jax.lax.axis_index(AXIS)
    except NameError:  # one seed alone: nobody is vmapped over
        return count
    return jax.lax.pmax(count, AXIS)
