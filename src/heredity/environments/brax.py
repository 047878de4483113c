"""Brax environments without brax's own wrappers: nothing resets itself, both endings are kept."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from heredity.common.errors import UnknownNameError, UsageError
from heredity.common.recording import Scene
from heredity.environments.adapters import Adapter, is_missing
from heredity.environments.brax_api import BraxApiEnvironment, actuator_names, quietly
from heredity.environments.contract import Environment, Pose
from heredity.environments.mujoco_scene import scene_from_mujoco
from heredity.environments.options import Scalar
from heredity.environments.randomization import (
    MJX_FIELDS,
    Factors,
    Fields,
    Ranges,
    check_range,
)
from heredity.spaces import Box, Space

NAMES = (
    "ant",
    "fast",
    "halfcheetah",
    "hopper",
    "humanoid",
    "humanoidstandup",
    "inverted_double_pendulum",
    "inverted_pendulum",
    "pusher",
    "reacher",
    "swimmer",
    "walker2d",
)

# brax 0.14.2 calls jnp.clip with an argument that JAX 0.10 no longer has.
_OUTDATED = ("swimmer",)

# Environments that show joint positions, of which the first few are left out, then velocities.
_POSITIONS_LEFT_OUT = {
    "ant": 2,
    "halfcheetah": 1,
    "hopper": 1,
    "inverted_pendulum": 0,
    "swimmer": 2,
    "walker2d": 1,
}

# Physics of many small vectors, which a CPU computes two to four times as fast with the batch as
# the last axis of every array.
_BATCHED_LAST = ("generalized", "positional", "spring")

# Where nobody walks away there is nothing to follow with the camera.
_STANDS_STILL = ("inverted_pendulum", "inverted_double_pendulum", "pusher", "reacher")


@dataclasses.dataclass(frozen=True)
class BraxOptions:
    """Options of the brax environments."""

    backend: Literal["generalized", "positional", "spring", "mjx"] = "generalized"
    """Physics: generalized (brax's own default), positional, spring (faster, coarser) or mjx."""

    episode_length: int = 1000
    """Steps of the environment after which an episode is truncated (action repeats count)."""

    action_repeat: int = 1
    """Steps of the environment in each decision; their rewards are added."""

    env_kwargs: dict[str, Scalar] = dataclasses.field(default_factory=dict)
    """Keyword arguments of the environment's own constructor, such as ctrl_cost_weight."""

    randomize: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    """Factors on the physical model, drawn anew for each episode: a name (armature, damping,
    friction, gear, gravity, mass or stiffness), the smallest factor, the largest factor."""

    def __post_init__(self) -> None:
        for name, given in self.randomize.items():
            check_range(name, given)
        for name in ("episode_length", "action_repeat"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)}: a whole number >= 1 was expected")
        if "backend" in self.env_kwargs:
            raise UsageError("env_kwargs may not hold backend: it is an option of its own")


# What `randomize` multiplies in brax's own kinds of physics. Springs stand for joints in two of
# them, which have no damping, stiffness or armature of the joint's own.
_SPRING_FIELDS = {
    "friction": ("geom_friction",),
    "gear": ("actuator.gear",),
    "gravity": ("gravity",),
    "mass": ("link.inertia.mass", "link.inertia.i"),
}
_GENERALIZED_FIELDS = {
    **_SPRING_FIELDS,
    "armature": ("dof.armature",),
    "damping": ("dof.damping",),
    "stiffness": ("dof.stiffness",),
}


class BraxState(NamedTuple):
    """What goes from step to step.

    Args:
        brax: brax's own state.
        decisions: int32, taken in this episode.
        worlds: What was drawn of the model for this episode; () where nothing is.
    """

    brax: Any
    decisions: jax.Array
    worlds: tuple[dict[str, jax.Array], ...] = ()


