"""Environments in JAX that lie are told before they are run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import heredity as hd
from heredity.common.errors import UsageError
from heredity.environments import (
    Adapter,
    JaxEnvironment,
    JaxWrapper,
    TimeStep,
    make,
    register,
    wrap,
)
from heredity.environments.jax_checks import check_jax_environment
from heredity.spaces import Box, Dict, Discrete

THIS = "tests.environments.test_jax_checks"


class Walk(JaxEnvironment):
    """Right as it is; a test changes what it gives.

    Args:
        shown: Its observation.
        state: Makes the state after a step of what would be right.
        **wrong: Of its `TimeStep`.
    """

    observation_space, action_space = Box((2,)), Discrete(2)
    max_episode_steps = 20

    def __init__(
        self, shown: Any = None, state: Callable[[dict], Any] = lambda state: state, **wrong: Any
    ) -> None:
        self.shown = jnp.zeros(2) if shown is None else shown
        self.state, self.wrong = state, wrong

    def reset(self, key: Any) -> Any:
        return {"cell": jnp.int32(0), "time": 0}, self.shown

    def step(self, state: Any, action: Any) -> Any:
        cell, time = state["cell"] + action, state["time"] + 1
        right = TimeStep(self.shown, cell * 0.5, cell > 5, time > 20, {"cell": cell})
        return self.state({"cell": cell, "time": time}), right._replace(**self.wrong)


def lying_walk() -> Walk:
    return Walk(jnp.zeros(3))


def check(env: JaxEnvironment) -> None:
    check_jax_environment(env, "mine")


@pytest.mark.parametrize(
    "env",
    [
        Walk(),
        Walk(jnp.zeros(2, jnp.bfloat16)),
        Walk(jnp.zeros(2, jnp.int32)),
        Walk(terminated=False, reward=1.0),
        Walk(reward=jnp.int32(1)),
        Walk(info={}),
    ],
)
def test_what_keeps_to_its_contract(env: Walk):
    check(env)


@pytest.mark.parametrize(
    ("space", "shown", "problem"),
    [
        (Box((2,)), jnp.zeros(3), r"of shape \(3,\), its observation_space says \(2,\): correct"),
        (Box((2,)), jnp.zeros((2, 1)), r"of shape \(2, 1\)"),
        (Box((2,), 0, 255, "uint8"), jnp.zeros(2), "of float32, .* says whole numbers"),
        (Box((2,)), {"a": jnp.zeros(2)}, "that is a dict"),
        (Dict({"a": Box((2,))}), {"b": jnp.zeros(2)}, "without 'a' and with 'b'"),
        (Dict({"a": Box((2,))}), jnp.zeros(2), "that is an array of shape"),
        (Discrete(3), jnp.zeros(3), r"of shape \(3,\), its observation_space says \(\)"),
    ],
)
def test_observations(space: Any, shown: Any, problem: str):
    env = Walk(shown)
    env.observation_space = space
    with pytest.raises(UsageError, match=f"^mine: reset gives an observation {problem}"):
        check(env)
    env = Walk(jnp.zeros(2), observation=shown)
    env.observation_space = space
    env.shown = jax.tree.map(jnp.asarray, space.sample(np.random.default_rng(0)))
    with pytest.raises(UsageError, match=f"^mine: step gives an observation {problem}"):
        check(env)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"reward": jnp.zeros(1)}, r"reward as an array of shape \(1,\) .*: one number"),
        ({"reward": jnp.complex64(1)}, r"reward as an array .* complex64: one number"),
        ({"reward": None}, "reward as None: one number"),
        ({"terminated": jnp.float32(0)}, r"terminated as an array .* float32: one bool"),
        ({"truncated": jnp.zeros(2, bool)}, r"truncated as an array of shape \(2,\) .*: one bool"),
        ({"info": None}, "info as None: a dict was expected"),
        ({"info": {"episode": {"r": 1.0}}}, r"info\['episode'\] as a dict: a number was expected"),
        ({"info": {"key": jax.random.key(0)}}, r"info\['key'\] as an array .* key<fry>: a number"),
        ({"info": {"way": "left"}}, "something else than numbers and arrays"),
    ],
)
def test_steps(wrong: dict[str, Any], problem: str):
    with pytest.raises(UsageError, match=f"^mine: step gives {problem}"):
        check(Walk(**wrong))


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        (lambda s: s | {"more": 1}, r"state\['more'\] is given by step alone"),
        (lambda s: {"cell": s["cell"]}, r"state\['time'\] is given by reset and not by step"),
        (
            lambda s: s | {"cell": s["cell"][None]},
            r"state\['cell'\] is an array of shape \(\) .* after",
        ),
        (
            lambda s: s | {"cell": s["cell"] * 0.5},
            r"state\['cell'\] is an array .* int32 .* float32",
        ),
    ],
)
def test_states_stay_alike(state: Callable[[dict], Any], problem: str):
    with pytest.raises(UsageError, match=f"^mine: {problem}.*a loop needs both"):
        check(Walk(state=state))


def test_observations_stay_alike():
    env = Walk(jnp.zeros(2), observation=jnp.zeros(2, jnp.int32))
    with pytest.raises(UsageError, match=r"^mine: observation is an array .* int32 .*a loop"):
        check(env)


class Odd(Walk):
    """Gives something else than two values."""

    def __init__(self, reset: Any = None, step: Any = None) -> None:
        super().__init__()
        self.given = {"reset": reset, "step": step}

    def reset(self, key: Any) -> Any:
        return super().reset(key) if self.given["reset"] is None else self.given["reset"]

    def step(self, state: Any, action: Any) -> Any:
        return super().step(state, action) if self.given["step"] is None else self.given["step"]


def test_a_state_beside_what_is_seen():
    with pytest.raises(
        UsageError, match=r"^mine: reset gives an array .*\(state, observation\) was"
    ):
        check(Odd(reset=jnp.zeros(2)))
    with pytest.raises(UsageError, match=r"^mine: step gives 5 values: \(state, TimeStep\("):
        check(Odd(step=(jnp.zeros(2), 1.0, False, False, {})))
    with pytest.raises(UsageError, match=r"^mine: step gives a state and a dict: "):
        check(Odd(step=({}, {})))


class Branching(Walk):
    """Not to be compiled, in one of two ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def step(self, state: Any, action: Any) -> Any:
        if self.way == "if" and action > 0:
            return super().step(state, action)
        np.asarray(action)
        return super().step(state, action)


