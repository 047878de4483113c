"""EnvPool: environments written in C++, stepped by a pool of threads.

EnvPool begins the next episode by itself, with the step after the last one. The runner's resets
come before that step, so what it does by itself never happens, and the last observation is seen.
"""

from __future__ import annotations

import abc
import ctypes.util
import dataclasses
import functools
import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from heredity.common.errors import UnknownNameError, UsageError
from heredity.environments.adapters import Adapter, is_missing
from heredity.environments.contract import Environment, HostEnvironment, TimeStep
from heredity.environments.envpool_observations import joined, placed, read, shown_space
from heredity.environments.options import Scalar
from heredity.environments.vectors import check_positive
from heredity.spaces import from_gymnasium

log = logging.getLogger("heredity")

UNSEEDED = (
    "the episodes of an EnvPool cannot be led back to; with the option seeding=episode they can"
)
_RESERVED = {
    "base_path",
    "batch_size",
    "env_seed",
    "gym_reset_return_info",
    "max_episode_steps",
    "max_num_players",
    "num_envs",
    "num_threads",
    "reward_threshold",
    "seed",
    "thread_affinity_offset",
}
# What EnvPool tells of its own doings, beside what the environment tells.
_ITS_OWN = {"TimeLimit.truncated", "elapsed_step", "env_id", "terminated"}
_FOR_LEARNING = {"episodic_life", "reward_clip"}  # settings of games, off unless asked for
_UNLIMITED = 2**30  # EnvPool's way to say never


@dataclasses.dataclass(frozen=True)
class EnvPoolOptions:
    """Options of EnvPool."""

    seeding: Literal["pool", "episode"] = "pool"
    """pool: one pool for all environments, fastest, but a run cannot be resumed exactly; episode: a
    pool for each environment, made anew for each of its episodes, and a run can."""

    num_threads: int = 0
    """Threads of the pool; 0 for as many as there are cores."""

    render: bool = False
    """Make environment 0 able to draw pictures of itself; environments on MuJoCo cannot."""

    max_episode_steps: int | None = None
    """Steps after which an episode is truncated; none for the environment's own limit."""

    env_kwargs: dict[str, Scalar] = dataclasses.field(default_factory=dict)
    """Settings of EnvPool for this environment, such as frame_skip or stack_num."""

    def __post_init__(self) -> None:
        if self.max_episode_steps is not None:
            check_positive("max_episode_steps", self.max_episode_steps)
        if self.num_threads < 0:
            raise UsageError(f"num_threads={self.num_threads}: a whole number >= 0 was expected")
        taken = sorted(_RESERVED & set(self.env_kwargs))
        if taken:
            raise UsageError(f"env_kwargs may not hold {', '.join(taken)}: they are set here")


class EnvPoolEnvironment(HostEnvironment):
    """What both ways of seeding share.

    Args:
        make_pool: Makes a pool of environments with these seeds.
        spec: EnvPool's description of the environment.
        num_envs: How many.
        draws: Whether environment 0 draws.
    """

    def __init__(
        self, make_pool: Callable[[list[int]], Any], spec: Any, num_envs: int, draws: bool
    ) -> None:
        self.num_envs = num_envs
        with _quiet():
            self._space = spec.observation_space
            self.observation_space = shown_space(self._space)
            self.action_space = from_gymnasium(spec.action_space)
        steps = spec.config.max_episode_steps
        self.max_episode_steps = int(steps) if 0 < steps < _UNLIMITED else None
        self._make_pool = make_pool
        self._draws = draws
        self._observation: Any = None
        self._names: list[str] | None = None

    def reset(self, seeds: np.ndarray, mask: np.ndarray) -> Any:
        chosen = np.flatnonzero(mask)
        if len(chosen):
            begun = self._begin(np.asarray(seeds), chosen)
            if len(chosen) == self.num_envs:
                self._observation = begun
            else:
                self._observation = placed(self._observation, chosen, begun)
        return self._observation

    @abc.abstractmethod
    def _begin(self, seeds: np.ndarray, chosen: np.ndarray) -> Any:
        """Begin episodes in the chosen environments; their observations."""

    def _timestep(
        self,
        observation: Any,
        reward: Any,
        terminated: np.ndarray,
        truncated: np.ndarray,
        info: Mapping[str, np.ndarray],
    ) -> TimeStep:
        self._observation = read(self._space, observation)
        reward = np.array(reward, np.float32)
        # Copies: EnvPool hands out its own memory.
        over, cut = np.array(terminated, bool), np.array(truncated, bool)
        told = {name: np.array(info[name]) for name in self._told(info)}
        return TimeStep(self._observation, reward, over, cut & ~over, told)

    def _told(self, info: Mapping[str, np.ndarray]) -> list[str]:
        """Names of what is one number for each environment; the same at each step."""
        if self._names is None:
            self._names = [
                name
                for name, value in info.items()
                if name not in _ITS_OWN
                and isinstance(value, np.ndarray)
                and value.ndim == 1
                and value.dtype.kind in "biuf"
            ]
        return self._names


