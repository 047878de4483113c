"""States whose dtypes hold still."""

import jax
import jax.numpy as jnp
import pytest

from heredity.common.errors import UsageError
from heredity.environments.carry import conform, stable_template


def test_python_numbers_become_strong_arrays():
    template = stable_template(
        lambda: {"time": 0, "x": jnp.float32(0)},
        lambda s: {"time": s["time"] + 1, "x": s["x"] * 0.5},
        "demo",
    )
    state = conform({"time": 0, "x": 1.0}, template)
    assert state["time"].dtype == jnp.int32 and not state["time"].weak_type
    assert state["x"].dtype == jnp.float32 and not state["x"].weak_type


def test_a_dtype_that_widens_is_wide_from_the_start():
    template = stable_template(lambda: 0, lambda s: s * 0.5, "demo")
    assert template.dtype == jnp.float32


def test_keys_stay_keys():
    key = jax.random.key(0)
    template = stable_template(lambda: key, lambda k: jax.random.fold_in(k, 1), "demo")
    assert conform(key, template) is key


def test_what_changes_shape_or_structure_is_refused():
    with pytest.raises(UsageError, match=r"demo: an array of its state changes shape, \(1,\)"):
        stable_template(lambda: jnp.zeros(1), lambda s: jnp.concatenate([s, s]), "demo")
    with pytest.raises(UsageError, match="structure of its state changes"):
        stable_template(lambda: {"a": 0}, lambda s: {**s, "b": 0}, "demo")
