"""Crafter: an open world of 64 x 64 pixels with 22 achievements (Hafner 2021, arXiv 2109.06780)."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np

from heredity.environments.adapters import Adapter, is_missing
from heredity.environments.contract import Environment
from heredity.environments.gymnasium_vectors import make_vector
from heredity.environments.vectors import VectorOptions, check_positive, limited

MAX_EPISODE_STEPS = 10_000  # the benchmark's own

_REWARDED = {"CrafterNoReward-v1": False, "CrafterReward-v1": True}


@dataclasses.dataclass(frozen=True)
class CrafterOptions(VectorOptions):
    """Options of Crafter."""

    size: int = 64
    """Rows and columns of the picture."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("size", self.size)


class CrafterEnv(gym.Env[np.ndarray, Any]):
    """Crafter as a Gymnasium environment; all of an episode follows from the seed of its reset.

    It shows the episode that a new ``crafter.Env(seed=seed)`` would begin with.

    Args:
        rewarded: Whether achievements and health are rewarded.
        size: Rows and columns of the picture.
        render_mode: ``rgb_array`` to draw larger pictures for people.
        last_step: Of an episode at the latest: whoever makes it truncates there.
    """

    def __init__(
        self,
        rewarded: bool,
        size: int,
        render_mode: str | None = None,
        last_step: int = MAX_EPISODE_STEPS,
    ) -> None:
        import crafter

        self._env = crafter.Env(size=(size, size), reward=rewarded, length=0, seed=0)
        self._env._world.__class__ = _ordered_world()
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
        self.render_mode = render_mode
        self._last_step = last_step
        self._steps = 0
        self.observation_space = gym.spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.action_space = gym.spaces.Discrete(len(self._env.action_names))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        if seed is not None:
            # What it draws from is the pair of both.
            self._env._seed, self._env._episode = seed, 0
        self._steps = 0
        return self._env.reset(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step; it ends when the player is dead, and only then.

        With the last step of an episode it is told which achievements were unlocked, 1 or 0 each:
        means of that are the success rates that Crafter's score is made of.
        """
        self._steps += 1
        observation, reward, _, info = self._env.step(int(action))
        dead = info["discount"] == 0
        told = {}
        if dead or self._steps >= self._last_step:
            achievements = info["achievements"].items()
            told = {f"achievement_{name}": float(count > 0) for name, count in achievements}
        return observation, float(reward), dead, False, told

    def render(self) -> Any:
        """A picture of 256 x 256 pixels.

        The noise of the night is drawn from the world's own numbers, which a look must not change.
        """
        random = self._env._world.random
        before = random.get_state()
        picture = self._env.render((256, 256))
        random.set_state(before)
        return picture


class _Ordered:
    """A set that is gone through in the order in which things came in."""

    def __init__(self) -> None:
        self._things: dict[Any, None] = {}

    def add(self, thing: Any) -> None:
        self._things[thing] = None

    def remove(self, thing: Any) -> None:
        del self._things[thing]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._things)


@functools.cache
def _ordered_world() -> type:
    """Crafter's world, but the same seed and actions give the same episode.

    It keeps creatures in sets, whose order is that of their places in memory, and picks the one
    that vanishes by its number in there.
    """
    from crafter.engine import World

    class OrderedWorld(World):
        def reset(self, seed: int | None = None) -> None:
            super().reset(seed)
            self._chunks = collections.defaultdict(_Ordered)

    return OrderedWorld


def make_one(
    rewarded: bool, size: int, max_episode_steps: int | None, render: bool
) -> gym.Env[Any, Any]:
    """One environment with its time limit."""
    steps = max_episode_steps or MAX_EPISODE_STEPS
    return limited(CrafterEnv(rewarded, size, "rgb_array" if render else None, steps), steps)


def _make(name: str, num_envs: int, options: CrafterOptions) -> Environment:
    def maker(render: bool) -> Callable[[], gym.Env[Any, Any]]:
        return functools.partial(
            make_one, _REWARDED[name], options.size, options.max_episode_steps, render
        )

    return make_vector(f"crafter/{name}", maker, num_envs, options)


ADAPTER = Adapter(
    name="crafter",
    options=CrafterOptions,
    make=_make,
    on_host=True,
    names=lambda: tuple(_REWARDED),
    missing=lambda: is_missing("crafter"),
    summary="an open world with 22 achievements, in pixels, on the host",
    extra="crafter",
)
