"""The DeepMind Control Suite on MuJoCo itself (Tunyasuvunakool et al. 2020, arXiv 2006.12983)."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
import os
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from heredity.common.errors import HeredityError, UsageError
from heredity.environments.adapters import Adapter, is_missing
from heredity.environments.contract import Environment
from heredity.environments.gymnasium_vectors import make_vector
from heredity.environments.mujoco_setup import choose_opengl, has_screen, log_mujoco_warnings
from heredity.environments.vectors import VectorOptions, limited

PIXELS = "pixels"
PICTURE = (240, 320)  # what people are shown


@dataclasses.dataclass(frozen=True)
class DmControlOptions(VectorOptions):
    """Options of the control suite."""

    pixels: int = 0
    """Rows and columns of a camera's picture, shown as the entry named pixels; 0 for no picture."""

    camera: int = 0
    """Number of the camera in the model; -1 for the free camera."""

    only_pixels: bool = False
    """Leave everything but the picture out of the observation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pixels < 0:
            raise UsageError(f"pixels={self.pixels}: a number >= 0 was expected")
        if self.only_pixels and not self.pixels:
            raise UsageError("only_pixels leaves nothing to see: give pixels as well")


class ControlSuiteEnv(gym.Env[dict[str, np.ndarray], np.ndarray]):
    """A task of the suite as a Gymnasium environment; the seed of a reset decides its episode.

    Args:
        domain: Such as ``walker``.
        task: Such as ``walk``.
        options: Of the adapter.
        render_mode: ``rgb_array`` to draw pictures for people.

    Attributes:
        limit: After how many steps an episode is truncated; None for never.
        dt: Simulated seconds of a step.
    """

    def __init__(
        self, domain: str, task: str, options: DmControlOptions, render_mode: str | None = None
    ) -> None:
        # Some models are drawn when they are loaded: everybody gets the same one.
        settings: dict[str, Any] = {"random": 0}
        if options.max_episode_steps is not None:
            settings["time_limit"] = float("inf")
        self._env = _suite().load(domain, task, task_kwargs=settings)
        self._id, self._options = f"dm_control/{domain}-{task}", options
        self.metadata = {"render_modes": ["rgb_array"]}
        self.render_mode = render_mode
        self.dt = float(self._env.control_timestep())
        own = self._env._step_limit
        self.limit = options.max_episode_steps or (math.ceil(own) if math.isfinite(own) else None)
        spec = self._env.action_spec()
        self.action_space = gym.spaces.Box(
            spec.minimum.astype(np.float32), spec.maximum.astype(np.float32), spec.shape
        )
        self._names = [] if options.only_pixels else list(self._env.observation_spec())
        seen = self._env.observation_spec()
        spaces: dict[str, gym.Space[Any]] = {
            name: gym.spaces.Box(-np.inf, np.inf, seen[name].shape, np.float32)
            for name in self._names
        }
        if options.pixels:
            self._see_whether_it_draws()
            shape = (options.pixels, options.pixels, 3)
            spaces[PIXELS] = gym.spaces.Box(0, 255, shape, np.uint8)
        self.observation_space = gym.spaces.Dict(spaces)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        if seed is not None:
            self._env.task._random = np.random.RandomState(seed)
        return self._seen(self._env.reset()), {}

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """One step. The task itself has ended where the suite says that nothing follows.

        Raises:
            HeredityError: when the simulation does not bear the action.
        """
        try:
            moment = self._env.step(np.asarray(action, np.float64))
        except _suite().control.PhysicsError as error:
            raise HeredityError(
                f"{self._id}: {error}; actions up to {np.abs(action).max():.3g} were given"
            ) from error
        over = moment.last() and moment.discount == 0
        cut = moment.last() and not over
        return self._seen(moment), float(moment.reward), over, cut, {}

    def render(self) -> Any:
        """A picture of 240 x 320 pixels, from the camera of the options."""
        return self._env.physics.render(*PICTURE, camera_id=self._options.camera)

    def close(self) -> None:
        """Give back what draws."""
        self._env.close()

    def _seen(self, moment: Any) -> dict[str, np.ndarray]:
        seen = {name: np.asarray(moment.observation[name], np.float32) for name in self._names}
        if self._options.pixels:
            seen[PIXELS] = self._pixels()
        return seen

    def _pixels(self) -> np.ndarray:
        size = self._options.pixels
        return self._env.physics.render(size, size, camera_id=self._options.camera)

    def _see_whether_it_draws(self) -> None:
        try:
            self._env.reset()
            self._pixels()
        except Exception as error:  # it fails in any way it likes, see the reason
            raise UsageError(
                f"{self._id} cannot draw pixels here: {type(error).__name__}: {error}. Without a "
                "screen MuJoCo draws through EGL (of the graphics driver, or apt install libegl1) "
                "or OSMesa (apt install libosmesa6), as MUJOCO_GL says"
            ) from error


@functools.cache
def _suite() -> Any:
    """The suite, imported so that it works without being able to draw, and draws if it can."""
    choose_opengl()
    nothing_to_draw_with = not has_screen() and "MUJOCO_GL" not in os.environ
    if nothing_to_draw_with or not _draws():
        chosen = os.environ.get("MUJOCO_GL")
        os.environ["MUJOCO_GL"] = "off"
        try:
            importlib.import_module("dm_control._render")
        finally:
            if chosen is None:
                del os.environ["MUJOCO_GL"]
            else:
                os.environ["MUJOCO_GL"] = chosen
    suite = importlib.import_module("dm_control.suite")
    log_mujoco_warnings()
    return suite


def _draws() -> bool:
    """Whether what MUJOCO_GL names can be imported; without it dm_control cannot be either."""
    try:
        importlib.import_module("dm_control._render")
    except Exception:  # a missing library shows in any way it likes
        return False
    return True


def make_one(domain: str, task: str, options: DmControlOptions, render: bool) -> gym.Env[Any, Any]:
    """One environment with its time limit."""
    env = ControlSuiteEnv(domain, task, options, "rgb_array" if render else None)
    return limited(env, env.limit)


def _tasks() -> dict[str, tuple[str, str]]:
    return {f"{domain}-{task}": (domain, task) for domain, task in sorted(_suite().ALL_TASKS)}


def _make(name: str, num_envs: int, options: DmControlOptions) -> Environment:
    domain, task = _tasks()[name]

    def maker(render: bool) -> Callable[[], gym.Env[Any, Any]]:
        return functools.partial(make_one, domain, task, options, render)

    return make_vector(f"dm_control/{name}", maker, num_envs, options)


ADAPTER = Adapter(
    name="dm_control",
    options=DmControlOptions,
    make=_make,
    on_host=True,
    names=lambda: tuple(_tasks()),
    missing=lambda: is_missing("dm_control"),
    summary="the DeepMind Control Suite, on the host",
    extra="dm-control",
)
