"""Environments whose every number can be foretold, in JAX and outside it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from heredity.environments import (
    HostEnvironment,
    JaxEnvironment,
    Pose,
    SeededEpisodes,
    TimeStep,
    wrap,
)
from heredity.environments.hosted import HostedEnvironment
from heredity.spaces import Box, Dict, Discrete

NUM_ENVS = 2


class State(NamedTuple):
    """The number drawn at the reset, and the decisions since."""

    drawn: jax.Array
    time: jax.Array


class Countdown(JaxEnvironment):
    """Shows the number drawn and the time; pays the time, and ten times the action.

    Args:
        length: Decisions in an episode; of the number drawn, its last bit is added.
        truncates: Whether it ends by being cut off.
    """

    observation_space = Box((2,), names=("drawn", "time"))
    action_space = Discrete(2)
    step_seconds = 0.25

    def __init__(self, length: int = 5, truncates: bool = False) -> None:
        self.length = length
        self.truncates = truncates
        self.max_episode_steps = length + 1 if truncates else None

    def show(self, state: State) -> Any:
        """What is seen in a state."""
        return jnp.stack([state.drawn, state.time]).astype(jnp.float32)

    def reset(self, key: Any) -> tuple[State, Any]:
        state = State(jax.random.randint(key, (), 0, 100), jnp.int32(0))
        return state, self.show(state)

    def step(self, state: State, action: Any) -> tuple[State, TimeStep]:
        state = State(state.drawn, state.time + 1)
        over = state.time >= self.length + state.drawn % 2
        never = jnp.zeros((), bool)
        terminated, truncated = (never, over) if self.truncates else (over, never)
        reward = (state.time + 10 * action).astype(jnp.float32)
        told = {"time": state.time.astype(jnp.float32)}
        return state, TimeStep(self.show(state), reward, terminated, truncated, told)

    def pose(self, state: State) -> Pose:
        return Pose(state.time * jnp.ones((1, 3)), jnp.ones((1, 4)))


class Camera(Countdown):
    """A picture of (4, 6, 3) bytes that tells number and time, and the time beside it.

    Args:
        length: Decisions in an episode.
        floating: Whether the bytes come as numbers from 0 to 1.
    """

    def __init__(self, length: int = 5, floating: bool = False) -> None:
        super().__init__(length)
        self.floating = floating
        picture = Box((4, 6, 3), 0, 1) if floating else Box((4, 6, 3), 0, 255, "uint8")
        self.observation_space = Dict({"picture": picture, "time": Box((1,)), "turn": Discrete(9)})

    def show(self, state: State) -> Any:
        pixels = jnp.arange(4 * 6 * 3).reshape(4, 6, 3) * 7 + state.drawn + 31 * state.time
        picture = (pixels % 256).astype(jnp.uint8)
        if self.floating:
            picture = picture.astype(jnp.float32) / 255
        time = state.time.astype(jnp.float32)[None]
        return {"picture": picture, "time": time, "turn": state.time % 9}


def on_both_paths(env: JaxEnvironment, **options: Any) -> list[Any]:
    """The same environment with wrappers around it, in JAX and as a host environment."""
    host = HostedEnvironment(env, NUM_ENVS)
    host.action_repeat = env.action_repeat
    return [wrap(env, **options), wrap(host, **options)]


def play(env: Any, actions: list[int], seeds: tuple[int, ...] = (4, 3)) -> list[Any]:
    """The first observation and every step of an episode in each of two environments.

    Nothing is reset: an environment that ended is to be looked at no further.
    """
    if isinstance(env, HostEnvironment):
        first = env.reset(np.array(seeds), np.ones(NUM_ENVS, bool))
        return [first, *(env.step(np.full(NUM_ENVS, action)) for action in actions)]
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    state, first = jax.vmap(env.reset)(keys)
    steps = []
    for action in actions:
        state, step = jax.vmap(env.step)(state, jnp.full(NUM_ENVS, action))
        steps.append(jax.tree.map(np.asarray, step))
    return [jax.tree.map(np.asarray, first), *steps]


def drawn(seed: int) -> int:
    """The number that a countdown draws for a seed."""
    return int(jax.random.randint(jax.random.key(seed), (), 0, 100))


def assert_it_comes_back(env: HostEnvironment) -> None:
    """What is led back to the middle of its episodes goes on exactly like what was not.

    Args:
        env: Whose episodes end now here and now there, within ten decisions.
    """
    actions = [0, 1, 0, 0, 1, 0, 1, 1, 0, 0, 1, 0] * 2

    def go_on(episodes: SeededEpisodes, actions: list[Any]) -> list[Any]:
        seen = []
        for action in actions:
            step = episodes.step(np.full(env.num_envs, action))
            shown = episodes.reset_finished(step.terminated | step.truncated)
            seen.append((step, shown))
        return seen

    episodes = SeededEpisodes(env, seed=5)
    episodes.start()
    # Somewhere in the middle, where some have begun later than others and all are running.
    lengths = episodes.episode_lengths
    while len(set(lengths.tolist())) == 1 or lengths.min() == 0 or len(actions) > 20:
        go_on(episodes, [actions.pop()])
        lengths = episodes.episode_lengths
    saved = episodes.save()
    whole = go_on(episodes, actions)
    episodes = SeededEpisodes(env, seed=5)
    assert episodes.restore(saved).exact
    assert len(whole) > 4
    for mine, theirs in zip(go_on(episodes, actions), whole, strict=True):
        assert jax.tree.structure(mine) == jax.tree.structure(theirs)
        for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_array_equal(a, b)
