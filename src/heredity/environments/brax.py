"""Brax environments without brax's own wrappers: nothing resets itself, both endings are kept."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from heredity.common.errors import UnknownNameError, UsageError
from heredity.common.recording import Scene
from heredity.environments.adapters import Adapter, is_missing
from heredity.environments.carry import conform, stable_template
from heredity.environments.contract import Environment, JaxEnvironment, Pose, TimeStep
from heredity.environments.mujoco_scene import scene_from_mujoco
from heredity.environments.options import Scalar
from heredity.spaces import Box, Dict, Space

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

# Where nobody walks away there is nothing to follow with the camera.
_STANDS_STILL = ("inverted_pendulum", "inverted_double_pendulum", "pusher", "reacher")


@dataclasses.dataclass(frozen=True)
class BraxOptions:
    """Options of the brax environments."""

    backend: Literal["generalized", "positional", "spring", "mjx"] = "generalized"
    """Physics: generalized (brax's own default), positional, spring (faster, coarser) or mjx."""

    episode_length: int = 1000
    """Truncate after so many steps of the environment (action repeats count)."""

    action_repeat: int = 1
    """Steps of the environment for each decision; their rewards are added."""

    env_kwargs: dict[str, Scalar] = dataclasses.field(default_factory=dict)
    """Keywords of the environment's own constructor, such as ctrl_cost_weight."""

    def __post_init__(self) -> None:
        for name in ("episode_length", "action_repeat"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)}: a whole number >= 1 was expected")
        if "backend" in self.env_kwargs:
            raise UsageError("env_kwargs may not hold backend: it is an option of its own")


class BraxState(NamedTuple):
    """What goes from step to step.

    Args:
        brax: brax's own state.
        decisions: int32, taken in this episode.
    """

    brax: Any
    decisions: jax.Array


