"""Observations to features: what is flattened, what becomes one-hot, and in which order."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.common.errors import UsageError
from heredity.networks.observations import (
    feature_size,
    features,
    leaf_observations,
    leaf_spaces,
)
from heredity.spaces import Box, Dict, Dim, Discrete, MultiDiscrete, Space

pytestmark = pytest.mark.usefixtures("strict_numerics")

SPACE = Dict(
    {
        "state": Box((2, 3)),
        "choice": Discrete(3, start=5),
        "inner": Dict({"pair": MultiDiscrete((2, 4)), "camera": Box((2,), 0, 255, dtype="uint8")}),
        "height": Box(()),
    }
)


def observation(*batch: int) -> dict:
    draw = np.random.default_rng(0)
    return {
        "state": draw.normal(size=(*batch, 2, 3)).astype(np.float32),
        "choice": draw.integers(5, 8, batch, dtype=np.int32),
        "inner": {
            "pair": draw.integers(0, (2, 4), (*batch, 2), dtype=np.int32),
            "camera": draw.integers(0, 256, (*batch, 2)).astype(np.uint8),
        },
        "height": np.asarray(draw.normal(size=batch), np.float32),
    }


def by_hand(now: dict) -> np.ndarray:
    """The features of one observation, in the order of the entries' names."""
    one_hot = [np.eye(3)[now["choice"] - 5], [now["height"]], now["inner"]["camera"]]
    pair = now["inner"]["pair"]
    return np.concatenate([*one_hot, np.eye(2)[pair[0]], np.eye(4)[pair[1]], now["state"].ravel()])


@pytest.mark.parametrize("batch", [(), (5,), (2, 3), (0,)])
def test_features_of_any_batch(batch: tuple[int, ...]):
    seen = observation(*batch)
    found = np.asarray(features(SPACE, seen))
    assert found.shape == (*batch, feature_size(SPACE)) == (*batch, 3 + 1 + 2 + 6 + 6)
    assert found.dtype == np.float32
    for index in np.ndindex(*batch):
        one = jax.tree.map(lambda leaf, at=index: leaf[at], seen)
        np.testing.assert_array_equal(found[index], by_hand(one).astype(np.float32))


@pytest.mark.parametrize(
    ("space", "value", "expected"),
    [
        (Box((3,)), np.array([1.0, 2.0, 3.0], np.float32), [1, 2, 3]),
        (Box(()), np.float32(2.5), [2.5]),
        (Box((2,), 0, 9, dtype="int32"), np.array([4, 9], np.int32), [4, 9]),
        (Discrete(4), np.int32(2), [0, 0, 1, 0]),
        (Discrete(2, start=-1), np.int32(-1), [1, 0]),
        (MultiDiscrete((2, 3)), np.array([1, 0], np.int32), [0, 1, 1, 0, 0]),
    ],
    ids=str,
)
def test_one_of_each(space: Space, value: np.ndarray, expected: list[float]):
    np.testing.assert_array_equal(features(space, value), np.float32(expected))
    assert feature_size(space) == len(expected)


def test_a_choice_out_of_range_is_all_zero_not_a_neighbour():
    """What one-hot does with what no space allows; clipping would make it another choice."""
    np.testing.assert_array_equal(features(Discrete(3), jnp.array([3, -1])), np.zeros((2, 3)))


def test_leaves_have_paths_in_the_order_of_features():
    assert list(leaf_spaces(SPACE)) == [
        "observation/choice",
        "observation/height",
        "observation/inner/camera",
        "observation/inner/pair",
        "observation/state",
    ]
    assert list(leaf_spaces(Box((2,)))) == ["observation"]
    seen = observation(4)
    leaves = leaf_observations(SPACE, seen)
    assert list(leaves) == list(leaf_spaces(SPACE))
    assert leaves["observation/inner/pair"] is seen["inner"]["pair"]


def test_the_order_does_not_depend_on_how_the_dict_was_written():
    swapped = Dict({"b": Box((1,)), "a": Box((2,))})
    found = features(swapped, {"b": np.float32([1]), "a": np.float32([2, 3])})
    np.testing.assert_array_equal(found, [2, 3, 1])


def test_sizes_that_are_not_fixed_are_refused():
    with pytest.raises(UsageError, match="nodes"):
        feature_size(Box((Dim("nodes"), 2)))
