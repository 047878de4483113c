"""Spaces to Gymnasium's and back."""

import gymnasium as gym
import numpy as np
import pytest

from heredity.common.errors import UsageError
from heredity.spaces import (
    Box,
    Dict,
    Dim,
    Discrete,
    Graph,
    MultiDiscrete,
    from_gymnasium,
    to_gymnasium,
)


@pytest.mark.parametrize(
    "space",
    [
        Box((3,), -1.0, 1.0),
        Box((2,), (-np.inf, 0.0), (1.0, np.inf)),
        Box((8, 8, 3), 0, 255, "uint8"),
        Discrete(4, start=2),
        MultiDiscrete((2, 3)),
        Dict({"a": Box((2,)), "b": Dict({"c": Discrete(2)})}),
    ],
)
def test_round_trip(space):
    assert from_gymnasium(to_gymnasium(space)) == space


def test_float64_becomes_float32():
    space = from_gymnasium(gym.spaces.Box(-1.0, 1.0, (2,), np.float64))
    assert space == Box((2,), -1.0, 1.0)


def test_bits_and_tuples_have_counterparts():
    assert from_gymnasium(gym.spaces.MultiBinary(3)) == MultiDiscrete((2, 2, 2))
    pair = gym.spaces.Tuple([gym.spaces.Discrete(2), gym.spaces.Discrete(3)])
    assert from_gymnasium(pair) == Dict({"0": Discrete(2), "1": Discrete(3)})


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Text(5),
        gym.spaces.Sequence(gym.spaces.Discrete(2)),
        gym.spaces.MultiDiscrete([2, 3], start=[1, 0]),
        gym.spaces.MultiDiscrete([[2, 3], [4, 5]]),
    ],
)
def test_kinds_without_counterpart_are_refused(space):
    with pytest.raises(UsageError):
        from_gymnasium(space)


def test_what_has_no_fixed_size_has_no_gymnasium_form():
    with pytest.raises(UsageError, match="symbolic size 'n'"):
        to_gymnasium(Box((Dim("n"),)))
    with pytest.raises(UsageError, match="Graph"):
        to_gymnasium(Graph(Box((2, 1)), Box((2, 1))))
