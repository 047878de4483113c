"""One contract for all environments: pure JAX ones, and vectors of host ones.

An environment never resets itself; the runner does, so that the true last observation of an
episode is always there. `terminated` (the task ended: the value after it is zero) and `truncated`
(somebody stopped looking: the value after it is bootstrapped) are never confused.
"""

from __future__ import annotations

import abc
import dataclasses
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from heredity.common.errors import UsageError
from heredity.common.recording import Scene
from heredity.spaces import Space

EnvState: TypeAlias = Any
Observation: TypeAlias = Any


@dataclasses.dataclass(frozen=True)
class EnvironmentSpec:
    """What names an environment in a file: an id and its options (JSON values).

    Args:
        id: ``adapter/name``, such as ``brax/ant``; or ``package.module:factory``.
        options: Keyword options of the adapter that differ from nothing: all of them, by name.
    """

    id: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The specification as a JSON object."""
        return {"id": self.id, "options": dict(self.options)}


class TimeStep(NamedTuple):
    """What one decision led to.

    Args:
        observation: After the step and before any reset.
        reward: float32, shape () or (num_envs,).
        terminated: bool; the task itself ended.
        truncated: bool; the episode was cut off (time limit). Never true with `terminated`.
        info: Numbers to log, by name; may be empty. Of host environments each has the shape
            (num_envs,), and where only some told one, ``_name`` says which: bool, (num_envs,).
        lost: Of host environments: bool (num_envs,), where an episode was cut off because its
            process died; the reward is 0 there and the observation the last one known. None where
            that cannot happen, or did not.
        own_reward: What the environment itself gave, where `reward` was scaled or cut to learn
            from; returns are counted in it. None where `reward` is that.
    """

    observation: Observation
    reward: Any
    terminated: Any
    truncated: Any
    info: Mapping[str, Any]
    lost: Any = None
    own_reward: Any = None

    @property
    def earned(self) -> Any:
        """The reward that returns are counted in: the environment's own."""
        return self.reward if self.own_reward is None else self.own_reward


class Pose(NamedTuple):
    """Where the bodies of a `Scene` are.

    Args:
        position: Shape (bodies, 3), metres.
        rotation: Shape (bodies, 4), unit quaternions (w, x, y, z).
    """

    position: Any
    rotation: Any


class JaxEnvironment(abc.ABC):
    """Pure functions of one environment: `jit` and `vmap` them as you like.

    Attributes:
        spec: What names it; None for one that cannot be made again from a name.
        observation_space: Of one environment, not of the batch.
        action_space: Of one environment.
        num_envs: How many copies `make` was asked for, which `PPO` runs when it is not told
            otherwise; None when nobody asked.
        max_episode_steps: After how many decisions an episode is truncated; None for never.
        reset_is_cheap: Whether a reset costs about a step or less. If not, runners draw a pool of
            fresh first states once an iteration instead of one at each step.
        action_repeat: How many environment steps one decision makes; steps are counted with it.
        step_seconds: Simulated time of one decision, for playing recordings.
        actor_reads: Entries of a Dict observation that an actor has where it is used, as patterns;
            () for all. The settings of a network may say otherwise.
        batches_last: Whether many of them are stepped faster on a CPU when the batch is the last
            axis of every array; see `heredity.environments.batch_last`.
    """

    spec: EnvironmentSpec | None = None
    observation_space: Space
    action_space: Space
    num_envs: int | None = None
    action_repeat: int = 1
    max_episode_steps: int | None = None
    reset_is_cheap: bool = True
    step_seconds: float = 0.05
    actor_reads: tuple[str, ...] = ()
    batches_last: bool = False

    @abc.abstractmethod
    def reset(self, key: Any) -> tuple[EnvState, Observation]:
        """The first state and observation of an episode. The state keeps its own key."""

    @abc.abstractmethod
    def step(self, state: EnvState, action: Any) -> tuple[EnvState, TimeStep]:
        """One decision later. Pure; never resets."""

    def step_batch(self, states: EnvState, actions: Any) -> tuple[EnvState, TimeStep]:
        """Many environments one decision later: `jax.vmap(self.step)`, or a faster way to it.

        Args:
            states: With a leading axis (B,), as `jax.vmap(self.reset)` gives them.
            actions: Shape (B, ...).

        Returns:
            What `step` gives, with a leading axis (B,). Where `batches_last`, on a CPU, equal to
            `jax.vmap(self.step)` up to rounding.
        """
        # Here, because processes of host environments import this module and never need JAX.
        import jax

        # A GPU runs over all elements at once, whatever their order.
        if self.batches_last and jax.default_backend() == "cpu":
            from heredity.environments.batch_last import vmap_last

            return vmap_last(self.step)(states, actions)
        return jax.vmap(self.step)(states, actions)

    def scene(self) -> Scene | None:
        """The geometry, for the viewer; None when there is none to show."""
        return None

    def pose(self, state: EnvState) -> Pose | None:
        """Where the bodies of `scene` are in this state; pure."""
        return None


