from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.common.errors import MismatchError
from heredity.weights import tree_from_host, tree_to_host


class State(NamedTuple):
    key: jax.Array
    keys: jax.Array
    moments: dict
    nothing: tuple
    steps: list


def state(seed: int = 0) -> State:
    return State(
        key=jax.random.key(seed),
        keys=jax.random.split(jax.random.key(seed + 1), 3),
        moments={"w": jnp.full((2, 3), seed, jnp.float32), "empty": jnp.zeros((0, 4))},
        nothing=(),
        steps=[jnp.uint32(2**32 - 1 - seed), jnp.array([True, False])],
    )


def test_round_trip_keeps_every_bit():
    saved = tree_to_host(state(7))
    assert all(isinstance(leaf, np.ndarray) and leaf.dtype != object for leaf in saved.values())
    for template in (state(0), jax.eval_shape(lambda: state(0))):
        restored = tree_from_host(template, saved, "x")
        assert jax.tree.structure(restored) == jax.tree.structure(state(7))
        for path, leaf in tree_to_host(restored).items():
            assert leaf.dtype == saved[path].dtype and leaf.tobytes() == saved[path].tobytes()
    np.testing.assert_array_equal(
        jax.random.uniform(tree_from_host(state(0), saved, "x").keys[1]),
        jax.random.uniform(state(7).keys[1]),
    )


def test_copies_outlive_donated_buffers():
    step = jax.jit(lambda s: jax.tree.map(lambda leaf: leaf + 1, s), donate_argnums=0)
    now = {"w": jnp.zeros(64)}
    saved = tree_to_host(now)
    step(step(now))
    np.testing.assert_array_equal(saved["w"], np.zeros(64))
    template = {"w": jnp.zeros(64)}
    restored = tree_from_host(template, saved, "x")
    step(restored)
    np.testing.assert_array_equal(saved["w"], np.zeros(64))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"moments/w": None}, "moments/w is missing"),
        ({"extra": np.zeros(1)}, "extra is not known"),
        ({"moments/w": np.zeros((3, 2), np.float32)}, r"moments/w is float32\[3, 2\]"),
        ({"moments/w": np.zeros((2, 3), np.float64)}, r"float32\[2, 3\] was expected"),
        ({"key": np.zeros(3, np.uint32)}, "key is uint32"),
        ({"key": np.zeros(2, np.float32)}, "key is float32"),
        ({"keys": np.zeros((2, 2), np.uint32)}, "keys is uint32"),
        ({"steps/0": np.zeros((), np.int32)}, "steps/0 is int32"),
    ],
)
def test_what_does_not_fit_is_named(change: dict, told: str):
    saved = {**tree_to_host(state()), **change}
    saved = {path: leaf for path, leaf in saved.items() if leaf is not None}
    with pytest.raises(MismatchError, match=told) as raised:
        tree_from_host(state(), saved, "state.safetensors")
    assert "state.safetensors does not fit" in str(raised.value)


def test_only_the_first_problems_are_told():
    template = {f"w{i}": jnp.zeros(2) for i in range(9)}
    with pytest.raises(MismatchError, match="and 4 more"):
        tree_from_host(template, {}, "x")
