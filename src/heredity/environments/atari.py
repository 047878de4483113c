"""Atari 2600 games through the Arcade Learning Environment, as Machado et al. (2018) ask for them.

Emulator state, sticky actions and no-ops are handled here, so that an episode follows from the
seed of its reset alone: the emulator's own seed takes effect only when a game is loaded, which
takes more than a hundred milliseconds.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from heredity.common.errors import UsageError
from heredity.environments.adapters import Adapter, is_missing
from heredity.environments.contract import Environment
from heredity.environments.gymnasium_vectors import make_vector
from heredity.environments.images import resize_area
from heredity.environments.vectors import VectorOptions, check_positive, limited

MAX_FRAMES = 108_000  # half an hour of play at 60 frames a second
FRAMES_PER_SECOND = 60

_FOR_TWO = {"combat", "joust", "maze_craze", "warlords"}
_SAME_GAME = "with terminal_on_life_loss an episode goes on in the game of the one before"


@dataclasses.dataclass(frozen=True)
class AtariOptions(VectorOptions):
    """Options of the Atari games."""

    frame_skip: int = 4
    """Frames that an action is held for; seen is the brighter of the last two, pixel by pixel."""

    sticky_actions: float = 0.25
    """Probability that a frame repeats the action before; 0 for a game without chance."""

    noop_max: int = 30
    """An episode begins after 1 to this many frames without an action; 0 for none."""

    terminal_on_life_loss: bool = False
    """End an episode with each life, in training; evaluations play whole games. Such a run cannot
    be resumed exactly."""

    full_action_space: bool = False
    """All 18 actions, instead of those that do something in the game."""

    grayscale: bool = True
    """Shades of grey instead of colours."""

    resolution: int | None = 84
    """Rows and columns of the picture, whose pixels are means of what they cover; none for the size
    of the screen."""

    mode: int | None = None
    """Variant of the game; none for its usual one."""

    difficulty: int | None = None
    """Difficulty of the game; none for its usual one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("frame_skip", self.frame_skip)
        if self.resolution is not None:
            check_positive("resolution", self.resolution)
        if not 0 <= self.sticky_actions < 1:
            raise UsageError(f"sticky_actions={self.sticky_actions}: 0 <= p < 1 was expected")
        if self.noop_max < 0:
            raise UsageError(f"noop_max={self.noop_max}: a whole number >= 0 was expected")


