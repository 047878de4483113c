"""Whole episodes of a Gymnasium environment, most likely actions, the same for everybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

SIDE_BY_SIDE = 8


def returns(name: str, episodes: int, seed: int, act: Callable[[np.ndarray], Any]) -> np.ndarray:
    """Returns of the first episodes that several environments play; each plays its share.

    Args:
        name: Gymnasium's id.
        episodes: How many in all, (E,).
        seed: Of the first environment; those after it have the next ones.
        act: From observations (B, ...) to actions (B, ...).
    """
    count = min(episodes, SIDE_BY_SIDE)
    shares = [len(range(index, episodes, count)) for index in range(count)]
    environments = [gym.make(name) for _ in shares]
    seen = np.stack([env.reset(seed=seed + i)[0] for i, env in enumerate(environments)])
    found: list[list[float]] = [[] for _ in shares]
    totals = np.zeros(count)
    while any(len(one) < share for one, share in zip(found, shares, strict=True)):
        actions = np.asarray(act(seen))
        for i, env in enumerate(environments):
            if len(found[i]) == shares[i]:
                continue
            seen[i], reward, terminated, truncated, _ = env.step(actions[i])
            totals[i] += float(reward)
            if terminated or truncated:
                found[i].append(totals[i])
                totals[i] = 0.0
                seen[i], _ = env.reset()
    for env in environments:
        env.close()
    return np.concatenate(found)