class BraxEnvironment(BraxApiEnvironment):
    """One brax environment.

    Args:
        env: As `brax.envs.get_environment` gives it, unwrapped.
        name: Its name, for errors and column names.
        episode_length: Steps of the environment after which an episode is truncated.
        action_repeat: Steps of the environment for each decision.
        randomize: Ranges of factors on its model, drawn anew for each episode.

    Raises:
        UsageError: when its state changes shape from step to step, or when what is to be
            randomized is not there.
    """

    state_type = BraxState
    model_attribute = "sys"

    def __init__(
        self,
        env: Any,
        name: str,
        episode_length: int = 1000,
        action_repeat: int = 1,
        randomize: Ranges | None = None,
    ) -> None:
        self.name = name
        model = getattr(getattr(env, "sys", None), "mj_model", None)
        self._model = model
        # `fast`, brax's test environment, has no system and keeps its own time step.
        seconds = env.dt if model is not None else getattr(env, "_dt", self.step_seconds)
        # brax computes it in float32: 0.04 comes as 0.03999999910593033.
        self.step_seconds = round(float(seconds) * action_repeat, 6)
        names = actuator_names(model) if model is not None else ()
        size = int(env.action_size)
        self.action_space = Box((size,), -1.0, 1.0, names=names if len(names) == size else ())
        worlds = [_factors(randomize, env, name)] if randomize else []
        self.batches_last = model is not None and env.backend in _BATCHED_LAST
        super().__init__(env, f"brax/{name}", episode_length, action_repeat, worlds)

    def describe(self, template: Any) -> Space:
        space = super().describe(template)
        if self.name not in _POSITIONS_LEFT_OUT or self._model is None:
            return space
        columns = _columns(self._model, _POSITIONS_LEFT_OUT[self.name])
        if not isinstance(space, Box) or space.shape != (len(columns),):
            return space  # a keyword changed what is shown
        return dataclasses.replace(space, names=columns)

    def scene(self) -> Scene | None:
        if self._model is None:
            return None
        scene = scene_from_mujoco(self._model, self.step_seconds)
        still = self.name in _STANDS_STILL
        return dataclasses.replace(scene, tracked_body=-1) if still else scene

    def pose(self, state: BraxState) -> Pose | None:
        if self._model is None:
            return None
        # brax fuses bodies without joints before it compiles the model, so its link i is the
        # model's body i + 1: both lists have the same order.
        where = state.brax.pipeline_state.x
        # brax adds its reset noise to quaternions too and does not normalise them.
        length = jnp.linalg.norm(where.rot, axis=-1, keepdims=True)
        return Pose(where.pos, where.rot / length)


def _factors(ranges: Ranges, env: Any, name: str) -> Factors:
    """What is multiplied in the model of a brax environment."""
    model = getattr(env, "sys", None)
    if model is None:
        raise UsageError(f"brax/{name} has no physical model to randomize")
    if env.backend == "mjx":
        fields: Fields = MJX_FIELDS
    elif env.backend == "generalized":
        fields = _GENERALIZED_FIELDS
    else:
        fields = dict(_SPRING_FIELDS)
        if float(model.spring_mass_scale) == 1.0:  # every body weighs the same there
            del fields["mass"]
    return Factors(ranges, fields, model, f"brax/{name} with backend {env.backend}")


def _columns(model: Any, left_out: int) -> tuple[str, ...]:
    """Names of joint positions and velocities, in the order of the model."""
    positions: list[str] = []
    velocities: list[str] = []
    for index in range(model.njnt):
        joint = model.joint(index).name or f"joint_{index}"
        if model.jnt_type[index] == 0:
            positions += [f"{joint}.{part}" for part in ("x", "y", "z", "qw", "qx", "qy", "qz")]
            velocities += [f"{joint}.v{axis}" for axis in "xyz"]
            velocities += [f"{joint}.w{axis}" for axis in "xyz"]
        else:
            positions.append(f"{joint}.position")
            velocities.append(f"{joint}.velocity")
    return (*positions[left_out:], *velocities)


def _names() -> tuple[str, ...]:
    """brax's own environments, and those registered with brax once it is loaded."""
    loaded = sys.modules.get("brax.envs")
    known = NAMES if loaded is None else (*NAMES, *loaded._envs)
    return tuple(sorted({*known} - {*_OUTDATED}))


def _check_keywords(kind: type, name: str, given: Mapping[str, Any]) -> None:
    """brax constructors take any keyword and pass it on: say early which there are."""
    known = {
        parameter.name
        for base in kind.__mro__
        if "__init__" in vars(base)
        for parameter in inspect.signature(base.__init__).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    } - {"self", "sys", "backend"}
    for keyword in given:
        if keyword not in known:
            raise UnknownNameError(f"keyword of brax/{name}", keyword, known)


def _make(name: str, num_envs: int, options: BraxOptions) -> Environment:
    with quietly():
        import brax
        from brax import envs

        _check_keywords(envs._envs[name], name, options.env_kwargs)
        try:
            env = envs.get_environment(name, backend=options.backend, **options.env_kwargs)
            return BraxEnvironment(
                env, name, options.episode_length, options.action_repeat, options.randomize
            )
        except (ValueError, NotImplementedError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"brax/{name} with backend {options.backend}: {error}") from None
        except TypeError as error:
            # brax is no longer maintained: parts of it call JAX as it used to be.
            raise UsageError(
                f"brax/{name} cannot be run by brax {brax.__version__} with JAX "
                f"{jax.__version__}: {error}"
            ) from error


ADAPTER = Adapter(
    name="brax",
    options=BraxOptions,
    make=_make,
    on_host=False,
    names=_names,
    missing=lambda: is_missing("brax"),
    lacking=lambda: {"brax's own code needs an older JAX for": _OUTDATED},
    summary="brax: rigid bodies in JAX, four kinds of physics",
    extra="brax",
    default_num_envs=1024,
)
