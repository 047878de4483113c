"""Gymnasium environments that lie are told at their first reset or step, and no later."""

from __future__ import annotations

import functools
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from tests.environments.counting import Counting

from heredity.common.errors import UsageError
from heredity.environments import make
from heredity.environments.gymnasium_vectors import AsyncEnvironment, SyncEnvironment

RIGHT = np.zeros(2, np.float32)
ONE, BOTH, SEEDS = np.ones(1, bool), np.ones(2, bool), np.arange(2)


class Liar(gym.Env):
    """Gives what it was told to give.

    Args:
        space: What it declares.
        shown: Its observations.
        change: Makes what a step gives of what would be right.
        reset: What a reset gives; default: what is right.
        honest: Whether the reset is right, whatever is shown later.
    """

    def __init__(
        self,
        space: spaces.Space | None = None,
        shown: Any = RIGHT,
        change: Callable[..., Any] = lambda *right: right,
        reset: Any = None,
        honest: bool = False,
    ) -> None:
        self.observation_space = space or spaces.Box(-1, 1, (2,))
        self.action_space = spaces.Discrete(2)
        self.shown = shown
        self.change, self.told, self.honest = change, reset, honest

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        right = (RIGHT if self.honest else self.shown), {}
        return right if self.told is None else self.told

    def step(self, action: Any) -> Any:
        return self.change(self.shown, 1.0, False, False, {})


def begin(*given: Any, **lies: Any) -> SyncEnvironment:
    env = SyncEnvironment([functools.partial(Liar, *given, **lies)], "gym/Liar-v0")
    env.reset(SEEDS[:1], ONE)
    return env


def step(*given: Any, **lies: Any) -> Any:
    return begin(*given, **lies).step(np.zeros(1, np.int64))


BYTES = spaces.Box(0, 255, (2,), np.uint8)
PARTS = spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "b": spaces.Discrete(3)})
PAIR = spaces.Tuple([spaces.Discrete(3), spaces.Box(-1, 1, (2,))])


@pytest.mark.parametrize(
    ("space", "shown", "problem"),
    [
        (None, np.zeros(3), r"an observation of shape \(3,\), its observation_space says \(2,\)"),
        (None, 0.0, r"an observation of shape \(\), its observation_space says \(2,\)"),
        (None, np.zeros((1, 2)), r"an observation of shape \(1, 2\)"),
        (None, "left", "an observation of shape"),
        (None, ["a", "b"], "an observation of <U1, .* says numbers with a fraction"),
        (None, None, r"an observation that is None, its observation_space says \(2,\)"),
        (None, [[1.0], [1.0, 2.0]], "an observation that is no array"),
        (None, np.array([0.0, np.nan]), r"an observation with nan at \[1\]: nothing can be learnt"),
        (None, np.array([np.inf, 0.0]), r"an observation with inf at \[0\]"),
        (BYTES, np.array([0.5, 0.5]), "an observation of float64, .* says whole numbers"),
        (BYTES, np.array([0, 300]), "an observation with 300, its observation_space says uint8"),
        (BYTES, np.array([0, -1]), "an observation with -1, its observation_space says uint8"),
        (spaces.Discrete(3), 1.0, "of float64, its observation_space says whole numbers"),
        (spaces.Discrete(3), np.array([1]), r"of shape \(1,\), its observation_space says \(\)"),
        (spaces.MultiBinary([2, 2]), np.zeros(4, int), r"shape \(4,\), .* says \(2, 2\)"),
        (PARTS, {"a": np.zeros(2)}, "an observation without 'b', .* says 'a', 'b'"),
        (PARTS, {"a": np.zeros(2), "b": 1, "c": 1}, "an observation with 'c'"),
        (PARTS, {"a": np.zeros(3), "b": 1}, r"observation\['a'\] of shape \(3,\)"),
        (PARTS, {"a": np.array([0, np.nan]), "b": 1}, r"with nan at \['a'\]\[1\]"),
        (PARTS, np.zeros(3), "that is an array .* says Dict"),
        (PAIR, (1,), "that is 1 values, its observation_space says a tuple of 2"),
        (PAIR, (1, np.zeros(3)), r"observation\[1\] of shape \(3,\)"),
        (PAIR, (1, np.array([np.nan, 0])), r"with nan at \[1\]\[0\]"),
    ],
)
def test_an_observation_that_is_not_what_the_space_says(space: Any, shown: Any, problem: str):
    with pytest.raises(UsageError, match=f"^gym/Liar-v0, environment 0: reset gave .*{problem}"):
        begin(space, shown)
    with pytest.raises(UsageError, match=f"^gym/Liar-v0, environment 0: step gave .*{problem}"):
        step(None, shown, honest=True) if space is None else _stepped(space, shown)


