"""An algorithm that is none of ours: weights walk at random. It has what the contract asks for."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from heredity.algorithms.contract import Algorithm, Room
from heredity.algorithms.freezing import Unfreezing, read_unfreezing
from heredity.algorithms.presets import Preset, settings_of
from heredity.algorithms.registry import Registered
from heredity.algorithms.training_plan import TrainingPlan
from heredity.common import counters
from heredity.common.devices import on_each_device, split
from heredity.common.fields import check_fields
from heredity.common.streams import stream
from heredity.networks import DistributionSpec, MlpOptions
from heredity.policies import ActorCritic, PolicySpec
from heredity.weights import flatten, merge

RENAMED: dict[str, str] = {"stride": "length"}


@dataclasses.dataclass(frozen=True)
class Stride:
    """How far.

    Args:
        mean: In numbers.
    """

    mean: float = 0.5


@dataclasses.dataclass(frozen=True)
class WalkConfig:
    """Settings of a walk.

    Args:
        num_envs: Environments stepped side by side.
        freeze: Patterns of weights that stay.
        unfreeze: Those that walk from a step on.
        learning_rate_scale: How fast some are.
        stride: How far.
    """

    algorithm: ClassVar[str] = "walk"

    num_envs: int = 4
    freeze: tuple[str, ...] = ()
    unfreeze: tuple[str, ...] = ()
    learning_rate_scale: tuple[str, ...] = ()
    stride: Stride = dataclasses.field(default_factory=Stride)

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def own_networks(self) -> tuple[str, ...]:
        return ()

    @property
    def divided(self) -> Mapping[str, int]:
        return {"num_envs": self.num_envs}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Moments:
    count: jax.Array
    last: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WalkState:
    params: Any
    statistics: Any
    optimizer: Moments
    steps: jax.Array
    attempt: jax.Array
    seed: jax.Array
    experience: Any = ()


class Walk:
    """One step of each environment, and one of the weights, is an iteration."""

    def __init__(
        self, config: WalkConfig, observation_space: Any, action_space: Any, *,
        schedule_timesteps: int, action_repeat: int = 1, environment: Any = None, stage: int = 0,
    ) -> None:  # fmt: skip
        layers = MlpOptions(hidden=(), kernel_init="lecun_uniform").spec()
        self.config, self.stage = config, stage
        self.spec = PolicySpec(
            observation_space=observation_space,
            action_space=action_space,
            actor=layers,
            critic=layers,
            distribution=DistributionSpec("categorical"),
            environment=environment,
            algorithm="walk",
        )
        self.functions = ActorCritic(self.spec)
        self.plan = TrainingPlan.of(config, flatten(self.functions.shapes()), stage)
        self.steps_per_iteration = config.num_envs * action_repeat
        self._rest = {"schedule_timesteps": schedule_timesteps, "action_repeat": action_repeat}

    goes_on = ()

    @property
    def copied(self) -> dict[str, str]:
        return {}

    @property
    def unfreezing(self) -> tuple[Unfreezing, ...]:
        return read_unfreezing(self.config.unfreeze)

    def check_all_used(self) -> None: ...

    def at_stage(self, stage: int) -> Walk:
        spec = self.spec
        given = {**self._rest, "environment": spec.environment, "stage": stage}
        return Walk(self.config, spec.observation_space, spec.action_space, **given)

    def init(self, seed: jax.Array | int) -> tuple[Any, WalkState]:
        frozen, params, _ = self.plan.split(self.functions.init(jnp.uint32(seed)))
        moments = Moments(
            jnp.zeros(self.stage + 1, jnp.int32), jax.tree.map(jnp.zeros_like, params)
        )
        now = counters.zero(), jnp.uint32(0), jnp.uint32(seed)
        return frozen, WalkState(params, {}, moments, *now)

    def unfrozen(self, constants: Any, state: WalkState) -> tuple[Any, WalkState]:
        frozen, params, _ = self.plan.split(self.all_params(constants, state))
        moments = self.plan.grown(state.optimizer, params)
        return frozen, dataclasses.replace(state, params=params, optimizer=moments)

    def all_params(self, constants: Any, state: WalkState) -> Any:
        return merge(constants, state.params)

    def begin(self, environment: Any, seed: jax.Array | int) -> Any:
        keys = jax.random.split(stream(jnp.uint32(seed), "begin"), self.config.num_envs)
        return split(on_each_device(jax.vmap(environment.reset), [0], [0, 0])(keys)[0])

    def iteration(self, environment: Any, constants: Any, state: WalkState) -> tuple[Any, dict]:
        key = stream(state.seed, "walk", state.attempt, state.steps[1])
        actions = jnp.zeros(self.config.num_envs, jnp.int32)
        experience, result = environment.step_batch(state.experience, actions)
        stride = self.config.stride.mean * jax.random.uniform(key)
        walked = jax.tree.map(lambda leaf: jnp.full_like(leaf, stride), state.params)
        params = jax.tree.map(jnp.add, state.params, walked)
        moments = Moments(state.optimizer.count + 1, walked)
        state = dataclasses.replace(
            state,
            params=params,
            optimizer=moments,
            experience=experience,
            steps=counters.add(state.steps, self.steps_per_iteration),
        )
        none = jnp.float32(0)
        counted = {"episodes": none, "episode_returns": none, "episode_lengths": none}
        return state, {**counted, "walk/reward": result.reward.mean(), "finite": jnp.asarray(True)}

    def placed(self, whole: Any, split: Any) -> Any:
        return WalkState(whole, whole, whole, whole, whole, whole, split)

    def work(self, params: Any) -> float:
        return sum(leaf.size for leaf in jax.tree.leaves(params))

    def room(self) -> Room:
        return Room(0, "nothing", "nothing")


def recorded_config(settings: Mapping[str, Any]) -> WalkConfig:
    return WalkConfig(**{**settings, "stride": Stride(**settings["stride"])})


def presets() -> dict[str, Preset]:
    return {"slow": Preset("", "a guess", {"stride": Stride(0.1)}, 64)}


def preset_config(name: str, environment_id: str) -> WalkConfig:
    return WalkConfig(**settings_of(presets(), name, environment_id))


def our_way(name: str) -> str:
    return RENAMED.get(name, "")


def prepared(config: WalkConfig, environment: Any) -> tuple[WalkConfig, None]:
    del environment
    return config, None


def warnings_for(config: WalkConfig, schedule: int | None, total: int) -> list[str]:
    del config, schedule
    return [f"it walks to {total}"]


class _Here(Registered):
    def _module(self, name: str) -> Any:
        del name
        return sys.modules[__name__]


WALK = _Here("walk", "Walk", "weights walk at random", "", "WalkConfig", "Walk")


def check(algorithm: Walk) -> Algorithm:
    """Let a type checker see that it is one."""
    return algorithm
