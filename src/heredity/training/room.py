"""Whether a run has room in memory, before anything of it is made."""

from __future__ import annotations

from typing import Any

import jax

from heredity.algorithms.ppo.algorithm import PPO
from heredity.environments.room import bytes_of, check_room

# Kept at least: the observations of a rollout as they were collected, and once more in the order in
# which they are learnt from; the weights, their gradient, and two moments of each.
_ROLLOUTS = 2
_WEIGHTS = 4


def check_room_to_train(algorithm: PPO, params: Any) -> None:
    """Refuse a run whose rollouts or weights cannot be kept in memory.

    Observations are what makes either too large: a stack of very many frames, very large pictures.

    Args:
        algorithm: What is to be trained.
        params: Shapes and dtypes of its weights.

    Raises:
        UsageError: when it cannot be.
    """
    config = algorithm.config
    one = bytes_of(algorithm.spec.observation_space)
    rollout = one * config.num_transitions * _ROLLOUTS
    weights = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params)) * _WEIGHTS
    check_room(
        rollout + weights,
        f"num_steps {config.num_steps:,} x num_envs {config.num_envs:,} observations of {one:,} "
        f"bytes, and {weights // _WEIGHTS:,} bytes of weights, with what is computed from them,",
        "show less at once (a smaller resize, frame_stack or network), or lower num_steps or "
        "num_envs",
        _memory_of_devices(),
    )


def _memory_of_devices() -> float | None:
    """Bytes that the devices of this process have together; None where they use the machine's."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    limits = [one["bytes_limit"] for one in stats if "bytes_limit" in one]
    return sum(limits) if limits else None