def _stepped(space: spaces.Space, shown: Any) -> None:
    """A step whose observation is a lie, after a reset that was none."""
    env = SyncEnvironment([functools.partial(Liar, space, space.sample())], "gym/Liar-v0")
    env.reset(SEEDS[:1], ONE)
    env._stepper.envs[0].shown = shown
    env.step(np.zeros(1, np.int64))


@pytest.mark.parametrize(
    ("space", "shown"),
    [
        (None, np.zeros(2, np.float64)),
        (None, np.array([0, 1])),
        (None, [0.5, 0.5]),
        (BYTES, np.array([0, 255])),
        (BYTES, np.array([True, False])),
        (spaces.Discrete(3), np.int64(1)),
        (spaces.Discrete(3), np.array(1)),
        (spaces.MultiBinary(2), np.array([True, False])),
        (PARTS, OrderedDict(b=1, a=np.zeros(2))),
        (PAIR, (1, np.zeros(2))),
    ],
)
def test_what_can_be_taken_without_a_loss_is(space: Any, shown: Any, caplog):
    with caplog.at_level(logging.WARNING, "heredity"):
        result = step(space, shown)
    assert result.reward.tolist() == [1.0]
    assert caplog.records == []


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        (np.zeros(2), r"reset gave an array of shape \(2,\) .*\(observation, info\) was expected"),
        ((np.zeros(2),), r"reset gave 1 values: \(observation, info\) was expected"),
        ((np.zeros(2), None), "reset gave None as its info"),
        ((0.0, 1.0), "reset gave 1.0 as its info"),
    ],
)
def test_a_reset_gives_an_observation_and_a_dict(told: Any, problem: str):
    with pytest.raises(UsageError, match=problem):
        begin(reset=told)


class Old(Liar):
    """Its reset is as the old gym had it."""

    def reset(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.shown


class Broken(Liar):
    """Its reset takes a seed, and calls something that does not take what it is given."""

    def reset(self, **_: Any) -> Any:
        return np.random.default_rng(0).integers(0, hihg=3)  # pyright: ignore[reportCallIssue]


def test_a_reset_takes_a_seed():
    for maker in (Old, lambda: gym.Wrapper(Old())):
        env = SyncEnvironment([maker])
        with pytest.raises(UsageError, match=r"^Old, environment 0: .*'seed'.*def reset\(self, \*"):
            env.reset(SEEDS[:1], ONE)
    with pytest.raises(TypeError, match="'hihg'"):
        SyncEnvironment([Broken]).reset(SEEDS[:1], ONE)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda o, r, e, c, i: (o, r, e, i), r"gave 4 values, as those of the old gym .*in place"),
        (lambda o, r, e, c, i: (o, r, e), r"gave 3 values: \(observation, reward, terminated"),
        (lambda *_: None, "gave None: "),
        (lambda o, r, e, c, i: (o, None, e, c, i), "gave None as its reward: one number"),
        (lambda o, r, e, c, i: (o, "1.0", e, c, i), "gave '1.0' as its reward: one number"),
        (lambda o, r, e, c, i: (o, np.ones(1), e, c, i), r"gave an array of shape \(1,\) .*reward"),
        (lambda o, r, e, c, i: (o, [1, 2], e, c, i), "gave 2 values as its reward"),
        (lambda o, r, e, c, i: (o, np.nan, e, c, i), "gave the reward nan: a finite number"),
        (lambda o, r, e, c, i: (o, np.inf, e, c, i), "gave the reward inf: a finite number"),
        (lambda o, r, e, c, i: (o, 1j, e, c, i), "gave a complex as its reward"),
        (lambda o, r, e, c, i: (o, r, None, c, i), "gave None as terminated: True or False"),
        (lambda o, r, e, c, i: (o, r, e, None, i), "gave None as truncated: True or False"),
        (lambda o, r, e, c, i: (o, r, e, "no", i), "gave 'no' as truncated"),
        (lambda o, r, e, c, i: (o, e, r, c, i), "gave 1.0 as terminated"),
        (lambda o, r, e, c, i: (o, r, 2, c, i), "gave 2 as terminated"),
        (
            lambda o, r, e, c, i: (o, r, np.array([False]), c, i),
            r"array of shape \(1,\).*terminated",
        ),
        (lambda o, r, e, c, i: (o, r, e, i, c), "gave a dict as truncated"),
        (lambda o, r, e, c, i: (o, r, e, c, None), "gave None as its info: a dict"),
    ],
)
def test_a_step_that_does_not_give_what_gymnasium_says(change: Callable[..., Any], problem: str):
    with pytest.raises(UsageError, match=f"^gym/Liar-v0, environment 0: step .*{problem}"):
        step(change=change)