class BraxEnvironment(JaxEnvironment):
    """One brax environment.

    Args:
        env: As `brax.envs.get_environment` gives it, unwrapped.
        name: Its name, for errors and column names.
        episode_length: Steps of the environment after which an episode is truncated.
        action_repeat: Steps of the environment for each decision.

    Raises:
        UsageError: when its state changes shape from step to step.
    """

    # A reset solves for a whole new pose: several steps' worth.
    reset_is_cheap = False

    def __init__(
        self, env: Any, name: str, episode_length: int = 1000, action_repeat: int = 1
    ) -> None:
        self.env = env
        self.name = name
        self.action_repeat = action_repeat
        self._limit = -(-episode_length // action_repeat)
        self.max_episode_steps = self._limit
        model = getattr(getattr(env, "sys", None), "mj_model", None)
        self._model = model
        # `fast`, brax's test environment, has no system and keeps its own time step.
        seconds = env.dt if model is not None else getattr(env, "_dt", self.step_seconds)
        # brax computes it in float32: 0.04 comes as 0.03999999910593033.
        self.step_seconds = round(float(seconds) * action_repeat, 6)
        self.action_space = Box((int(env.action_size),), -1.0, 1.0, names=_actuators(env, model))
        key = jax.eval_shape(lambda: jax.random.key(0))
        action = jax.ShapeDtypeStruct((int(env.action_size),), jnp.float32)
        self._template = stable_template(
            lambda: jax.eval_shape(env.reset, key),
            lambda state: jax.eval_shape(lambda s, a: env.step(_owned(s), a), state, action),
            f"brax/{name}",
        )
        self.observation_space = _observation_space(self._template.obs, name, model)

    def reset(self, key: Any) -> tuple[BraxState, Any]:
        state = conform(self.env.reset(key), self._template)
        return BraxState(state, jnp.zeros((), jnp.int32)), _observation(state.obs)

    def step(self, state: BraxState, action: Any) -> tuple[BraxState, TimeStep]:
        inner, reward = self._advance(state.brax, action)
        decisions = state.decisions + 1
        terminated = inner.done > 0.5
        truncated = (decisions >= self._limit) & ~terminated
        info = {name: value for name, value in inner.metrics.items() if jnp.ndim(value) == 0}
        step = TimeStep(_observation(inner.obs), reward, terminated, truncated, info)
        return BraxState(inner, decisions), step

    def _advance(self, state: Any, action: Any) -> tuple[Any, jax.Array]:
        """`action_repeat` steps of brax, or fewer when the episode ends between them."""
        after = conform(self.env.step(_owned(state), action), self._template)
        if self.action_repeat == 1:
            return after, after.reward

        def again(carry: Any, _: None) -> tuple[Any, None]:
            current, total = carry
            following = conform(self.env.step(_owned(current), action), self._template)
            over = current.done > 0.5
            kept = jax.tree.map(lambda a, b: jnp.where(over, a, b), current, following)
            return (kept, total + jnp.where(over, 0.0, following.reward)), None

        repeats = self.action_repeat - 1
        (after, reward), _ = jax.lax.scan(again, (after, after.reward), None, repeats)
        return after, reward

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


def _owned(state: Any) -> Any:
    """The state with dicts of its own, because brax's `step` writes into those it is given."""
    return state.replace(metrics=dict(state.metrics), info=dict(state.info))


def _key(name: str) -> str:
    """Observation names of ours hold no slash: it separates parts of paths."""
    return name.replace("/", ".")


def _observation(value: Any) -> Any:
    """brax's observation in our names and in float32."""
    if isinstance(value, Mapping):
        return {_key(name): jnp.asarray(part, jnp.float32) for name, part in value.items()}
    return jnp.asarray(value, jnp.float32)


def _observation_space(template: Any, name: str, model: Any) -> Space:
    if isinstance(template, Mapping):
        return Dict({_key(key): Box(part.shape) for key, part in template.items()})
    columns: tuple[str, ...] = ()
    if name in _POSITIONS_LEFT_OUT and model is not None and len(template.shape) == 1:
        columns = _columns(model, _POSITIONS_LEFT_OUT[name])
        if len(columns) != template.shape[0]:  # a keyword changed what is shown
            columns = ()
    return Box(template.shape, names=columns)


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


def _actuators(env: Any, model: Any) -> tuple[str, ...]:
    if model is None or model.nu != env.action_size:
        return ()
    names = []
    for index in range(model.nu):
        joint = model.joint(int(model.actuator_trnid[index, 0])).name
        names.append(model.actuator(index).name or joint or f"actuator_{index}")
    return tuple(names) if len(set(names)) == len(names) else ()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep back what brax and MuJoCo say about themselves on every start; let the rest through."""
    heard = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(heard):
            # brax tells at each load that it is unmaintained, and calls what numpy deprecates.
            warnings.filterwarnings("ignore", message="Brax System, piplines and environments")
            warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"brax|mujoco")
            with _models_quietly():
                yield
    finally:
        for line in heard.getvalue().splitlines():
            if not line.startswith(("Failed to import warp", "Failed to import mujoco_warp")):
                print(line)


@contextlib.contextmanager
def _models_quietly() -> Iterator[None]:
    """Keep back MuJoCo's word on an attribute in brax's own files, which nobody here can change."""
    import mujoco

    before: Any = mujoco.get_mju_user_warning()

    def hear(message: str) -> None:
        if "'settotalmass' is deprecated" not in message:
            warnings.warn(message, RuntimeWarning, stacklevel=2)

    mujoco.set_mju_user_warning(hear)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


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
    with _quietly():
        import brax
        from brax import envs

        _check_keywords(envs._envs[name], name, options.env_kwargs)
        try:
            env = envs.get_environment(name, backend=options.backend, **options.env_kwargs)
            return BraxEnvironment(env, name, options.episode_length, options.action_repeat)
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
    names=_names,
    missing=lambda: is_missing("brax"),
    lacking=lambda: {"brax's own code needs an older JAX for": _OUTDATED},
    summary="brax: rigid bodies in JAX, four kinds of physics",
    extra="brax",
    default_num_envs=1024,
)
