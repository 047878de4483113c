import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.common.errors import RefusedError, UnknownNameError, UsageError
from heredity.networks import NetworkSpec, Vit, VitOptions, build_network
from heredity.networks.positions import resized_positions
from heredity.spaces import Box, Dict
from heredity.weights import flatten

SIZES = {"patch": 4, "width": 12, "depth": 1, "heads": 3, "hidden": [5]}
PICTURE = Box((8, 12, 3), 0, 255, "uint8")
MIXED = Dict({"camera": PICTURE, "other": Box((8, 12, 6), 0, 255, "uint8"), "speed": Box((2,))})


def observations(space, *batch: int):
    generator = np.random.default_rng(0)
    draws = [space.sample(generator) for _ in range(int(np.prod(batch)))]
    return jax.tree.map(
        lambda *leaves: np.stack(leaves).reshape((*batch, *leaves[0].shape)), *draws
    )


def weights(network):
    """Any, without compiling what draws fresh ones."""
    generator = np.random.default_rng(1)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(
        lambda leaf: generator.normal(0, 0.2, leaf.shape).astype(leaf.dtype), shapes
    )


def spec(**options) -> NetworkSpec:
    return NetworkSpec("vit", {**SIZES, **options})


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,)])
def test_any_batch_shape(batch: tuple[int, ...]):
    network = build_network(spec(), MIXED, 5)
    params = weights(network)
    seen = observations(MIXED, *(size or 1 for size in batch))
    if 0 in batch:
        seen = jax.tree.map(lambda leaf: leaf[:0], seen)
    output, _, _ = jax.jit(network.apply)(params, seen)
    assert output.shape == (*batch, 5) and output.dtype == jnp.float32


def test_leaves_have_the_names_and_axes_that_are_documented(key: jax.Array):
    network = build_network(spec(layer_scale=0.1), MIXED, 1)
    leaves = flatten(jax.jit(network.init)(key))
    axes = network.axes()
    assert set(axes) == set(leaves)
    assert all(
        tuple(axis.size for axis in axes[path]) == leaf.shape for path, leaf in leaves.items()
    )
    assert leaves["encoder/block_0/attention/query/kernel"].shape == (12, 12)
    # Two pictures of three channels, the second of which is two; and two of speed.
    assert leaves["joined/hidden_0/kernel"].shape == (3 * 12 + 2, 5)
    np.testing.assert_array_equal(leaves["encoder/block_0/mlp_scale"], np.full(12, 0.1, np.float32))


def test_a_trunk_without_hidden_layers_gives_the_pooled_features():
    network = build_network(spec(hidden=[]), PICTURE, None)
    params = weights(network)
    assert set(params) == {"encoder"} and network.output_size == 12
    tapped = functools.partial(network.apply, taps=("image", "image/tokens"))
    output, _, taps = jax.jit(tapped)(params, observations(PICTURE, 2))
    np.testing.assert_array_equal(output, taps["image"])
    assert taps["image/tokens"].shape == (2, 1 + 2 * 3, 12)
    np.testing.assert_array_equal(output, taps["image/tokens"][:, 0])
    mean = build_network(spec(hidden=[], pooling="mean"), PICTURE, None)
    pooled = jax.jit(mean.apply)(params, observations(PICTURE, 2))[0]
    np.testing.assert_allclose(pooled, taps["image/tokens"][:, 1:].mean(1), rtol=1e-5, atol=1e-6)


def test_preprocessing_is_scaling_then_mean_and_std():
    sizes = {"patch": 4, "width": 4, "heads": 1, "depth": 1}
    options = VitOptions(**sizes, picture_mean=(0.1, 0.2, 0.3), picture_std=(0.5,))
    network = Vit(options, PICTURE, None)
    white = network.preprocessed(np.full((8, 12, 3), 255, np.uint8))
    assert white.shape == (1, 8, 12, 3)
    np.testing.assert_allclose(white[0, 0, 0], [1.8, 1.6, 1.4], rtol=1e-6)