@pytest.mark.parametrize(
    "change",
    [
        lambda o, r, e, c, i: (o, np.float64(1), np.bool_(False), np.bool_(False), i),
        lambda o, r, e, c, i: (o, 1, 0, 0, i),
        lambda o, r, e, c, i: (o, np.array(1.0), np.array(0), np.array(False), i),
        lambda o, r, e, c, i: (o, True, e, c, i),
        lambda o, r, e, c, i: [o, r, e, c, i],
    ],
)
def test_what_a_step_may_give_besides(change: Callable[..., Any]):
    result = step(change=change)
    assert result.reward.tolist() == [1.0]
    assert result.terminated.tolist() == result.truncated.tolist() == [False]


def test_only_the_first_is_looked_at():
    env = begin()
    inner = env._stepper.envs[0]
    env.step(np.zeros(1, np.int64))
    # From here on nothing stands between the vector and its environments.
    assert env._stepper._steps == [inner.step] and env._stepper._resets == [inner.reset]
    inner.change = lambda o, r, e, c, i: (o, np.nan, e, c, i)
    assert np.isnan(env.step(np.zeros(1, np.int64)).reward).all()


def test_a_lie_that_was_told_once_is_told_again():
    env = SyncEnvironment([lambda: Liar(shown=np.zeros(3))])
    for _ in range(2):
        with pytest.raises(UsageError, match="of shape"):
            env.reset(SEEDS[:1], ONE)


def second_lies(number: list[int]) -> gym.Env:
    number.append(0)
    return Liar(shown=np.zeros(3) if len(number) == 2 else RIGHT)


def test_each_environment_is_looked_at():
    env = SyncEnvironment([functools.partial(second_lies, [])] * 2)
    with pytest.raises(UsageError, match="Liar, environment 1: reset gave"):
        env.reset(SEEDS, BOTH)


def four_values(*right: Any) -> Any:
    return right[:4]


@pytest.mark.parametrize(
    ("lies", "problem"),
    [({"shown": np.zeros(3)}, "reset gave"), ({"change": four_values}, "step gave 4 values")],
)
def test_workers_tell_the_same(lies: dict[str, Any], problem: str):
    env = AsyncEnvironment(
        [Counting, functools.partial(Lying, **lies)], workers=2, id="gym/Liar-v0"
    )
    try:
        with pytest.raises(UsageError, match=f"^gym/Liar-v0, environment 1: {problem}") as told:
            env.reset(SEEDS, BOTH)
            env.step(np.ones(2, np.int64))
        assert told.value.exit_code == 2
    finally:
        env.close()


class Lying(Counting):
    """Declares what `Counting` does, and gives something else."""

    def __init__(self, shown: Any = None, change: Callable[..., Any] = lambda *right: right):
        super().__init__()
        self.shown, self.change = shown, change

    def _observe(self) -> Any:
        return super()._observe() if self.shown is None else self.shown

    def step(self, action: Any) -> Any:
        return self.change(*super().step(action))


class Undeclared(Counting):
    """Has another thing, or nothing, where a space is expected."""

    def __init__(self, name: str, space: Any = None):
        super().__init__()
        if space is None:
            delattr(self, name)
        else:
            setattr(self, name, space)


@pytest.mark.parametrize("name", ["observation_space", "action_space"])
def test_spaces_have_to_be_declared(name: str):
    with pytest.raises(UsageError, match=f"^Undeclared: its {name} is nothing: set self.{name}"):
        SyncEnvironment([functools.partial(Undeclared, name)])
    with pytest.raises(UsageError, match=rf"^mine: its {name} is a builtins.tuple: set"):
        SyncEnvironment([functools.partial(Undeclared, name, (2,))], "mine")


@pytest.mark.parametrize(
    ("name", "space", "problem"),
    [
        ("observation_space", spaces.Dict({}), "is empty, {}: .* something to see"),
        ("observation_space", spaces.Box(0, 1, (0,)), r"is empty, Box \w+\[0\]"),
        ("action_space", spaces.Box(0, 1, (0,)), r"is empty, Box \w+\[0\]: .* to do"),
    ],
)
def test_spaces_may_not_be_empty(name: str, space: Any, problem: str, monkeypatch):
    monkeypatch.setitem(gym.registry, "Empty-v0", None)
    del gym.registry["Empty-v0"]
    gym.register("Empty-v0", functools.partial(Undeclared, name, space))
    with pytest.raises(UsageError, match=f"^gym/Empty-v0: its {name} {problem}"):
        make("gym/Empty-v0")


