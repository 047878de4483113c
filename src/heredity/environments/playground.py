"""MuJoCo Playground's environments: the dm_control suite, and robots that walk and grasp.

Playground's configurations say Warp since 0.2; here MJX in JAX is run, on every machine. Warp keeps
contacts in arrays that all worlds of a batch share, and so a world cannot begin anew by itself.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from heredity.common.errors import UnknownNameError, UsageError
from heredity.common.recording import Scene
from heredity.environments.adapters import Adapter, is_missing
from heredity.environments.brax_api import BraxApiEnvironment, actuator_names, quietly
from heredity.environments.contract import Environment, Pose, TimeStep
from heredity.environments.mujoco_scene import scene_from_mujoco
from heredity.environments.options import Scalar
from heredity.environments.randomization import (
    MJX_FIELDS,
    Factors,
    Worlds,
    check_range,
)
from heredity.spaces import Box, Dict

DM_CONTROL = (
    "AcrobotSwingup",
    "AcrobotSwingupSparse",
    "BallInCup",
    "CartpoleBalance",
    "CartpoleBalanceSparse",
    "CartpoleSwingup",
    "CartpoleSwingupSparse",
    "CheetahRun",
    "FingerSpin",
    "FingerTurnEasy",
    "FingerTurnHard",
    "FishSwim",
    "HopperHop",
    "HopperStand",
    "HumanoidRun",
    "HumanoidStand",
    "HumanoidWalk",
    "PendulumSwingup",
    "PointMass",
    "ReacherEasy",
    "ReacherHard",
    "SwimmerSwimmer6",
    "WalkerRun",
    "WalkerStand",
    "WalkerWalk",
)
"""These come with Playground."""

ROBOTS = (
    "AeroCubeRotateZAxis",
    "AlohaHandOver",
    "AlohaSinglePegInsertion",
    "ApolloJoystickFlatTerrain",
    "BarkourJoystick",
    "BerkeleyHumanoidJoystickFlatTerrain",
    "BerkeleyHumanoidJoystickRoughTerrain",
    "G1JoystickFlatTerrain",
    "G1JoystickRoughTerrain",
    "Go1Footstand",
    "Go1Getup",
    "Go1Handstand",
    "Go1JoystickFlatTerrain",
    "Go1JoystickRoughTerrain",
    "H1InplaceGaitTracking",
    "H1JoystickGaitTracking",
    "LeapCubeReorient",
    "LeapCubeRotateZAxis",
    "Op3Joystick",
    "PandaOpenCabinet",
    "PandaPickCube",
    "PandaPickCubeCartesian",
    "PandaPickCubeOrientation",
    "PandaRobotiqPushCube",
    "SpotFlatTerrainJoystick",
    "SpotGetup",
    "SpotJoystickGaitTracking",
    "T1JoystickFlatTerrain",
    "T1JoystickRoughTerrain",
)
"""The models of these robots are not part of Playground."""

# Playground 0.2.0 calls MjSpec.find_body, which MuJoCo 3.17 no longer has.
_OUTDATED = ("ReacherEasy", "ReacherHard")

_MENAGERIE = (
    "MuJoCo Menagerie has to be downloaded once, by git and several hundred MB: "
    "python -c 'from mujoco_playground._src.mjx_env import ensure_menagerie_exists as get; get()'"
)

# Set by options of their own.
_OURS = ("action_repeat", "episode_length", "impl")


@dataclasses.dataclass(frozen=True)
class PlaygroundOptions:
    """Options of the MuJoCo Playground environments."""

    impl: Literal["jax"] = "jax"
    """Physics: jax (MJX, on every machine), the only one. Warp cannot be used: its worlds share
    arrays, so that none of them can be reset alone."""

    episode_length: int | None = None
    """Steps of the environment after which an episode is truncated (action repeats count); none for
    the environment's own limit."""

    action_repeat: int | None = None
    """Steps of the environment in each decision, their rewards added; none for the environment's
    own number."""

    config_overrides: dict[str, Scalar] = dataclasses.field(default_factory=dict)
    """Values of the environment's configuration that are to be others, by path, such as sim_dt or
    reward_config.scales.tracking_lin_vel."""

    randomize: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    """Factors on the physical model, drawn anew for each episode: a name (armature, damping,
    friction, gear, gravity, mass or stiffness), the smallest factor, the largest factor."""

    own_randomizer: bool = False
    """Use Playground's own randomizer of this environment, where it has one; drawn anew for each
    episode."""

    def __post_init__(self) -> None:
        for name in ("episode_length", "action_repeat"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name}={value}: a whole number >= 1 was expected")
        for name, given in self.randomize.items():
            check_range(name, given)
        taken = [name for name in _OURS if name in self.config_overrides]
        if taken:
            raise UsageError(
                f"config_overrides may not hold {', '.join(taken)}: give it as an option of its own"
            )


