import json
import math

import numpy as np
import pytest

from heredity.weights import diff


def leaf(a, b):
    (found,) = diff({"x": np.asarray(a)}, {"x": np.asarray(b)}).leaves
    return found


def test_equal_weights_have_no_difference():
    weights = {"a": {"b": np.ones(3)}, "c": np.zeros((), np.uint32)}
    assert diff(weights, weights).is_empty
    assert leaf([1.0, 2.0], [1.0, 2.0]).cosine == pytest.approx(1.0)


def test_what_moved_is_measured():
    found = leaf([3.0, 4.0], [3.0, 0.0])
    assert (found.state, found.relative, found.cosine) == ("changed", 0.8, 0.6)
    assert (found.norm_a, found.norm_b, found.largest) == (5.0, 3.0, 4.0)
    assert leaf([1.0, 0.0], [-2.0, 0.0]).cosine == -1.0


def test_zeros_and_bits():
    found = leaf([0.0], [2.0])
    assert found.relative == math.inf and found.cosine is None
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["relative"] is None
    assert leaf([0.0], [0.0]).relative == 0.0
    # Equal as numbers, another bit: changed, and by nothing.
    assert (leaf([0.0], [-0.0]).state, leaf([0.0], [-0.0]).relative) == ("changed", 0.0)
    assert leaf(np.zeros((0, 3)), np.zeros((0, 3))).state == "same"


def test_large_float32_do_not_overflow():
    found = leaf(np.full(4, 1e30, np.float32), np.full(4, 2e30, np.float32))
    assert found.relative == pytest.approx(1.0)


def test_other_paths_and_shapes_are_told():
    a = {"gone": np.ones(2), "wide": np.ones(2), "cast": np.ones(2, np.float32)}
    b = {"new": np.ones(1), "wide": np.ones(3), "cast": np.ones(2, np.float16)}
    found = diff(a, b)
    assert {row.path: row.state for row in found.leaves} == {
        "cast": "reshaped",
        "gone": "only in a",
        "new": "only in b",
        "wide": "reshaped",
    }
    assert found.leaves[0].note == "float32[2] to float16[2]"
    assert found.counts() == {"reshaped": 2, "only in a": 1, "only in b": 1}
    assert not found.is_empty


def test_equal_bytes_are_the_same_whatever_they_are():
    odd = {"a": np.array([np.nan, 1.0])}
    (leaf,) = diff(odd, odd).leaves
    assert (leaf.state, leaf.relative, leaf.cosine, leaf.largest) == ("same", 0.0, 1.0, 0.0)
    (leaf,) = diff(odd, {"a": np.ones(2)}).leaves
    assert leaf.state == "changed" and leaf.cosine is None
