"""Spaces to JSON text and back, exactly."""

import json

import numpy as np
import pytest

from heredity.common.errors import RefusedError
from heredity.spaces import (
    Box,
    Dict,
    Dim,
    Discrete,
    Graph,
    MultiDiscrete,
    space_from_json,
    space_to_json,
)

INFINITY = float("inf")


@pytest.mark.parametrize(
    "space",
    [
        Box((3,)),
        Box((2,), (-INFINITY, 0.1), (3.0, INFINITY)),
        Box((2, 3), np.linspace(-1, 0, 6).reshape(2, 3), 1.0, names=("x", "y", "z")),
        Box((1,), np.float32(1) / 3, np.nextafter(np.float32(1), np.float32(2))),
        Box((2, 2), 0, 255, "uint8", static=True),
        Box((Dim("nodes"), 2), -1.0, 1.0),
        Box((), 0.0, 1.0),
        Discrete(5, start=-2, names=tuple("abcde")),
        Discrete(Dim("nodes")),
        MultiDiscrete((2, 3), names=("jump", "turn")),
        Dict({"state": Box((3,)), "deep": Dict({"pick": Discrete(2)})}),
        Graph(Box((Dim("n"), 4)), Box((Dim("e"), 1), 0.0, INFINITY), static=True),
    ],
)
def test_what_is_read_equals_what_was_written(space):
    text = json.dumps(space_to_json(space), allow_nan=False)
    read = space_from_json(json.loads(text))
    assert read == space
    assert hash(read) == hash(space)
    assert json.dumps(space_to_json(read)) == text


def test_float32_bounds_keep_every_bit():
    low = np.array([0.1, 1 / 3], np.float32)
    read = space_from_json(json.loads(json.dumps(space_to_json(Box((2,), low)))))
    assert np.asarray(read.low, np.float32).tobytes() == low.tobytes()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"type": "box", "shape": [2]}, "misses 'low'"),
        ({"type": "spiral"}, "unknown type 'spiral'"),
        ({"type": "discrete", "n": -1, "start": 0, "names": []}, "whole number >= 0"),
        ({"type": "discrete", "n": {"dim": "two words"}, "start": 0, "names": []}, "identifier"),
        ([1, 2], "does not describe a space"),
        (None, "does not describe a space"),
    ],
)
def test_what_is_no_space_is_refused_by_name(value, message):
    with pytest.raises(RefusedError, match=message) as caught:
        space_from_json(value, "config.json: observation_space")
    assert "config.json: observation_space" in str(caught.value)
