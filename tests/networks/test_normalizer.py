"""Running statistics against numpy over everything seen at once, whatever the batches were."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.common import counters
from heredity.networks.normalizer import (
    EPSILON,
    init_observation_statistics,
    init_statistics,
    normalize,
    normalize_observation,
    update_observation_statistics,
    update_statistics,
)
from heredity.spaces import Box, Dict, Discrete
from heredity.weights import flatten

pytestmark = pytest.mark.usefixtures("strict_numerics")

SPACE = Dict(
    {
        "state": Box((3,)),
        "camera": Box((2, 2, 1), 0, 255, dtype="uint8"),
        "inner": Dict({"goal": Box((2,)), "choice": Discrete(4)}),
        "height": Box(()),
    }
)


def observations(*batch: int, seed: int = 0) -> dict:
    draw = np.random.default_rng(seed)
    return {
        "state": draw.normal([1, 100, -0.01], [1, 20, 0.001], (*batch, 3)).astype(np.float32),
        "camera": draw.integers(0, 255, (*batch, 2, 2, 1), dtype=np.uint8),
        "inner": {
            "goal": draw.normal(size=(*batch, 2)).astype(np.float32),
            "choice": draw.integers(0, 4, batch, dtype=np.int32),
        },
        "height": draw.normal(5, 2, batch).astype(np.float32),
    }


@pytest.mark.parametrize("sizes", [(40,), (1, 19, 20), (20, 1, 19), (1,) * 20 + (20,), (19, 20, 1)])
def test_any_cutting_into_batches_gives_the_statistics_of_the_whole(sizes: tuple[int, ...]):
    data = np.random.default_rng(0).normal([0, 50, -3], [1, 5, 0.01], (40, 3)).astype(np.float32)
    statistics, step = init_statistics((3,)), jax.jit(update_statistics)
    for batch in np.split(data, np.cumsum(sizes)[:-1]):
        statistics = step(statistics, jnp.asarray(batch))
    wide = data.astype(np.float64)
    np.testing.assert_allclose(statistics["mean"], wide.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(statistics["variance"], wide.var(0), rtol=1e-3)
    assert [counters.to_int(count) for count in statistics["count"]] == [40] * 3


def test_every_leading_axis_is_a_sample_axis():
    data = np.random.default_rng(0).normal(size=(5, 4, 2, 3)).astype(np.float32)
    one = update_statistics(init_statistics((3,)), jnp.asarray(data))
    flat = update_statistics(init_statistics((3,)), jnp.asarray(data.reshape(-1, 3)))
    for path, leaf in flatten(one).items():
        np.testing.assert_array_equal(leaf, flatten(flat)[path])
    scalar = update_statistics(init_statistics(()), jnp.asarray(data))
    np.testing.assert_allclose(scalar["variance"], data.var(), rtol=1e-5)
    assert counters.to_int(scalar["count"]) == data.size


def test_features_that_hardly_vary_far_from_zero_keep_their_deviation():
    """Mean 1000, deviation 0.1: sums of squares in float32 would lose it altogether."""
    data = np.random.default_rng(0).normal(1000, 0.1, (64, 100, 1)).astype(np.float32)
    statistics = init_statistics((1,))
    step = jax.jit(update_statistics)
    for batch in data:
        statistics = step(statistics, jnp.asarray(batch))
    np.testing.assert_allclose(statistics["variance"], data.var(dtype=np.float64), rtol=0.02)


def test_counts_are_exact_past_32_bits_and_each_feature_has_its_own():
    statistics = init_statistics((2,))
    high = jnp.stack([counters.from_int(2**32 - 3), counters.from_int(0)])
    statistics = {**statistics, "mean": jnp.array([1.0, 0.0]), "count": high}
    data = np.random.default_rng(0).normal(7, 1, (5, 2)).astype(np.float32)
    after = update_statistics(statistics, jnp.asarray(data))
    assert [counters.to_int(count) for count in after["count"]] == [2**32 + 2, 5]
    # The one with a history hardly moves; the one without takes the batch as it is.
    assert abs(float(after["mean"][0]) - 1.0) < 1e-6
    np.testing.assert_allclose(after["mean"][1], data[:, 1].mean(), rtol=1e-6)
    np.testing.assert_allclose(after["variance"][1], data[:, 1].var(), rtol=1e-5)


def test_normalize_centres_scales_and_clips():
    draw = np.random.default_rng(0)
    data = draw.normal([5, -2], [3, 0.2], (1000, 2)).astype(np.float32)
    statistics = update_statistics(init_statistics((2,)), jnp.asarray(data))
    found = np.asarray(normalize(statistics, jnp.asarray(data), 10.0))
    np.testing.assert_allclose(found, (data - data.mean(0)) / data.std(0), rtol=1e-3, atol=1e-4)
    clipped = np.asarray(normalize(statistics, jnp.asarray(data), 1.5))
    np.testing.assert_array_equal(clipped, np.clip(found, -1.5, 1.5))
    assert (np.abs(found) > 1.5).any()


def test_a_constant_feature_becomes_zero_not_nan():
    statistics = update_statistics(init_statistics((1,)), jnp.full((10, 1), 3.0))
    found = normalize(statistics, jnp.full((10, 1), 3.0), 10.0)
    np.testing.assert_array_equal(found, 0)
    assert normalize(statistics, jnp.full((1, 1), 4.0), 10.0) == 10.0


def test_only_float_boxes_have_statistics():
    paths = flatten(init_observation_statistics(SPACE))
    leaves = ("observation/height", "observation/inner/goal", "observation/state")
    expected = {f"{leaf}/{name}" for leaf in leaves for name in ("mean", "variance", "count")}
    assert set(paths) == expected
    assert paths["observation/state/count"].shape == (3, 2)
    assert paths["observation/height/count"].shape == (2,)
    assert init_observation_statistics(Discrete(3)) == {}
    assert set(flatten(init_observation_statistics(Box((2,))))) == {
        f"observation/{name}" for name in ("mean", "variance", "count")
    }


@pytest.mark.parametrize("batch", [(), (6,), (4, 6)])
def test_observations_keep_their_structure_and_what_is_not_normalised(batch: tuple[int, ...]):
    statistics = init_observation_statistics(SPACE)
    seen = observations(50, 4)
    statistics = update_observation_statistics(SPACE, statistics, seen)
    now = observations(*batch, seed=1)
    found = normalize_observation(SPACE, statistics, now, 10.0)
    np.testing.assert_array_equal(found["camera"], now["camera"])
    np.testing.assert_array_equal(found["inner"]["choice"], now["inner"]["choice"])
    assert found["camera"].dtype == np.uint8
    for name in ("state", "height"):
        past = seen[name].reshape(-1, *SPACE[name].shape)
        expected = (now[name] - past.mean(0)) / np.sqrt(past.var(0) + EPSILON)
        assert found[name].shape == now[name].shape
        np.testing.assert_allclose(found[name], np.clip(expected, -10, 10), rtol=1e-3, atol=1e-3)


def test_fresh_statistics_change_nothing():
    now = observations(3)
    found = normalize_observation(SPACE, init_observation_statistics(SPACE), now, 1e6)
    np.testing.assert_allclose(found["state"], now["state"], rtol=1e-6)
