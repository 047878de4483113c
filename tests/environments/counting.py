"""A Gymnasium environment whose every number can be foretold; its processes import it too."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

# Of four of them.
EVERYBODY = np.ones(4, bool)
ONES = np.ones(4, np.int64)
SEEDS = np.array([1, 2, 3, 4])


class Counting(gym.Env):
    """Sees (seed, steps in the episode); action 1 ends the episode, `cut` steps cut it off.

    Args:
        nested: Whether observations are a dict with a tuple in it.
        cut: Steps after which it truncates itself.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, nested: bool = False, cut: int = 10**9, render_mode: str | None = None):
        self.render_mode = render_mode
        self.nested = nested
        self.cut = cut
        plain = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.observation_space = (
            gym.spaces.Dict(
                {
                    "plain": plain,
                    "pair": gym.spaces.Tuple(
                        [gym.spaces.Discrete(1000), gym.spaces.MultiBinary([2, 2])]
                    ),
                }
            )
            if nested
            else plain
        )
        self.action_space = gym.spaces.Discrete(3, start=1)
        self.seen_seed = -1
        self.steps = 0
        self.actions: list[Any] = []

    def _observe(self) -> Any:
        plain = np.array([self.seen_seed, self.steps], np.float64)
        if not self.nested:
            return plain
        bits = np.array([[1, 0], [0, self.steps % 2]], np.int8)
        return {"plain": plain, "pair": (np.int64(self.steps), bits)}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        assert not options, "the mask is the vector's business"
        self.seen_seed = -1 if seed is None else seed
        self.steps = 0
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        self.actions.append(action)
        return self._observe(), float(action), bool(action == 2), self.steps >= self.cut, {}

    def render(self) -> Any:
        return np.full((4, 6, 3), self.steps, np.uint8)


class Telling(Counting):
    """Tells its steps, with the last one of an episode its seed, and what is no number."""

    def step(self, action: Any) -> Any:
        *rest, terminated, truncated, _ = super().step(action)
        info = {"steps": self.steps, "way": "left", "episode": {"r": 1.0}, "speeds": np.ones(2)}
        if self.seen_seed % 2:
            info = {"odd": np.float32(0.5)} | info  # workers meet the names in another order
        if terminated or truncated:
            info["seed"] = np.array(self.seen_seed)
        return *rest, terminated, truncated, info