class SharedPool(EnvPoolEnvironment):
    """One pool for all environments, whose episodes do not follow from their seeds.

    The seeds of the first reset are those of the pool. It is made anew where all environments
    begin and not because all have ended, so that an evaluation begins with the same episodes
    however often it is repeated.
    """

    unseeded = UNSEEDED

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._pool: Any = None
        self._ended = np.zeros(self.num_envs, bool)
        self._first: list[int] = []

    def _begin(self, seeds: np.ndarray, chosen: np.ndarray) -> Any:
        if len(chosen) == self.num_envs:
            first = seeds.tolist()
            if self._pool is None or not self._ended.all() or first == self._first:
                self.close()
                self._pool, self._first = self._make_pool(first), first
        elif self._pool is None:
            raise UsageError("the first reset has to begin an episode in every environment")
        self._ended[chosen] = False
        observation, info = self._pool.reset(chosen.astype(np.int32))
        if not np.array_equal(info["env_id"], chosen):
            raise RuntimeError(f"EnvPool reset {info['env_id']} instead of {chosen}")
        return read(self._space, observation)

    def step(self, actions: np.ndarray) -> TimeStep:
        result = self._timestep(*self._pool.step(np.asarray(actions)))
        self._ended = result.terminated | result.truncated
        return result

    def render(self) -> np.ndarray | None:
        return np.array(self._pool.render()[0]) if self._draws else None

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None


class SeparatePools(EnvPoolEnvironment):
    """A pool for each environment, made anew for each episode with its seed."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._pools: list[Any] = [None] * self.num_envs

    def _begin(self, seeds: np.ndarray, chosen: np.ndarray) -> Any:
        begun = []
        for index in chosen.tolist():
            if self._pools[index] is not None:
                self._pools[index].close()
            self._pools[index] = self._make_pool([int(seeds[index])])
            begun.append(self._pools[index].reset()[0])
        return read(self._space, joined(begun))

    def step(self, actions: np.ndarray) -> TimeStep:
        actions = np.asarray(actions)
        # All are told before any is waited for: each has a thread of its own.
        for index, pool in enumerate(self._pools):
            pool.send(actions[index : index + 1])
        each = [pool.recv() for pool in self._pools]
        observations, rewards, terminated, truncated, infos = zip(*each, strict=True)
        told = {name: np.concatenate([i[name] for i in infos]) for name in self._told(infos[0])}
        return self._timestep(
            joined(observations),
            np.concatenate(rewards),
            np.concatenate(terminated),
            np.concatenate(truncated),
            told,
        )

    def render(self) -> np.ndarray | None:
        return np.array(self._pools[0].render()[0]) if self._draws else None

    def close(self) -> None:
        for pool in self._pools:
            if pool is not None:
                pool.close()
        self._pools = [None] * self.num_envs


def _quiet() -> warnings.catch_warnings:
    """Where spaces are made: Gymnasium warns that bounds in float64 become float32."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)