def other_spaces(number: list[int], name: str, space: spaces.Space) -> gym.Env:
    number.append(0)
    return Counting() if len(number) == 1 else Undeclared(name, space)


@pytest.mark.parametrize(
    ("name", "space"),
    [("observation_space", spaces.Box(-1, 1, (3,))), ("action_space", spaces.Discrete(4))],
)
def test_environments_of_a_vector_are_alike(name: str, space: spaces.Space):
    maker = functools.partial(other_spaces, [], name, space)
    with pytest.raises(UsageError, match=r"^Counting: environment 1 declares the spaces .*alike"):
        SyncEnvironment([maker] * 2)
    # The main process makes one for its spaces, and each worker its own from copies of the list.
    with pytest.raises(UsageError, match=r"^Counting: environment 0 declares the spaces .*alike"):
        AsyncEnvironment([functools.partial(other_spaces, [], name, space)] * 2, workers=2)


def test_what_is_no_environment_of_gymnasium_is_told(monkeypatch):
    monkeypatch.setitem(gym.registry, "No-v0", None)
    del gym.registry["No-v0"]
    gym.register("No-v0", lambda: object())
    with pytest.raises(UsageError, match="gym/No-v0 is no environment of Gymnasium"):
        make("gym/No-v0")


def test_observations_out_of_bounds_are_told_once(caplog):
    parts = spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "b": spaces.MultiDiscrete([3, 3])})
    shown = {"a": np.zeros(2), "b": np.array([0, 3])}
    with caplog.at_level(logging.WARNING, "heredity"):
        for _ in range(2):
            step(None, np.array([0.0, 99.0]))
        env = SyncEnvironment([lambda: Liar(parts, shown)], "gym/Other-v0")
        env.reset(SEEDS[:1], ONE)
    one, other = caplog.messages
    assert one == (
        "gym/Liar-v0 shows 99 in an observation, its observation_space says -1 to 1; it is taken "
        "as it is"
    )
    assert other.startswith(
        "gym/Other-v0 shows 3 in observation['b'], its observation_space says 0"
    )


@pytest.fixture(autouse=True)
def _nothing_told_before(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("heredity.environments.checks._told", set())


@pytest.mark.parametrize(
    ("later", "problem"),
    [
        ({"shown": np.zeros(3)}, r"step gave an observation of shape \(3,\)"),
        ({"change": lambda *right: right[:4]}, "step gave 4 values, as those of the old gym do"),
        ({"change": lambda o, *_: (o, np.ones(2), False, False, {})}, "as its reward: one number"),
        ({"change": lambda o, r, *_: (o, r, np.zeros(2, bool), False, {})}, "as terminated: True"),
        ({"change": lambda o, r, *_: (o, r, False, np.ones(2, bool), {})}, "as truncated: True"),
        ({"change": lambda *right: (*right[:4], [1])}, "as its info: a dict was expected"),
    ],
)
@pytest.mark.parametrize("number", [1, 2])
def test_what_cannot_be_used_later_is_told_as_well(later: dict, problem: str, number: int):
    makers = [functools.partial(Liar)] * number
    env = SyncEnvironment(makers, "gym/Liar-v0")
    env.reset(SEEDS[:number], BOTH[:number])
    env.step(np.zeros(number, np.int64))
    for name, value in later.items():
        setattr(env._stepper.envs[-1], name, value)
    with pytest.raises(UsageError, match=f"^gym/Liar-v0, environment {number - 1}: .*{problem}"):
        env.step(np.zeros(number, np.int64))


def test_keys_that_go_missing_later_are_told():
    env = SyncEnvironment([functools.partial(Liar, PARTS, {"a": RIGHT, "b": 1})], "gym/Liar-v0")
    env.reset(SEEDS[:1], ONE)
    env._stepper.envs[0].shown = {"a": RIGHT}
    with pytest.raises(UsageError, match="environment 0: reset gave an observation without 'b'"):
        env.reset(SEEDS[:1], ONE)


def test_what_an_environment_raises_is_its_own():
    def fail(*right: Any) -> Any:
        raise ValueError("of its own")

    env = begin()
    env.step(np.zeros(1, np.int64))
    env._stepper.envs[0].change = fail
    with pytest.raises(ValueError, match=r"^of its own$"):
        env.step(np.zeros(1, np.int64))


def test_a_whole_number_that_no_float_holds_is_passed_over():
    told = {"big": 10**400, "small": 3}
    result = step(change=lambda *right: (*right[:4], told))
    assert {name: value.tolist() for name, value in result.info.items()} == {"small": [3.0]}
