"""What environments of our own contract say and give: their spaces, and vectors of numpy arrays."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from heredity.common.errors import UsageError
from heredity.environments import HostEnvironment, SeededEpisodes, TimeStep
from heredity.environments.checks import check_spaces, difference, tell_out_of_bounds
from heredity.environments.registry import check_given
from heredity.spaces import Box, Dict, Dim, Discrete, Graph, MultiDiscrete


class Vector(HostEnvironment):
    """Two environments that give what they were told to give."""

    observation_space, action_space = Box((3,), -1, 1), Discrete(2)
    num_envs = 2

    def __init__(self, shown: Any = None, told: Any = None, **wrong: Any) -> None:
        self.right = np.zeros((2, 3), np.float32)
        self.shown = self.right if shown is None else shown
        self.told, self.wrong = told, wrong

    def reset(self, seeds: np.ndarray, mask: np.ndarray) -> Any:
        return self.shown

    def step(self, actions: np.ndarray) -> Any:
        if self.told is not None:
            return self.told
        no = np.zeros(2, bool)
        return TimeStep(self.right, np.ones(2, np.float32), no, no, {})._replace(**self.wrong)


@pytest.mark.parametrize(
    ("shown", "problem"),
    [
        (
            np.zeros((3, 2)),
            r"of shape \(3, 2\), its observation_space says of all together \(2, 3\)",
        ),
        (np.zeros(3), r"of shape \(3,\)"),
        (np.zeros((2, 3), "U1"), "of <U1, .* numbers with a fraction"),
        ([0.0, 0.0], r"that is 2 values, its observation_space says Box float32\[3\]"),
        ({"a": np.zeros((2, 3))}, "that is a dict"),
        (np.full((2, 3), np.nan), r"with nan at \[0, 0\]: nothing can be learnt"),
    ],
)
def test_the_first_observations_of_a_vector(shown: Any, problem: str):
    with pytest.raises(UsageError, match=f"^Vector: reset gave an observation {problem}"):
        SeededEpisodes(Vector(shown), 0).start()
    episodes = SeededEpisodes(Vector(observation=shown), 0)
    episodes.start()
    with pytest.raises(UsageError, match=f"^Vector: step gave an observation {problem}"):
        episodes.step(np.zeros(2, int))


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"told": (1, 2)}, "2 values: a TimeStep was expected"),
        ({"reward": 1.0}, r"reward of shape \(\) and dtype float64: numbers of shape \(2,\) were"),
        ({"reward": np.ones((2, 1))}, r"reward of shape \(2, 1\)"),
        ({"reward": np.array(["a", "b"])}, "reward of shape .* dtype <U1"),
        ({"reward": np.array([1.0, np.nan])}, r"rewards \[ 1. nan\]: nothing can be learnt"),
        ({"terminated": np.zeros(2)}, r"terminated of .* float64: booleans of shape \(2,\) were"),
        ({"truncated": np.zeros(2, int)}, "truncated of .* int64: booleans"),
        ({"truncated": None}, "truncated of .* object: booleans"),
        ({"terminated": np.zeros(3, bool)}, r"terminated of shape \(3,\)"),
    ],
)
def test_the_first_step_of_a_vector(wrong: dict[str, Any], problem: str):
    episodes = SeededEpisodes(Vector(**wrong), 0)
    episodes.start()
    with pytest.raises(UsageError, match=f"^Vector: step gave {problem}"):
        episodes.step(np.zeros(2, int))


def test_later_ones_are_not_looked_at():
    env = Vector()
    episodes = SeededEpisodes(env, 0)
    episodes.start()
    episodes.step(np.zeros(2, int))
    env.wrong = {"reward": np.full(2, np.nan)}
    assert np.isnan(episodes.step(np.zeros(2, int)).reward).all()


def test_whole_numbers_stand_for_others():
    episodes = SeededEpisodes(Vector(np.zeros((2, 3), int), reward=np.ones(2, int)), 0)
    episodes.start()
    assert episodes.step(np.zeros(2, int)).reward.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("name", "space", "problem"),
    [
        ("observation_space", None, "is nothing: one of heredity.spaces was expected"),
        ("action_space", gym.spaces.Discrete(2), "is a gymnasium.spaces.discrete.Discrete: one of"),
        (
            "observation_space",
            Dict({}),
            "is empty, {}: there has to be something to see",
        ),
        (
            "observation_space",
            Dict({"a": Dict({}), "b": Box((2, 0))}),
            r"is empty, {'a': {}, 'b': Box float32\[2, 0\]}",
        ),
        ("observation_space", Box((0,)), r"is empty, Box \w+\[0\]"),
        (
            "action_space",
            Box((0,)),
            r"is empty, Box \w+\[0\]: there has to be something to do",
        ),
        ("action_space", Discrete(0), "is empty, Discrete"),
    ],
)
def test_spaces_hold_something(name: str, space: Any, problem: str):
    env = Vector()
    setattr(env, name, space)
    with pytest.raises(UsageError, match=f"^mine: its {name} {problem}"):
        check_spaces(env, "mine")
    with pytest.raises(UsageError, match=f"^Vector: its {name} {problem}"):
        check_given(env)


def test_sizes_known_by_name_alone_and_parts_that_are_empty():
    env = Vector()
    assert check_given(env) == ""
    env.observation_space = Dict({"nodes": Box((Dim("nodes"), 2))})
    check_spaces(env, "mine")
    env.observation_space = Dict({"nothing": Box((0,)), "state": Box((1,))})
    check_spaces(env, "mine")


def test_differences_of_graphs_and_named_sizes():
    nodes = Box((Dim("nodes"), 2))
    assert difference(nodes, np.zeros((7, 2))) == ""
    assert difference(nodes, np.zeros((7, 3))).endswith("says (any, 2)")
    graph = Graph(nodes, Box((Dim("edges"), 1)))
    value = graph.bind({"nodes": 3, "edges": 2}).sample(np.random.default_rng(0))
    assert difference(graph, value) == ""
    assert "without 'edges'" in difference(graph, {k: v for k, v in value.items() if k != "edges"})
    assert difference(MultiDiscrete((2, 3)), np.zeros(2)).endswith("says whole numbers")


def test_bounds_are_compared_part_by_part(caplog, monkeypatch):
    monkeypatch.setattr("heredity.environments.checks._told", set())
    space = Dict({"a": Box((2,), (0.0, -5.0), 1.0), "b": Discrete(3, start=1)})
    inside = {"a": np.array([[0.0, -5.0], [1.0, 1.0]]), "b": np.array([1, 3])}
    tell_out_of_bounds(space, inside, "mine")
    assert caplog.messages == []
    tell_out_of_bounds(space, inside | {"a": np.array([[0.0, 0.0], [-1.0, 0.0]])}, "mine")
    tell_out_of_bounds(space, inside | {"b": np.array([0, 3])}, "other")
    assert [message.partition(";")[0] for message in caplog.messages] == [
        "mine shows -1 in observation['a'], its observation_space says 0 to 1",
        "other shows 0 in observation['b'], its observation_space says 1 to 3",
    ]
