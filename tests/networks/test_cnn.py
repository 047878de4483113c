import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.common.errors import UnknownNameError, UsageError
from heredity.networks import EncodingNetwork, NetworkSpec, build_network
from heredity.spaces import Box, Dict, Discrete
from heredity.weights import flatten

PICTURE = Box((10, 10, 4), 0, 255, "uint8")
MIXED = Dict({"camera": PICTURE, "speed": Box((2,)), "gear": Discrete(3)})


def observations(space, *batch: int):
    generator = np.random.default_rng(0)
    draws = [space.sample(generator) for _ in range(int(np.prod(batch)))]
    return jax.tree.map(
        lambda *leaves: np.stack(leaves).reshape((*batch, *leaves[0].shape)), *draws
    )


def spec(**options) -> NetworkSpec:
    return NetworkSpec("cnn", {"hidden": [8], **options})


def test_a_convolution_is_the_sum_that_its_definition_says(key: jax.Array):
    network = build_network(spec(convolutions=["2x3/2"], hidden=[], activation="relu"), PICTURE, 1)
    params = network.init(key)
    picture = observations(PICTURE, 1)
    kernel = np.asarray(params["image"]["convolution_0"]["kernel"])
    scaled = picture[0].astype(np.float32) / 255
    found = np.zeros((4, 4, 2), np.float32)
    for row in range(4):
        for column in range(4):
            part = scaled[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            found[row, column] = np.einsum("hwc,hwcf->f", part, kernel)
    last = params["joined"]["output"]
    expected = np.maximum(found, 0).reshape(-1) @ np.asarray(last["kernel"]) + last["bias"]
    np.testing.assert_allclose(network.apply(params, picture)[0][0], expected, rtol=1e-5)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,)])
def test_any_batch_shape(batch: tuple[int, ...], key: jax.Array):
    network = build_network(spec(), MIXED, 5)
    params = network.init(key)
    seen = (
        observations(MIXED, *batch)
        if 0 not in batch
        else jax.tree.map(lambda leaf: leaf[:0], observations(MIXED, 1))
    )
    output, _, _ = network.apply(params, seen)
    assert output.shape == (*batch, 5) and output.dtype == jnp.float32


def test_features_are_all_that_the_layers_after_the_convolutions_read(key: jax.Array):
    network = build_network(spec(), MIXED, 5)
    assert isinstance(network, EncodingNetwork) and network.encoders == ("image_camera",)
    params, seen = network.init(key), observations(MIXED, 2, 3)
    encoder, joined = ({name: params[name]} for name in ("image_camera", "joined"))
    features = network.features(encoder, seen)
    assert features.shape == (2, 3, 8 * 8 * 16 + 2 + 3)
    expected = network.apply(params, seen)[0]
    np.testing.assert_array_equal(network.from_features(joined, features), expected)


def test_what_is_no_picture_is_joined_after_the_convolutions(key: jax.Array):
    network = build_network(spec(), MIXED, 1)
    params = network.init(key)
    seen = observations(MIXED, 1)
    other = {**seen, "speed": seen["speed"] + 1}
    assert not np.allclose(network.apply(params, seen)[0], network.apply(params, other)[0])
    assert set(network.axes()) == set(flatten(params))
    # 8 x 8 x 16 of the picture, two of speed, three of gear.
    assert params["joined"]["hidden_0"]["kernel"].shape == (8 * 8 * 16 + 5, 8)


def test_reads_only_what_it_is_told(key: jax.Array):
    network = build_network(NetworkSpec("cnn", {"hidden": [8]}, ("camera",)), MIXED, 1)
    params = network.init(key)
    seen = observations(MIXED, 2)
    alone = network.apply(params, {"camera": seen["camera"]})[0]
    np.testing.assert_array_equal(network.apply(params, seen)[0], alone)
    with pytest.raises(UnknownNameError, match="'camra': did you mean 'camera'"):
        build_network(NetworkSpec("cnn", {}, ("camra",)), MIXED, 1)


def test_bfloat16_computes_coarsely_and_keeps_float32_weights(key: jax.Array):
    exact, coarse = (
        build_network(spec(dtype=dtype), MIXED, 3) for dtype in ("float32", "bfloat16")
    )
    params = exact.init(key)
    assert {leaf.dtype for leaf in jax.tree.leaves(coarse.init(key))} == {jnp.dtype("float32")}
    seen = observations(MIXED, 4)
    one, other = exact.apply(params, seen)[0], coarse.apply(params, seen)[0]
    assert other.dtype == jnp.float32 and not np.array_equal(one, other)
    np.testing.assert_allclose(one, other, rtol=0.1, atol=0.05)


@pytest.mark.parametrize(
    ("space", "options", "told"),
    [
        (Box((3,)), {}, "reads pictures.*choose the network kind mlp"),
        (PICTURE, {"convolutions": ["32x8"]}, "'32x8': features x kernel / stride"),
        (PICTURE, {"convolutions": ["32x8/4", "64x4/2"]}, "too small.*1 x 1 are left"),
    ],
)
def test_what_cannot_be_built_is_said(space, options, told):
    with pytest.raises(UsageError, match=told):
        build_network(spec(**options), space, 1)


def test_convolutions_follow_from_the_size_of_the_picture():
    large = build_network(spec(), Box((84, 84, 4), 0, 255, "uint8"), 1)
    assert large.spec.options["convolutions"] == ["32x8/4", "64x4/2", "64x3/1"]
    assert build_network(spec(), PICTURE, 1).spec.options["convolutions"] == ["16x3/1"]
