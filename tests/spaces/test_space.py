"""Spaces: what they accept, draw, bind, and refuse."""

import jax.numpy as jnp
import numpy as np
import pytest

from heredity.common.errors import UsageError
from heredity.spaces import Box, Dict, Dim, Discrete, Graph, MultiDiscrete

GENERATOR = np.random.default_rng


@pytest.mark.parametrize(
    "space",
    [
        Box((3,)),
        Box((2, 2), -1.0, [[1, 2], [3, 4]]),
        Box((2,), float("-inf"), (1.0, float("inf"))),
        Box((4, 4, 3), 0, 255, "uint8"),
        Box((), 0.0, 1.0),
        Discrete(4),
        Discrete(3, start=5),
        MultiDiscrete((2, 5)),
        Dict({"a": Box((2,)), "b": Discrete(3)}),
        Graph(Box((4, 2)), Box((6, 1))),
    ],
)
def test_what_is_drawn_belongs(space):
    generator = GENERATOR(0)
    for _ in range(20):
        assert space.contains(space.sample(generator))


@pytest.mark.parametrize(
    ("space", "value"),
    [
        (Box((2,)), np.zeros(3, np.float32)),
        (Box((2,), 0.0, 1.0), np.array([0.5, 1.5], np.float32)),
        (Box((2,), 0.0, (1.0, 9.0)), np.array([2.0, 5.0], np.float32)),
        (Box((1,), 0, 255, "uint8"), np.array([1.0])),
        (Discrete(3, start=5), 0),
        (Discrete(3, start=5), 8),
        (Discrete(3), 1.0),
        (MultiDiscrete((2, 2)), np.array([0, 2])),
        (Dict({"a": Discrete(2)}), {"a": 0, "b": 1}),
        (Dict({"a": Discrete(2)}), {"a": 2}),
    ],
)
def test_what_does_not_belong(space, value):
    assert not space.contains(value)


def test_equal_bounds_written_differently_are_one_space():
    assert Box((2,), -1, 1) == Box((2,), [-1.0, -1.0], np.ones(2))
    assert hash(Box((2,), -1, 1)) == hash(Box((2,), [-1.0, -1.0], np.ones(2)))
    assert Box((2,), (0.0, -1.0)) != Box((2,), -1.0)
    assert Box((2,), (0.0, -1.0)).low == (0.0, -1.0)


def test_integers_without_bounds_have_those_of_their_dtype():
    box = Box((1,), dtype="uint8")
    assert (box.low, box.high) == (0, 255)


@pytest.mark.parametrize("dtype", ["float32", "<f4", np.float32, np.dtype("float32"), jnp.float32])
def test_a_dtype_goes_by_its_name(dtype):
    assert Box((2,), dtype=dtype) == Box((2,))


def test_columns():
    assert Box((2,)).columns == ("0", "1")
    assert Box((5, 2), names=("x", "y")).columns == ("x", "y")
    assert Box((Dim("n"),)).columns == ()


def test_symbolic_sizes():
    space = Dict({"points": Box((Dim("nodes"), 2)), "pick": Discrete(Dim("nodes"))})
    assert space.dims == {"nodes"}
    bound = space.bind({"nodes": 7, "others": 3})
    assert bound.dims == frozenset()
    assert bound == Dict({"points": Box((7, 2)), "pick": Discrete(7)})
    with pytest.raises(UsageError, match="symbolic size 'nodes': bind"):
        space.sample(GENERATOR(0))


def test_a_graph_is_padded_arrays_with_masks():
    graph = Graph(Box((Dim("n"), 3)), Box((Dim("e"), 1))).bind({"n": 5, "e": 8})
    value = graph.sample(GENERATOR(1))
    assert {k: v.shape for k, v in value.items()} == {
        "nodes": (5, 3),
        "edges": (8, 1),
        "senders": (8,),
        "receivers": (8,),
        "node_mask": (5,),
        "edge_mask": (8,),
    }
    value["senders"][0] = 5
    assert not graph.contains(value)


def test_a_dict_keeps_the_order_of_its_names():
    assert list(Dict({"b": Discrete(2), "a": Discrete(3)})) == ["a", "b"]
    assert Dict({"b": Discrete(2), "a": Discrete(3)}) == Dict({"a": Discrete(3), "b": Discrete(2)})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Box((-1,)), "whole number >= 0"),
        (lambda: Box((True,)), "whole number >= 0"),
        (lambda: Box((2,), names=("a",)), "names 1 columns, its last axis is 2"),
        (lambda: Box((2,), names=("a", "a")), "repeat: a"),
        (lambda: Box((3,), low=(0.0, 1.0)), r"low has shape \(2,\)"),
        (lambda: Box((3,), dtype="complex64"), "dtype 'complex64': one of bool, int8"),
        (lambda: Box((3,), dtype=","), "dtype ','"),
        (lambda: Box((3,), dtype="9" * 5000), "dtype '9999.*: one of bool"),
        (lambda: Box((3,), dtype=None), "dtype None"),  # pyright: ignore[reportArgumentType]
        (lambda: Discrete(2, names=("only",)), "was given 1 names"),
        (lambda: Dim("two words"), "an identifier"),
        (lambda: MultiDiscrete(()), "at least one choice"),
        (lambda: MultiDiscrete((2, 0)), "at least one choice"),
        (lambda: MultiDiscrete((2, 3), names=("a",)), "2 choices, 1 names"),
        (lambda: Dict({"a/b": Discrete(2)}), "without '/'"),
        (lambda: Dict({"a": 3}), "is a int, not a space"),
        (lambda: Graph(Box((3,)), Box((2, 1))), "Graph nodes have shape"),
    ],
)
def test_refusals_say_what_was_expected(build, message):
    with pytest.raises(UsageError, match=message):
        build()