class AtariEnv(gym.Env[np.ndarray, Any]):
    """One game as a Gymnasium environment.

    Args:
        rom: Name of the game in the emulator, such as ``ms_pacman``.
        options: Of the adapter.
        render_mode: ``rgb_array`` to show people the screen in colours.
    """

    def __init__(self, rom: str, options: AtariOptions, render_mode: str | None = None) -> None:
        import ale_py
        from ale_py import roms

        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self._ale = ale_py.ALEInterface()
        self._ale.setFloat("repeat_action_probability", 0.0)
        self._ale.setInt("random_seed", 0)
        self._ale.loadROM(str(roms.get_rom_path(rom)))
        self._options = options
        self._choose_variant()
        self._ale.reset_game()
        self._beginning = self._ale.cloneState()
        self._actions = (
            self._ale.getLegalActionSet()
            if options.full_action_space
            else self._ale.getMinimalActionSet()
        )
        self.action_space = gym.spaces.Discrete(len(self._actions))
        channels = () if options.grayscale else (3,)
        self._screens = np.zeros((2, *self._ale.getScreenDims(), *channels), np.uint8)
        self._read = self._ale.getScreenGrayscale if options.grayscale else self._ale.getScreenRGB
        height, width = self._ale.getScreenDims()
        self._size = (options.resolution or height, options.resolution or width)
        shape = (*self._size, 1 if options.grayscale else 3)
        self.observation_space = gym.spaces.Box(0, 255, shape, np.uint8)
        rate = FRAMES_PER_SECOND / options.frame_skip
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": rate}
        self.render_mode = render_mode
        self._noop = ale_py.Action.NOOP
        self._held: Any = self._noop
        self._lives = 0
        self._game_goes_on = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode: a new game, or the next life of the running one."""
        super().reset(seed=seed)
        self._held = self._noop
        if self._game_goes_on:
            self._ale.act(self._noop)
        else:
            self._begin()
            self._wait()
        self._game_goes_on = False
        self._lives = self._ale.lives()
        self._read(self._screens[0])
        self._screens[1] = self._screens[0]
        return self._seen(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Hold an action for some frames, or until the game is over."""
        skip, sticky = self._options.frame_skip, self._options.sticky_actions
        wanted = self._actions[int(action)]
        chances = self.np_random.random(skip).tolist() if sticky else None
        reward, over = 0.0, False
        for frame in range(skip):
            if chances is None or chances[frame] >= sticky:
                self._held = wanted
            reward += self._ale.act(self._held)
            over = self._ale.game_over()
            if over or frame >= skip - 2:
                self._screens[0] = self._screens[1]
                self._read(self._screens[1])
            if over:
                break
        if over or skip == 1:
            self._screens[0] = self._screens[1]
        lives = self._ale.lives()
        lost, self._lives = lives < self._lives, lives
        self._game_goes_on = self._options.terminal_on_life_loss and lost and not over
        return self._seen(), float(reward), over or self._game_goes_on, False, {}

    def render(self) -> Any:
        """The screen in colours, (210, 160, 3) with most games."""
        return self._ale.getScreenRGB()

    def _begin(self) -> None:
        """A new game, always the same one.

        A reset leaves what was in memory in some games (HauntedHouse), and the state that can be
        restored lacks something in others (Amidar); both together leave nothing.
        """
        self._ale.reset_game()
        self._ale.restoreState(self._beginning)

    def _wait(self) -> None:
        if self._options.noop_max:
            for _ in range(int(self.np_random.integers(1, self._options.noop_max + 1))):
                self._ale.act(self._noop)
                if self._ale.game_over():
                    self._begin()

    def _seen(self) -> np.ndarray:
        picture = np.maximum(self._screens[0], self._screens[1])
        if self._options.grayscale:
            picture = picture[..., None]
        return resize_area(picture, self._size)

    def _choose_variant(self) -> None:
        for name, wanted, known, choose in (
            ("mode", self._options.mode, self._ale.getAvailableModes, self._ale.setMode),
            (
                "difficulty",
                self._options.difficulty,
                self._ale.getAvailableDifficulties,
                self._ale.setDifficulty,
            ),
        ):
            if wanted is None:
                continue
            if wanted not in known():
                told = ", ".join(str(number) for number in known())
                raise UsageError(f"{name}={wanted}: this game has {told}")
            choose(wanted)


def make_one(rom: str, options: AtariOptions, render: bool) -> gym.Env[Any, Any]:
    """One game with its time limit."""
    steps = options.max_episode_steps or max(1, MAX_FRAMES // options.frame_skip)
    return limited(AtariEnv(rom, options, "rgb_array" if render else None), steps)


@functools.cache
def _games() -> dict[str, str]:
    """Games for one player: the name that people know, and the emulator's."""
    from ale_py import roms

    ids = sorted(set(roms.get_all_rom_ids()) - _FOR_TWO)
    return {rom.title().replace("_", ""): rom for rom in ids}


def _make(name: str, num_envs: int, options: AtariOptions) -> Environment:
    def maker(render: bool) -> Callable[[], gym.Env[Any, Any]]:
        return functools.partial(make_one, _games()[name], options, render)

    env = make_vector(f"atari/{name}", maker, num_envs, options)
    if options.terminal_on_life_loss:
        env.unseeded = _SAME_GAME
    return env


ADAPTER = Adapter(
    name="atari",
    options=AtariOptions,
    make=_make,
    on_host=True,
    names=lambda: tuple(_games()),
    missing=lambda: is_missing("ale_py"),
    summary="Atari 2600 games of the Arcade Learning Environment, on the host",
    extra="atari",
    evaluation=lambda options: {"terminal_on_life_loss": False},
)