class HostEnvironment(abc.ABC):
    """A vector of environments that run outside JAX; arrays are numpy, axis 0 is `num_envs`.

    Attributes:
        spec: What names it; None for one that cannot be made again from a name.
        observation_space: Of one environment, not of the vector.
        action_space: Of one environment.
        num_envs: How many there are.
        max_episode_steps: After how many decisions an episode is truncated; None for never.
        action_repeat: How many environment steps one decision makes; steps are counted with it.
        step_seconds: Time of one decision, for playing recordings.
        actor_reads: Entries of a Dict observation that an actor has where it is used, as patterns;
            () for all. The settings of a network may say otherwise.
        restarts: How many processes of it died and were started again so far. Each cost the
            episodes that ran there (`TimeStep.lost`), which is what no replay repeats.
        unseeded: Why an episode does not follow from its seed, so that a run cannot be resumed
            exactly; empty when it does.
    """

    spec: EnvironmentSpec | None = None
    observation_space: Space
    action_space: Space
    num_envs: int
    action_repeat: int = 1
    max_episode_steps: int | None = None
    step_seconds: float = 0.05
    actor_reads: tuple[str, ...] = ()
    restarts: int = 0
    unseeded: str = ""

    @abc.abstractmethod
    def reset(self, seeds: np.ndarray, mask: np.ndarray) -> Observation:
        """Begin new episodes where `mask`; return the current observation of every environment.

        Args:
            seeds: Shape (num_envs,), integers; the whole randomness of the episode follows from it,
                or `unseeded` says why not.
            mask: Shape (num_envs,), bool; the others go on and keep their observation.
        """

    @abc.abstractmethod
    def step(self, actions: np.ndarray) -> TimeStep:
        """One decision in every environment. Never resets."""

    def render(self) -> np.ndarray | None:
        """A picture of environment 0, (H, W, 3) uint8; None when it cannot be drawn."""
        return None

    def close(self) -> None:  # noqa: B027 - closing is optional
        """Give back processes and windows."""


Environment: TypeAlias = JaxEnvironment | HostEnvironment


def not_an_environment(given: object, told: str, expected: str) -> UsageError:
    """The error about an object that is no environment of ours, with advice if it is Gymnasium's.

    Args:
        given: The object.
        told: Who gave it, such as ``env is``.
        expected: What would have been right.
    """
    message = f"{told} a {type(given).__name__}: {expected} was expected"
    gym = sys.modules.get("gymnasium")
    kind = given if isinstance(given, type) else type(given)
    if gym is None or not issubclass(kind, gym.Env | gym.vector.VectorEnv):
        return UsageError(message)
    spec = None if isinstance(given, type) else getattr(given, "spec", None)
    if spec is not None and not spec.additional_wrappers:
        return UsageError(f"{message}; of a Gymnasium environment give the id, 'gym/{spec.id}'")
    return UsageError(
        f"{message}; a Gymnasium environment of your own, wrappers included, is registered with "
        "gymnasium.register and given by its id, 'gym/my_module:MyEnv-v0'"
    )
