"""What of observations is worth keeping in a recording: numbers that a person could follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from heredity.networks.observations import (
    feature_names,
    feature_size,
    features,
    features_in_numpy,
)
from heredity.spaces import Box, Dict, Space

# Of one entry; more are a picture or a map, of which nobody reads a curve for each number. A few
# thousand moments of pictures would be gigabytes.
MOST_NUMBERS = 1024


def legible(space: Space) -> Space | None:
    """The entries of a space that are short enough; None where none is.

    Example:
        >>> picture = Box((84, 84, 4), 0, 255, "uint8")
        >>> list(legible(Dict({"camera": picture, "state": Box((3,))})))
        ['state']
        >>> legible(picture) is None, legible(Box((3,))).shape
        (True, (3,))
    """
    if isinstance(space, Dict):
        kept = {name: legible(part) for name, part in space.entries}
        found = {name: part for name, part in kept.items() if part is not None}
        return Dict(found) if found else None
    return None if isinstance(space, Box) and feature_size(space) > MOST_NUMBERS else space


def legible_features(space: Space, observation: Any) -> jax.Array:
    """`features` of the entries of one observation that are `legible`; empty where none is."""
    kept = legible(space)
    return jnp.zeros(0, jnp.float32) if kept is None else features(kept, observation)


def legible_in_numpy(space: Space) -> Callable[[Any], np.ndarray]:
    """`legible_features` of one observation, in numpy."""
    kept = legible(space)
    if kept is None:
        return lambda observation: np.zeros(0, np.float32)
    return features_in_numpy(kept)


def legible_names(space: Space) -> tuple[str, ...]:
    """The names of `legible_features`; () where some have none."""
    kept = legible(space)
    return () if kept is None else feature_names(kept)