def _make(name: str, num_envs: int, options: EnvPoolOptions) -> Environment:
    id = f"envpool/{name}"
    settings = dict(options.env_kwargs)
    if options.max_episode_steps is not None:
        settings["max_episode_steps"] = options.max_episode_steps
    spec = _spec(id, name, settings)
    if spec.config.max_num_players != 1:
        raise UsageError(f"{id} is a game for several players, which cannot be trained here")
    with _quiet():
        if not isinstance(spec.action_space, gym.spaces.Box | gym.spaces.Discrete):
            raise UsageError(f"{id} takes actions {spec.action_space}, which cannot be given here")

    separate = options.seeding == "episode"
    settings["num_threads"] = 1 if separate else options.num_threads

    draws = options.render
    if draws:
        problem = _why_it_cannot_draw(name, settings)
        if problem:
            draws = False
            log.warning(
                "%s cannot be drawn here, snapshots will show observations only: %s", id, problem
            )
    kind = SeparatePools if separate else SharedPool
    return kind(functools.partial(_make_pool, name, settings, draws), spec, num_envs, draws)


def _make_pool(name: str, settings: Mapping[str, Any], draws: bool, seeds: list[int]) -> Any:
    drawing = {"render_mode": "rgb_array"} if draws else {}
    with _quiet():
        pool = _library().make_gymnasium(
            name, num_envs=len(seeds), seed=seeds, **settings, **drawing
        )
        _ = pool.observation_space  # made when it is first asked for, with the warnings
    return pool


def _spec(id: str, name: str, settings: Mapping[str, Any]) -> Any:
    """EnvPool's description; it also says whether the settings are right."""
    try:
        known = set(_library().make_spec(name).config._fields) - _RESERVED
    except Exception as error:  # missing libraries and files, told in many ways
        raise UsageError(f"{id} cannot be made here: {type(error).__name__}: {error}") from error
    for setting in settings:
        if setting != "max_episode_steps" and setting not in known:
            raise UnknownNameError(f"setting of {id} in env_kwargs", setting, sorted(known))
    try:
        return _library().make_spec(name, **settings)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(f"{id} did not take env_kwargs={dict(settings)}: {error}") from error


def _why_it_cannot_draw(name: str, settings: Mapping[str, Any]) -> str:
    """Try it on a pool that is thrown away; empty when there is a picture."""
    module = _library().registration.registry.specs[name][0]
    if module.startswith("envpool.mujoco."):
        return "MuJoCo inside EnvPool ends the whole process where it finds no OpenGL"
    try:
        pool = _make_pool(name, settings, True, [0])
        try:
            pool.reset()
            pool.render()
        finally:
            pool.close()
    except Exception as error:  # it fails in any way it likes
        return f"{type(error).__name__}: {error}"
    return ""


def _library() -> Any:
    import envpool

    return envpool


@functools.cache
def _by_need() -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """What can be made here, and the others by what they need."""
    registered = _library().registration.registry.specs
    games = {name for name, (module, *_) in registered.items() if module == "envpool.procgen"}
    if ctypes.util.find_library("Qt5Gui"):
        games = set()
    lacking = {
        "Procgen's games need Qt 5: apt install libqt5gui5": tuple(sorted(games)),
    }
    return tuple(sorted(set(registered) - games)), lacking if games else {}


def _evaluation(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Whole games of Atari, and their own rewards."""
    given = options.get("env_kwargs", {})
    return {"env_kwargs": {n: v for n, v in given.items() if n not in _FOR_LEARNING}}


ADAPTER = Adapter(
    name="envpool",
    options=EnvPoolOptions,
    make=_make,
    on_host=True,
    names=lambda: _by_need()[0],
    lacking=lambda: _by_need()[1],
    missing=lambda: is_missing("envpool"),
    summary="environments in C++ on threads of their own, on the host",
    extra="envpool",
    evaluation=_evaluation,
    default_num_envs=8,
)