class PlaygroundState(NamedTuple):
    """What goes from step to step.

    Args:
        playground: Playground's own state.
        decisions: int32, taken in this episode.
        worlds: What was drawn of the model for this episode; () where nothing is.
    """

    playground: Any
    decisions: jax.Array
    worlds: tuple[dict[str, jax.Array], ...] = ()


class PlaygroundEnvironment(BraxApiEnvironment):
    """One environment of MuJoCo Playground.

    Physics that broke down (something seen or earned is not a finite number) ends the episode:
    terminated, with a reward of 0 and zeros where nothing finite is left. One broken world then
    costs its own episode and not the whole run.

    Args:
        env: As Playground's registry gives it, unwrapped.
        name: Its name, for errors.
        episode_length: Steps of the environment after which an episode is truncated.
        action_repeat: Steps of the environment for each decision.
        worlds: What of its model is drawn anew for each episode.

    Raises:
        UsageError: when its state changes shape from step to step.
    """

    state_type = PlaygroundState
    model_attribute = "_mjx_model"

    def __init__(
        self,
        env: Any,
        name: str,
        episode_length: int,
        action_repeat: int = 1,
        worlds: Sequence[Worlds] = (),
    ) -> None:
        self._model = env.mj_model
        self.step_seconds = round(float(env.dt) * action_repeat, 6)
        size, names = int(env.action_size), actuator_names(env.mj_model)
        self.action_space = Box((size,), -1.0, 1.0, names=names if len(names) == size else ())
        super().__init__(env, f"playground/{name}", episode_length, action_repeat, worlds)
        space = self.observation_space
        if isinstance(space, Dict) and {"state", "privileged_state"} <= dict(space.entries).keys():
            # No robot can measure the other one; Playground's own training does the same.
            self.actor_reads = ("state",)

    def step(self, state: PlaygroundState, action: Any) -> tuple[PlaygroundState, TimeStep]:
        state, result = super().step(state, action)
        told = (result.observation, result.reward)
        finite = jnp.stack([jnp.isfinite(part).all() for part in jax.tree.leaves(told)]).all()

        def mended(part: jax.Array) -> jax.Array:
            return jnp.where(finite | jnp.isfinite(part), part, 0)

        return state, TimeStep(
            observation=jax.tree.map(mended, result.observation),
            reward=jnp.where(finite, result.reward, 0),
            terminated=result.terminated | ~finite,
            truncated=result.truncated & finite,
            info={name: mended(value) for name, value in result.info.items()},
        )

    def scene(self) -> Scene | None:
        return scene_from_mujoco(self._model, self.step_seconds)

    def pose(self, state: PlaygroundState) -> Pose | None:
        from mujoco import mjx

        # MJX computes places first and integrates last: they are a step behind the joints.
        data = mjx.kinematics(self.env.mjx_model, state.playground.data)
        return Pose(data.xpos[1:], data.xquat[1:])


class OwnRandomizer:
    """What Playground has registered to be drawn of an environment's model.

    Args:
        randomizer: Takes a model and keys, shape (worlds,); gives a model with an axis more where
            something was drawn, and which of its fields those are.
        model: The environment's.
    """

    def __init__(self, randomizer: Any, model: Any) -> None:
        self._randomizer = randomizer
        self._model = model
        _, axes = randomizer(model, jax.random.split(jax.random.key(0), 1))
        self._drawn = {jax.tree_util.keystr(path) for path, _ in _leaves(axes)}

    def draw(self, key: jax.Array) -> dict[str, jax.Array]:
        """What makes one world different, by name."""
        model, _ = self._randomizer(self._model, key[None])
        leaves = ((jax.tree_util.keystr(path), leaf) for path, leaf in _leaves(model))
        return {path: leaf[0] for path, leaf in leaves if path in self._drawn}

    def apply(self, model: Any, drawn: dict[str, jax.Array]) -> Any:
        """The model of that world."""

        def choose(path: Any, leaf: Any) -> Any:
            return drawn.get(jax.tree_util.keystr(path), leaf)

        return jax.tree_util.tree_map_with_path(choose, model)


