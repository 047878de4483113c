"""Whether a run has room in memory, before anything of it is made."""

from __future__ import annotations

from typing import Any

import jax

from heredity.algorithms.contract import Algorithm
from heredity.environments.room import check_room

# Kept at least: the weights, their gradient, and two moments of each.
_WEIGHTS = 4


def check_room_to_train(algorithm: Algorithm, params: Any, seeds: int = 1) -> None:
    """Refuse a run whose experience or weights cannot be kept in memory.

    Observations are what makes either too large: a stack of very many frames, very large pictures.

    Args:
        algorithm: What is to be trained.
        params: Shapes and dtypes of its weights.
        seeds: How many are trained side by side.

    Raises:
        UsageError: when it cannot be.
    """
    room = algorithm.room()
    weights = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params)) * _WEIGHTS
    each = f"{seeds} seeds, each with " if seeds > 1 else ""
    check_room(
        (room.bytes + weights) * seeds,
        f"{each}{room.told}, and {weights // _WEIGHTS:,} bytes of weights, with what is computed "
        "from them,",
        room.advice,
        _memory_of_a_device(),
    )


def _memory_of_a_device() -> float | None:
    """Bytes that a device has: each keeps the whole; None where they use the machine's."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    limits = [one["bytes_limit"] for one in stats if "bytes_limit" in one]
    return min(limits) if limits else None
