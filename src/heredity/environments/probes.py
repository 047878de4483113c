"""Probe environments: so small that the right value is known, so that a learner can be checked.

The first five are the classic ones (Andy Jones, "Debugging RL, without the agonizing pain",
2021): each adds one thing that a learner has to get right, in an order that tells where the fault
is. The others test both endings of an episode and the other kinds of action.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from heredity.common.errors import UsageError
from heredity.environments.adapters import Adapter
from heredity.environments.contract import Environment, JaxEnvironment, TimeStep
from heredity.environments.hosted import HostedEnvironment
from heredity.spaces import Box, Dict, Discrete, MultiDiscrete, Space


class ProbeState(NamedTuple):
    """What probes remember, of which `Catch` alone needs something else.

    Args:
        time: int32, decisions taken in this episode.
        sign: float32, -1 or 1, drawn at the reset.
    """

    time: jax.Array
    sign: jax.Array


class Probe(JaxEnvironment):
    """Base of the probes: an episode of `length` decisions, then one of the two endings.

    Args:
        length: Decisions in an episode.
    """

    default_length: ClassVar[int] = 1
    ends_by_truncation: ClassVar[bool] = False
    observation_space: Space = Box((1,), -1.0, 1.0, names=("signal",))
    action_space: Space = Discrete(2)
    step_seconds = 0.5

    def __init__(self, length: int | None = None) -> None:
        self.length = self.default_length if length is None else length
        if self.length < 1:
            raise UsageError(f"length={length}: a whole number >= 1 was expected")
        self.max_episode_steps = self.length if self.ends_by_truncation else None

    def reset(self, key: Any) -> tuple[Any, Any]:
        sign = jnp.where(jax.random.bernoulli(key), 1.0, -1.0).astype(jnp.float32)
        state = ProbeState(jnp.zeros((), jnp.int32), sign)
        return state, self.observe(state)

    def step(self, state: Any, action: Any) -> tuple[Any, TimeStep]:
        after = ProbeState(state.time + 1, state.sign)
        over = after.time >= self.length
        never = jnp.zeros((), bool)
        terminated, truncated = (never, over) if self.ends_by_truncation else (over, never)
        reward = jnp.asarray(self.reward(state, action), jnp.float32)
        return after, TimeStep(self.observe(after), reward, terminated, truncated, {})

    def observe(self, state: Any) -> Any:
        """What is seen in a state, here always 0, shape (1,)."""
        return jnp.zeros((1,), jnp.float32)

    def reward(self, state: ProbeState, action: Any) -> Any:
        """The reward of an action in a state."""
        return 1.0

    @abc.abstractmethod
    def true_value(self, observation: np.ndarray, discount: float) -> float:
        """The value of acting best, seen from an observation that is not the last one."""


class ConstantReward(Probe):
    """One step, always seen 0, reward 1, terminates. The value of 0 is 1.

    When this fails, the value loss or the optimiser is wrong.
    """

    def true_value(self, observation: np.ndarray, discount: float) -> float:
        return 1.0


class ObservationReward(Probe):
    """One step, -1 or 1 is seen and is the reward, terminates. The value of x is x.

    When this fails and the one before does not, values do not depend on observations.
    """

    def observe(self, state: ProbeState) -> jax.Array:
        return state.sign[None]

    def reward(self, state: ProbeState, action: Any) -> Any:
        return state.sign

    def true_value(self, observation: np.ndarray, discount: float) -> float:
        return float(observation[0])


class TwoStepDiscount(Probe):
    """Two steps, 0 then 1 is seen, reward 1 at the end. The value of 1 is 1, of 0 the discount.

    When this fails and the ones before do not, discounting or the order in time is wrong.
    """

    default_length = 2

    def observe(self, state: ProbeState) -> jax.Array:
        return (state.time > 0).astype(jnp.float32)[None]

    def reward(self, state: ProbeState, action: Any) -> Any:
        return (state.time == self.length - 1).astype(jnp.float32)

    def true_value(self, observation: np.ndarray, discount: float) -> float:
        return 1.0 if observation[0] > 0.5 else discount ** (self.length - 1)


class ActionReward(Probe):
    """One step, 0 is seen, action 1 gives 1 and action 0 gives -1. The best value is 1.

    When this fails and the ones before do not, the policy loss or the advantage is wrong.
    """

    def reward(self, state: ProbeState, action: Any) -> Any:
        return jnp.where(action == 1, 1.0, -1.0)

    def true_value(self, observation: np.ndarray, discount: float) -> float:
        return 1.0


class ObservationActionReward(Probe):
    """One step, -1 or 1 is seen; action 1 is right for 1, action 0 for -1: 1, else -1. Best is 1.

    When this fails and the ones before do not, the policy does not depend on observations, or
    batches mix up whose action belongs to what was seen.
    """

    def observe(self, state: ProbeState) -> jax.Array:
        return state.sign[None]

    def reward(self, state: ProbeState, action: Any) -> Any:
        return jnp.where((action == 1) == (state.sign > 0), 1.0, -1.0)

    def true_value(self, observation: np.ndarray, discount: float) -> float:
        return 1.0


class AlwaysTruncated(Probe):
    """Reward 1 for ever, always seen 0, cut off after `length` steps. The value is 1/(1-discount).

    A learner that takes a time limit for an ending finds less.
    """

    default_length = 8
    ends_by_truncation = True

    def true_value(self, observation: np.ndarray, discount: float) -> float:
        return 1.0 / (1.0 - discount)


class AlwaysTerminated(Probe):
    """Reward 1, the elapsed part of the episode is seen, terminates after `length` steps.

    With n steps to go the value is (1 - discount^n) / (1 - discount).
    """

    default_length = 8

    def observe(self, state: ProbeState) -> jax.Array:
        return (state.time / self.length).astype(jnp.float32)[None]

    def true_value(self, observation: np.ndarray, discount: float) -> float:
        to_go = self.length - round(float(observation[0]) * self.length)
        return (1.0 - discount**to_go) / (1.0 - discount)


class ContinuousAction(Probe):
    """One step, 0 is seen, reward -(action - 0.5)^2. The best value is 0, at 0.5."""

    action_space = Box((1,), -1.0, 1.0, names=("action",))
    target: ClassVar[float] = 0.5

    def reward(self, state: ProbeState, action: Any) -> Any:
        return -((action[0] - self.target) ** 2)

    def true_value(self, observation: np.ndarray, discount: float) -> float:
        return 0.0


class MultiDiscreteAction(Probe):
    """One step, 0 is seen, the reward is the share of choices that are (1, 2). Best is 1."""

    action_space = MultiDiscrete((2, 3), names=("first", "second"))
    target: ClassVar[tuple[int, int]] = (1, 2)

    def reward(self, state: ProbeState, action: Any) -> Any:
        return jnp.mean((action == jnp.asarray(self.target)).astype(jnp.float32))

    def true_value(self, observation: np.ndarray, discount: float) -> float:
        return 1.0


class Recall(Probe):
    """-1 or 1 is seen at first and 0 from then on; the last action has to be the one for it.

    Without memory nothing is better than a guess, whose value is 0.
    """

    default_length = 6

    def observe(self, state: ProbeState) -> jax.Array:
        return jnp.where(state.time == 0, state.sign, 0.0)[None]

    def reward(self, state: ProbeState, action: Any) -> Any:
        right = jnp.where((action == 1) == (state.sign > 0), 1.0, -1.0)
        return jnp.where(state.time == self.length - 1, right, 0.0)

    def true_value(self, observation: np.ndarray, discount: float) -> float:
        """Of the first observation, for one who remembers it."""
        return discount ** (self.length - 1)


class RepeatFirst(Recall):
    """-1 or 1 is seen at first and 0 from then on; every action has to be the one for it.

    Each that is earns its share of 1, and each other one loses it. Without memory only the first
    can be known, which makes 1 / length. It is the game of that name in POPGym (Morad et al. 2023),
    with two cards.
    """

    def reward(self, state: ProbeState, action: Any) -> Any:
        return jnp.where((action == 1) == (state.sign > 0), 1.0, -1.0) / self.length

    def true_value(self, observation: np.ndarray, discount: float) -> float:
        """Of the first observation, for one who remembers it."""
        return sum(discount**time for time in range(self.length)) / self.length


class Luck(Probe):
    """One step; action 1 gives 1, action 0 gives -1, and luck, 100 or -100, is added.

    ``luck`` is seen beside ``state``, which is 0. A critic that reads it knows what the action
    added; an actor needs none of it, and one that cannot see it should act as well.
    """

    observation_space: Space = Dict({"luck": Box((1,), -1.0, 1.0), "state": Box((1,), -1.0, 1.0)})
    size: ClassVar[float] = 100.0

    def observe(self, state: ProbeState) -> Any:
        return {"luck": state.sign[None], "state": jnp.zeros((1,), jnp.float32)}

    def reward(self, state: ProbeState, action: Any) -> Any:
        return jnp.where(action == 1, 1.0, -1.0) + self.size * state.sign

    def true_value(self, observation: Any, discount: float) -> float:
        return 1.0 + self.size * float(observation["luck"][0])


class CatchState(NamedTuple):
    """What `Catch` remembers.

    Args:
        time: int32, decisions taken, and the row of the ball.
        ball: int32, its column.
        paddle: int32, its column.
    """

    time: jax.Array
    ball: jax.Array
    paddle: jax.Array


class Catch(Probe):
    """A ball falls through a picture, and the paddle below has to be where it lands.

    It is the game of bsuite (Osband et al. 2020) in pixels: 0 moves the paddle left, 1 leaves it, 2
    moves it right. Caught gives 1 and missed -1, so that standing still is worth about -0.6.
    """

    columns: ClassVar[int] = 5
    default_length = 5
    action_space: Space = Discrete(3)

    def __init__(self, length: int | None = None) -> None:
        super().__init__(length)
        self.observation_space = Box((self.length + 1, self.columns, 1), 0, 255, "uint8")

    def reset(self, key: Any) -> tuple[CatchState, jax.Array]:
        ball = jax.random.randint(key, (), 0, self.columns)
        state = CatchState(jnp.zeros((), jnp.int32), ball, jnp.int32(self.columns // 2))
        return state, self.observe(state)

    def step(self, state: CatchState, action: Any) -> tuple[CatchState, TimeStep]:
        paddle = jnp.clip(state.paddle + action - 1, 0, self.columns - 1).astype(jnp.int32)
        after = CatchState(state.time + 1, state.ball, paddle)
        over = after.time >= self.length
        caught = jnp.where(after.ball == after.paddle, 1.0, -1.0)
        reward = jnp.where(over, caught, 0.0).astype(jnp.float32)
        return after, TimeStep(self.observe(after), reward, over, jnp.zeros((), bool), {})

    def observe(self, state: CatchState) -> jax.Array:
        """Ball and paddle lit, shape (length + 1, columns, 1), uint8."""
        cells = jnp.zeros((self.length + 1, self.columns, 1), jnp.uint8)
        return cells.at[state.time, state.ball].set(255).at[-1, state.paddle].set(255)

    def true_value(self, observation: np.ndarray, discount: float) -> float:
        """For one who catches, where the paddle can still reach the ball."""
        row = int(np.argmax(observation[:, :, 0].any(axis=1)))
        return discount ** (self.length - 1 - row)


PUZZLES: dict[str, type[Probe]] = {
    "catch": Catch,
    "luck": Luck,
    "recall": Recall,
    "repeat-first": RepeatFirst,
}
"""Probes for networks that have something special: memory, pictures, a critic that sees more."""

PROBES: dict[str, type[Probe]] = {
    "constant-reward": ConstantReward,
    "observation-reward": ObservationReward,
    "two-step-discount": TwoStepDiscount,
    "action-reward": ActionReward,
    "observation-action-reward": ObservationActionReward,
    "always-truncated": AlwaysTruncated,
    "always-terminated": AlwaysTerminated,
    "continuous-action": ContinuousAction,
    "multi-discrete-action": MultiDiscreteAction,
}


@dataclasses.dataclass(frozen=True)
class ProbeOptions:
    """Options of the probe environments."""

    length: int | None = None
    """Decisions in an episode; none for the probe's own number."""

    host: bool = False
    """Run it outside JAX, as a vector of host environments: the other path through a runner."""


def _make(name: str, num_envs: int, options: ProbeOptions) -> Environment:
    env = {**PROBES, **PUZZLES}[name](options.length)
    return HostedEnvironment(env, num_envs) if options.host else env


ADAPTER = Adapter(
    name="probe",
    options=ProbeOptions,
    make=_make,
    names=lambda: (*PROBES, *PUZZLES),
    missing=lambda: None,
    summary="tiny environments whose value is known, for testing learners",
    default_num_envs=32,
)
