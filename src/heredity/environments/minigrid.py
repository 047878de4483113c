"""MiniGrid and BabyAI: small rooms of coloured things, seen as symbols or pixels."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from heredity.common.errors import UsageError
from heredity.environments.adapters import Adapter, is_missing
from heredity.environments.contract import Environment
from heredity.environments.gymnasium import make_gym, newest_versions
from heredity.environments.gymnasium_vectors import make_vector
from heredity.environments.vectors import VectorOptions, check_positive, limited

_ALPHABETICALLY = (
    "a after agent and at avoid ball behind blue box door end fetch find floor from front get go "
    "goal green grey hallway in key lava left matching maze must near next object of on open "
    "opening pick purple put reach red right room rooms square the then to traverse unlock up use "
    "wall yellow you your"
)
WORDS = tuple(_ALPHABETICALLY.split())
"""What missions consist of. A word is seen as its place in here, counted from 1; it stays."""


@dataclasses.dataclass(frozen=True)
class MiniGridOptions(VectorOptions):
    """Options of MiniGrid and BabyAI."""

    view: Literal["partial", "full", "partial-pixels", "full-pixels"] = "partial"
    """What the entry image shows: partial, the 7 x 7 cells before the agent; full, the whole grid;
    each cell as object, colour and state, or drawn (partial-pixels, full-pixels)."""

    tile_size: int = 8
    """Pixels of the side of a drawn cell."""

    mission_words: int = 0
    """Words of the mission that are shown, as numbers, 0 where it has fewer; 0 leaves it out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("tile_size", self.tile_size)
        if self.mission_words < 0:
            raise UsageError(f"mission_words={self.mission_words}: a number >= 0 was expected")


class NumbersOnly(gym.Wrapper[Any, Any, Any, Any]):
    """Leaves image and direction of an observation, and the mission as numbers of words.

    Args:
        env: Of MiniGrid.
        mission_words: How many words of the mission are seen.
        largest: The largest number in image, where MiniGrid declares more; None to leave it.
    """

    def __init__(
        self, env: gym.Env[Any, Any], mission_words: int, largest: int | None = None
    ) -> None:
        super().__init__(env)
        self._mission_words = mission_words
        spaces = {name: env.observation_space[name] for name in ("direction", "image")}  # pyright: ignore[reportIndexIssue]
        if largest is not None:
            image = spaces["image"]
            spaces["image"] = gym.spaces.Box(0, largest, image.shape, image.dtype)
        if mission_words:
            spaces["mission"] = gym.spaces.MultiDiscrete([len(WORDS) + 1] * mission_words)
        self.observation_space = gym.spaces.Dict(spaces)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode. BabyAI prints each mission that it threw away, which nobody asked."""
        with contextlib.redirect_stdout(io.StringIO()):
            observation, info = self.env.reset(seed=seed, options=options)
        return self._numbers(observation), info

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """One step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._numbers(observation), reward, terminated, truncated, info

    def _numbers(self, observation: dict[str, Any]) -> dict[str, Any]:
        kept = {name: observation[name] for name in ("direction", "image")}
        if self._mission_words:
            kept["mission"] = mission_numbers(observation["mission"], self._mission_words)
        return kept


@functools.lru_cache(1024)
def mission_numbers(mission: str, length: int) -> np.ndarray:
    """A mission as numbers of words, shape (length,), 0 behind its end.

    Raises:
        UsageError: when it is longer, or has a word that is not in `WORDS`.

    Example:
        >>> mission_numbers("go to the red ball", 7)
        array([19, 49, 47, 42,  7,  0,  0])
    """
    words = mission.lower().replace(",", " ").split()
    if len(words) > length:
        raise UsageError(
            f"the mission {mission!r} has {len(words)} words: mission_words={length} is too few"
        )
    strange = [word for word in words if word not in WORDS]
    if strange:
        raise UsageError(
            f"the mission {mission!r} has the word {strange[0]!r}, which has no number: leave the "
            "mission out with mission_words=0"
        )
    numbers = np.zeros(length, np.int64)
    numbers[: len(words)] = [WORDS.index(word) + 1 for word in words]
    return numbers


def make_one(name: str, options: MiniGridOptions, render: bool) -> gym.Env[Any, Any]:
    """One environment, limited by its own number of steps where that is the same each time."""
    from minigrid import wrappers

    steps = options.max_episode_steps
    kwargs = {} if steps is None else {"max_steps": steps}
    plain = make_gym(name, render, None, kwargs).unwrapped
    match options.view:
        case "partial":
            env = plain
        case "full":
            env = wrappers.FullyObsWrapper(plain)
        case "partial-pixels":
            env = wrappers.RGBImgPartialObsWrapper(plain, options.tile_size)
        case "full-pixels":
            env = wrappers.RGBImgObsWrapper(plain, options.tile_size)
    # BabyAI draws the limit with the mission, and ends by it.
    largest = None if options.view.endswith("pixels") else _largest_symbol()
    return limited(NumbersOnly(env, options.mission_words, largest), plain.max_steps or None)


def _largest_symbol() -> int:
    """The largest number of an object, colour or state; MiniGrid's space says 255, as of pixels."""
    from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX

    # The state of the agent is where it looks.
    return max(*OBJECT_TO_IDX.values(), *COLOR_TO_IDX.values(), *STATE_TO_IDX.values(), 3)


def _make(name: str, num_envs: int, options: MiniGridOptions) -> Environment:
    def maker(render: bool) -> Callable[[], gym.Env[Any, Any]]:
        return functools.partial(make_one, name, options, render)

    return make_vector(f"minigrid/{name}", maker, num_envs, options)


def _registered() -> list[str]:
    importlib.import_module("minigrid")  # registers its environments with Gymnasium

    return newest_versions("minigrid.")


def _needs_more(name: str) -> bool:
    return "-WFC-" in name and importlib.util.find_spec("networkx") is None


def _names() -> tuple[str, ...]:
    return tuple(name for name in _registered() if not _needs_more(name))


def _lacking() -> Mapping[str, Sequence[str]]:
    lacking = tuple(name for name in _registered() if _needs_more(name))
    return {"networkx is not installed: pip install 'minigrid[wfc]'": lacking} if lacking else {}


ADAPTER = Adapter(
    name="minigrid",
    options=MiniGridOptions,
    make=_make,
    on_host=True,
    names=_names,
    lacking=_lacking,
    missing=lambda: is_missing("minigrid"),
    summary="grid worlds of MiniGrid and BabyAI, on the host",
    extra="minigrid",
)