def test_stacked_frames_are_read_one_by_one_and_one_channel_is_repeated():
    stacked = Box((8, 12, 6), 0, 255, "uint8")
    network = build_network(spec(picture_channels=3, hidden=[]), stacked, None)
    params = weights(network)
    seen = observations(stacked, 2)
    both = network.apply(params, seen)[0]
    single = build_network(spec(hidden=[]), PICTURE, None)
    parts = [single.apply(params, seen[..., i : i + 3])[0] for i in (0, 3)]
    np.testing.assert_allclose(both, np.concatenate(parts, -1), rtol=1e-5, atol=1e-6)
    one_channel = Box((8, 12, 1), 0, 255, "uint8")
    gray = build_network(spec(picture_channels=3, hidden=[]), one_channel, None)
    thrice = np.repeat(seen[..., :1], 3, -1)
    found = jax.jit(gray.apply)(params, seen[..., :1])[0]
    np.testing.assert_allclose(found, single.apply(params, thrice)[0], rtol=1e-5, atol=1e-6)


def test_pictures_are_resized_to_the_size_or_up_to_whole_patches():
    network = build_network(spec(), Box((7, 9, 3), 0, 255, "uint8"), 1)
    assert network.spec.options["picture_size"] == [8, 12]
    again = build_network(network.spec, Box((7, 9, 3), 0, 255, "uint8"), 1)
    assert again.spec == network.spec
    other = build_network(spec(picture_size=[16, 16]), PICTURE, 1)
    assert other.spec.options["picture_size"] == [16, 16]


def test_bfloat16_computes_coarsely_and_keeps_float32_weights():
    exact, coarse = (
        build_network(spec(dtype=kind), PICTURE, 3) for kind in ("float32", "bfloat16")
    )
    params = weights(exact)
    assert {leaf.dtype for leaf in jax.tree.leaves(weights(coarse))} == {jnp.dtype("float32")}
    seen = observations(PICTURE, 4)
    one, other = jax.jit(exact.apply)(params, seen)[0], jax.jit(coarse.apply)(params, seen)[0]
    assert other.dtype == jnp.float32 and not np.array_equal(one, other)
    np.testing.assert_allclose(one, other, rtol=0.1, atol=0.05)


@pytest.mark.parametrize(
    ("space", "options", "told"),
    [
        (Box((3,)), {}, "reads pictures"),
        (PICTURE, {"heads": 5}, "heads 5 do not divide the width 12"),
        (PICTURE, {"picture_size": [9, 8]}, "multiples of the patch 4"),
        (PICTURE, {"picture_std": [0.0]}, "numbers > 0"),
        (PICTURE, {"picture_mean": [0.1, 0.2]}, "3, one for each channel"),
        (PICTURE, {"pooling": "max"}, "'class' or 'mean' was expected"),
        (PICTURE, {"depth": 0}, "depth 0"),
        (Box((8, 8, 4)), {"picture_channels": 3}, "4 channels, the encoder reads 3"),
    ],
)
def test_what_does_not_fit_is_refused(space, options: dict, told: str):
    with pytest.raises(UsageError, match=told):
        build_network(spec(**options), space, 1)


def test_an_unknown_option_is_refused():
    with pytest.raises(UnknownNameError, match="did you mean 'patch'"):
        build_network(spec(pach=4), PICTURE, 1)
    with pytest.raises((UsageError, RefusedError)):
        build_network(spec(width="wide"), PICTURE, 1)


def test_positions_stay_as_they_are_on_the_same_grid_and_constants_on_any():
    positions = np.random.default_rng(0).normal(size=(1, 7, 4)).astype(np.float32)
    assert resized_positions(positions, (2, 3), (2, 3)) is positions
    constant = np.ones((1, 7, 4), np.float32)
    np.testing.assert_allclose(resized_positions(constant, (2, 3), (5, 4)), 1.0, rtol=1e-6)
    larger = resized_positions(positions, (2, 3), (4, 3))
    assert larger.shape == (1, 13, 4) and larger.dtype == np.float32
    np.testing.assert_array_equal(larger[:, 0], positions[:, 0])
    with pytest.raises(UsageError, match="not of 3 x 3 patches"):
        resized_positions(positions, (3, 3), (4, 3))