@pytest.mark.parametrize("way", ["if", "numpy"])
def test_what_cannot_be_compiled_is_told_with_its_line(way: str):
    with pytest.raises(UsageError, match=r"^mine: step cannot be compiled .*jax_checks\.py:\d+\)"):
        check(Branching(way))


class Mistaken(Walk):
    def step(self, state: Any, action: Any) -> Any:
        return state + {}


def test_its_own_mistakes_are_its_own():
    with pytest.raises(TypeError, match="unsupported operand"):
        check(Mistaken())


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """Of an adapter without any."""


def test_wherever_an_own_environment_comes_from(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("heredity.environments.registry._registered", {})
    problem = r"reset gives an observation of shape \(3,\)"
    with pytest.raises(UsageError, match=f"^{THIS}:lying_walk: {problem}"):
        make(f"{THIS}:lying_walk")
    with pytest.raises(UsageError, match=f"^{THIS}:lying_walk: {problem}"):
        make(f"{THIS}:lying_walk", frame_stack=2)
    adapter = Adapter(
        name="walks",
        options=NoOptions,
        make=lambda name, num_envs, options: lying_walk(),
        names=lambda: ("lying",),
        missing=lambda: None,
        summary="",
    )
    register(adapter)
    with pytest.raises(UsageError, match=f"^walks/lying: {problem}"):
        make("walks/lying")
    with pytest.raises(UsageError, match=f"^Walk: {problem}"):
        hd.PPO(lying_walk())
    with pytest.raises(UsageError, match=f"^Walk: {problem}"):
        hd.PPO(wrap(lying_walk(), frame_stack=2))


class Longer(JaxWrapper):
    """Shows a number more than it says."""

    def reset(self, key: Any) -> Any:
        state, shown = self.env.reset(key)
        return state, jnp.append(shown, 1.0)


def test_a_wrapper_of_ones_own_is_looked_at_and_not_what_is_in_it():
    with pytest.raises(UsageError, match=r"^Longer: reset gives an observation of shape \(2,\)"):
        hd.PPO(wrap(Longer(make("probe/constant-reward")), frame_stack=2))


def test_what_is_built_in_is_not_traced_twice(monkeypatch: pytest.MonkeyPatch):
    def never(env: Any, owner: str) -> None:
        raise AssertionError(owner)

    monkeypatch.setattr("heredity.environments.jax_checks.check_jax_environment", never)
    env = make("probe/constant-reward")
    hd.PPO(env)
