import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.common import counters


@pytest.mark.parametrize("value", [0, 1, 2**24 + 1, 2**32 - 1, 2**32, 2**53 + 1, 2**64 - 1])
def test_exact_far_beyond_what_floats_count(value: int):
    assert counters.to_int(counters.from_int(value)) == value


@pytest.mark.parametrize("value", [0, 2**24, 2**32 - 1, 2**33 - 3])
@pytest.mark.parametrize("amount", [0, 1, 7, 2**31, 2**32 - 1])
def test_addition_carries(value: int, amount: int):
    total = jax.jit(counters.add)(counters.from_int(value), jnp.uint32(amount))
    assert counters.to_int(total) == value + amount


def test_one_counter_per_feature():
    counts = counters.add(counters.zero((3, 2)), 5)
    assert counts.shape == (3, 2, 2)
    assert counts.dtype == jnp.uint32
    np.testing.assert_array_equal(counters.to_float(counts), np.full((3, 2), 5.0))
