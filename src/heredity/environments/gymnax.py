"""Gymnax environments by `step_env` and `reset_env`, which do not reset themselves.

Since 1.0 gymnax keeps apart what it used to mix: `step_env` says whether the task ended, and
`is_truncated` whether the time limit was reached.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from heredity.common.errors import UnknownNameError, UsageError
from heredity.common.recording import Scene
from heredity.environments.adapters import Adapter, is_missing
from heredity.environments.carry import conform, stable_template
from heredity.environments.classic_scenes import CLASSIC_SCENES
from heredity.environments.contract import Environment, JaxEnvironment, Pose, TimeStep
from heredity.spaces import Box, Dict, Discrete, Space

# All but MNISTBandit-bsuite, which downloads its data when it is made.
NAMES = (
    "Acrobot-v1",
    "Asterix-MinAtar",
    "BernoulliBandit-misc",
    "Breakout-MinAtar",
    "CartPole-v1",
    "Catch-bsuite",
    "DeepSea-bsuite",
    "DiscountingChain-bsuite",
    "FourRooms-misc",
    "Freeway-MinAtar",
    "FrozenLake-misc",
    "GaussianBandit-misc",
    "MemoryChain-bsuite",
    "MetaMaze-misc",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
    "Pendulum-v1",
    "PointRobot-misc",
    "Pong-misc",
    "Reacher-misc",
    "Seaquest-MinAtar",
    "SimpleBandit-bsuite",
    "SpaceInvaders-MinAtar",
    "Swimmer-misc",
    "UmbrellaChain-bsuite",
)

_COLUMNS = {
    "Acrobot-v1": ("cos_theta1", "sin_theta1", "cos_theta2", "sin_theta2", "omega1", "omega2"),
    "CartPole-v1": ("x", "x_velocity", "theta", "theta_velocity"),
    "MountainCar-v0": ("position", "velocity"),
    "MountainCarContinuous-v0": ("position", "velocity"),
    "Pendulum-v1": ("cos_theta", "sin_theta", "theta_velocity"),
}

# Where no parameter says how long a decision takes; pictures a second as in Gymnasium.
_STEP_SECONDS = {"MountainCar-v0": 1 / 30, "MountainCarContinuous-v0": 1 / 30}


@dataclasses.dataclass(frozen=True)
class GymnaxOptions:
    """Options of the gymnax environments."""

    max_episode_steps: int | None = None
    """Steps after which an episode is truncated; none for the environment's own limit."""

    params: dict[str, bool | int | float] = dataclasses.field(default_factory=dict)
    """Parameters of the environment that get other values than its own, such as force_mag."""

    def __post_init__(self) -> None:
        if self.max_episode_steps is not None and not 1 <= self.max_episode_steps < 2**31:
            raise UsageError(
                f"max_episode_steps={self.max_episode_steps}: a whole number from 1 to below 2**31 "
                "was expected"
            )
        if "max_steps_in_episode" in self.params:
            raise UsageError("params may not hold max_steps_in_episode: give max_episode_steps")


class GymnaxState(NamedTuple):
    """What goes from step to step.

    Args:
        gymnax: gymnax's own state.
        key: Random key of the episode; step t draws from it folded with t.
    """

    gymnax: Any
    key: jax.Array


