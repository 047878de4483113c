"""Whether a run has room in memory, before anything of it is made."""

from __future__ import annotations

import math
from typing import Any

import jax

from heredity.algorithms.contract import Algorithm, Room
from heredity.common.errors import UsageError
from heredity.environments.room import GIBIBYTE, check_room, memory_here

# Kept at least: the weights, their gradient, and two moments of each.
_WEIGHTS = 4


def limit_on_host(room: Room) -> float:
    """Bytes of experience that the host may keep in memory, where what is more lies in files."""
    return memory_here() / 2 if math.isinf(room.limit) else room.limit


def check_room_to_train(
    algorithm: Algorithm, params: Any, seeds: int = 1, *, spills: bool = False
) -> None:
    """Refuse a run whose experience or weights cannot be kept in memory.

    Observations are what makes either too large: a stack of very many frames, very large pictures.

    Args:
        algorithm: What is to be trained.
        params: Shapes and dtypes of its weights.
        seeds: How many are trained side by side.
        spills: Whether experience that has no room lies in files.

    Raises:
        UsageError: when it cannot be.
    """
    room = algorithm.room()
    weights = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params)) * _WEIGHTS
    kept = min(room.bytes, limit_on_host(room)) if spills else room.bytes
    if kept > room.limit:
        raise UsageError(
            f"{room.told} take {kept / GIBIBYTE:.3g} GiB, replay_memory is "
            f"{room.limit / GIBIBYTE:.3g}: on a device all of them are in memory. {room.advice}"
        )
    each = f"{seeds} seeds, each with " if seeds > 1 else ""
    check_room(
        (kept + weights) * seeds,
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