def _leaves(tree: Any) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_leaves_with_path(tree)


def _menagerie() -> bool:
    """Whether the robots' models have been downloaded to where Playground looks for them."""
    found = importlib.util.find_spec("mujoco_playground")
    if found is None or found.origin is None:
        return False
    return (Path(found.origin).parent / "external_deps" / "mujoco_menagerie").is_dir()


def _suites() -> Any:
    """Playground's three suites; empty as long as nobody loaded it."""
    loaded = sys.modules.get("mujoco_playground")
    return (loaded.dm_control_suite, loaded.locomotion, loaded.manipulation) if loaded else ()


def _names() -> tuple[str, ...]:
    """What can be made here, with what was registered with Playground once it is loaded."""
    known = {*DM_CONTROL, *ROBOTS, *(name for suite in _suites() for name in suite.ALL_ENVS)}
    lacking = {name for some in _lacking().values() for name in some}
    return tuple(sorted(known - lacking))


def _lacking() -> Mapping[str, Sequence[str]]:
    lacking: dict[str, Sequence[str]] = {"Playground's own code needs an older MuJoCo": _OUTDATED}
    if not _menagerie():
        lacking[_MENAGERIE] = ROBOTS
    return lacking


def _check_overrides(name: str, config: Any, overrides: Mapping[str, Scalar]) -> dict[str, Any]:
    """The overrides in the types that the configuration has them in."""
    values = {}
    known = {
        k: v for k, v in _flat(config.to_dict(), "") if isinstance(v, bool | int | float | str)
    }
    for key in (*_OURS, "vision"):
        known.pop(key, None)  # options of their own; pictures need a renderer on the device
    for key, value in overrides.items():
        if key not in known:
            raise UnknownNameError(f"config_overrides of playground/{name}", key, known)
        kind = type(known[key])
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise UsageError(
                f"config_overrides {key}={value!r} of playground/{name}: {kind.__name__} expected, "
                f"such as {known[key]!r}"
            )
        values[key] = kind(value)
    return values


def _flat(config: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    flat = []
    for key, value in config.items():
        inside = isinstance(value, Mapping)
        flat += _flat(value, f"{prefix}{key}.") if inside else [(prefix + key, value)]
    return flat


def _worlds(name: str, env: Any, options: PlaygroundOptions, randomizer: Any) -> list[Worlds]:
    worlds: list[Worlds] = []
    if options.own_randomizer:
        if randomizer is None:
            raise UsageError(
                f"own_randomizer: Playground has none for {name}; give factors instead, such as "
                "randomize={'friction': (0.5, 1.5)}"
            )
        worlds.append(OwnRandomizer(randomizer, env.mjx_model))
    if options.randomize:
        owner = f"playground/{name}"
        worlds.append(Factors(options.randomize, MJX_FIELDS, env.mjx_model, owner))
    return worlds


def _make(name: str, num_envs: int, options: PlaygroundOptions) -> Environment:
    with quietly():
        from mujoco_playground import registry

        suite = next(suite for suite in _suites() if name in suite.ALL_ENVS)
        if suite is not _suites()[0] and not _menagerie():
            # Playground would download it at once, into the folder that it is installed in.
            raise UsageError(f"playground/{name} cannot be made here: {_MENAGERIE}")
        if name in _OUTDATED:
            raise UsageError(
                f"playground/{name} cannot be made here: Playground's own code needs an older "
                "MuJoCo for it (MjSpec.find_body)"
            )
        config: Any = registry.get_default_config(name)
        overrides = _check_overrides(name, config, options.config_overrides)
        if "impl" in config:
            overrides["impl"] = options.impl
        env = registry.load(name, config=config, config_overrides=overrides)
        randomizer = registry.get_domain_randomizer(name) if options.own_randomizer else None
        return PlaygroundEnvironment(
            env,
            name,
            options.episode_length or int(config.episode_length),
            options.action_repeat or int(config.get("action_repeat", 1)),
            _worlds(name, env, options, randomizer),
        )


ADAPTER = Adapter(
    name="playground",
    options=PlaygroundOptions,
    make=_make,
    on_host=False,
    names=_names,
    missing=lambda: is_missing("mujoco_playground"),
    lacking=_lacking,
    summary="MuJoCo Playground: the dm_control suite and robots, in JAX",
    extra="playground",
    default_num_envs=128,
)