class GymnaxEnvironment(JaxEnvironment):
    """One gymnax environment.

    Args:
        env: As `gymnax.make` gives it.
        params: Its parameters.
        name: Its name, for columns and scenes.
    """

    def __init__(self, env: Any, params: Any, name: str) -> None:
        self.env = env
        self.params = params
        self.name = name
        self.max_episode_steps = int(params.max_steps_in_episode)
        seconds = getattr(params, "tau", None) or getattr(params, "dt", None)
        self.step_seconds = float(seconds or _STEP_SECONDS.get(name, 0.1))
        self.action_space = _space(env.action_space(params), f"actions of gymnax/{name}")
        key = jax.eval_shape(lambda: jax.random.key(0))
        shown, _ = jax.eval_shape(lambda k: env.reset_env(k, params), key)
        self.observation_space = _space(
            env.observation_space(params), f"gymnax/{name}", shown, _COLUMNS.get(name, ())
        )
        action = self.action_space.sample(np.random.default_rng(0))
        self._template = stable_template(
            lambda: jax.eval_shape(lambda k: env.reset_env(k, params)[1], key),
            lambda state: jax.eval_shape(
                lambda k, s: env.step_env(k, s, jnp.asarray(action), params)[1], key, state
            ),
            f"gymnax/{name}",
        )
        self._classic = CLASSIC_SCENES.get(name)

    def reset(self, key: Any) -> tuple[GymnaxState, Any]:
        key, reset_key = jax.random.split(key)
        observation, inner = self.env.reset_env(reset_key, self.params)
        inner = conform(inner, self._template)
        return GymnaxState(inner, key), _observation(observation, self.observation_space)

    def step(self, state: GymnaxState, action: Any) -> tuple[GymnaxState, TimeStep]:
        # Folding instead of splitting: where an environment draws nothing, XLA drops it whole.
        key = jax.random.fold_in(state.key, state.gymnax.time)
        observation, inner, reward, over, _ = self.env.step_env(
            key, state.gymnax, action, self.params
        )
        inner = conform(inner, self._template)
        terminated = jnp.asarray(over, bool)
        truncated = jnp.asarray(self.env.is_truncated(inner, self.params), bool) & ~terminated
        seen = _observation(observation, self.observation_space)
        reward = jnp.asarray(reward, jnp.float32).reshape(())
        return GymnaxState(inner, state.key), TimeStep(seen, reward, terminated, truncated, {})

    def scene(self) -> Scene | None:
        if self._classic is None:
            return None
        return dataclasses.replace(self._classic.scene(), step_seconds=self.step_seconds)

    def pose(self, state: GymnaxState) -> Pose | None:
        return None if self._classic is None else self._classic.pose(state.gymnax)


def _observation(value: Any, space: Space) -> Any:
    """gymnax's observation in the dtypes of our space: its own do not always agree."""
    if isinstance(space, Dict):
        return {name: _observation(value[name], space[name]) for name in space}
    return jnp.asarray(value, jnp.float32 if isinstance(space, Box) else jnp.int32)


def _space(space: Any, owner: str, shown: Any = None, names: tuple[str, ...] = ()) -> Space:
    """Our space of a gymnax one; the shape of what is really shown wins over the declared one."""
    kind = type(space).__name__
    if kind == "Discrete":
        return Discrete(int(space.n))
    if kind == "Box":
        shape = tuple(space.shape) if shown is None else tuple(shown.shape)
        return Box(shape, _bound(space.low, shape), _bound(space.high, shape), names=names)
    if kind == "Dict" and (shown is None or isinstance(shown, Mapping)):
        parts = space.spaces.items()
        return Dict({k: _space(s, owner, None if shown is None else shown[k]) for k, s in parts})
    raise UsageError(f"{owner}: a gymnax space of kind {kind} has no counterpart here")


def _bound(value: Any, shape: tuple[int, ...]) -> Any:
    """gymnax writes the largest float where it means infinity."""
    bound = np.asarray(value, np.float32)
    bound = np.where(np.abs(bound) >= np.finfo(np.float32).max, np.copysign(np.inf, bound), bound)
    return float(bound) if bound.ndim == 0 else np.broadcast_to(bound, shape)


def _names() -> tuple[str, ...]:
    """gymnax's own environments, and those registered with gymnax once it is loaded."""
    loaded = sys.modules.get("gymnax.registration")
    more = () if loaded is None else loaded.registered_envs
    return tuple(sorted({*NAMES, *more} - {"MNISTBandit-bsuite"}))


def _make(name: str, num_envs: int, options: GymnaxOptions) -> Environment:
    import gymnax

    env, params = gymnax.make(name)
    known = {field.name: getattr(params, field.name) for field in dataclasses.fields(params)}
    known = {k: v for k, v in known.items() if isinstance(v, bool | int | float)}
    changes: dict[str, Any] = {}
    for key, value in options.params.items():
        if key not in known:
            raise UnknownNameError(
                f"parameter of gymnax/{name}", key, set(known) - {"max_steps_in_episode"}
            )
        # A float where a whole number counts things would change what is computed.
        if isinstance(known[key], int) and type(value) is not type(known[key]):
            raise UsageError(
                f"parameter {key}={value!r} of gymnax/{name}: "
                f"{type(known[key]).__name__} expected, such as {known[key]!r}"
            )
        changes[key] = float(value) if isinstance(known[key], float) else value
    if options.max_episode_steps is not None:
        changes["max_steps_in_episode"] = options.max_episode_steps
    return GymnaxEnvironment(env, params.replace(**changes), name)


ADAPTER = Adapter(
    name="gymnax",
    options=GymnaxOptions,
    make=_make,
    on_host=False,
    names=_names,
    missing=lambda: is_missing("gymnax"),
    summary="gymnax: classic control, MinAtar and bsuite in JAX",
    extra="gymnax",
    default_num_envs=64,
)
