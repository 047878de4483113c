"""The multi-layer perceptron: its names, its arithmetic, and what it refuses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.common.errors import RefusedError, UnknownNameError, UsageError
from heredity.networks import MlpOptions, NetworkSpec, build_network
from heredity.networks.axes import output_pieces
from heredity.networks.mlp import ACTIVATIONS, NUMPY_ACTIVATIONS
from heredity.spaces import Box, Dict, Discrete
from heredity.weights import flatten

pytestmark = pytest.mark.usefixtures("strict_numerics")

SPACE = Dict({"state": Box((3,)), "choice": Discrete(2)})


def weights(network, seed: int = 0) -> dict:
    """Random weights of the right shapes; initialising would compile a decomposition."""
    draw = np.random.default_rng(seed)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(lambda s: jnp.asarray(draw.normal(size=s.shape).astype(np.float32)), shapes)


def test_paths_and_shapes_are_those_of_the_format():
    network = build_network(MlpOptions(hidden=(4, 6)).spec(), SPACE, 2)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    assert {path: leaf.shape for path, leaf in flatten(shapes).items()} == {
        "hidden_0/bias": (4,),
        "hidden_0/kernel": (5, 4),
        "hidden_1/bias": (6,),
        "hidden_1/kernel": (4, 6),
        "output/bias": (2,),
        "output/kernel": (6, 2),
    }


@pytest.mark.parametrize("hidden", [(), (4,), (4, 6, 3)])
def test_axes_name_every_axis_of_every_leaf(hidden: tuple[int, ...]):
    network = build_network(MlpOptions(hidden=hidden).spec(), SPACE, 2)
    leaves = flatten(jax.eval_shape(network.init, jax.random.key(0)))
    axes = network.axes()
    assert set(axes) == set(leaves)
    for path, found in axes.items():
        assert tuple(axis.size for axis in found) == leaves[path].shape
    first = axes["hidden_0/kernel" if hidden else "output/kernel"]
    assert [piece.of for piece in first[0].pieces] == ["observation/choice", "observation/state"]
    assert axes["output/bias"][0].pieces == output_pieces(2)
    names = [f"hidden_{index}" for index in range(len(hidden))]
    assert [axes[f"{name}/bias"][0].pieces[0].of for name in names] == names


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_computes_what_its_definition_says(activation: str):
    network = build_network(MlpOptions((4,), activation=activation).spec(), SPACE, 2)
    params = weights(network)
    state = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
    observation = {"state": jnp.asarray(state), "choice": jnp.array([0, 1, 0, 1, 0, 1, 1])}
    found, carry, _ = network.apply(params, observation)
    assert carry == ()

    # Entries are joined in the order of their names: the choice first, one-hot.
    x = np.concatenate([np.eye(2)[np.asarray(observation["choice"])], state], axis=-1)
    x = x @ np.asarray(params["hidden_0"]["kernel"]) + np.asarray(params["hidden_0"]["bias"])
    activated = {
        "tanh": np.tanh,
        "relu": lambda v: np.maximum(v, 0),
        "elu": lambda v: np.where(v > 0, v, np.expm1(np.minimum(v, 0))),
        "swish": lambda v: v / (1 + np.exp(-v)),
        "leaky_relu": lambda v: np.where(v > 0, v, 0.01 * v),
        "selu": lambda v: 1.0507009873554805 * np.where(v > 0, v, 1.6732632423543772 * np.expm1(v)),
        # the tanh approximation, as in Flax
        "gelu": lambda v: 0.5 * v * (1 + np.tanh(np.sqrt(2 / np.pi) * (v + 0.044715 * v**3))),
    }[activation](x)
    expected = activated @ np.asarray(params["output"]["kernel"]) + np.asarray(
        params["output"]["bias"]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_numpy_activations_are_the_same_functions(activation: str):
    x = np.concatenate([np.linspace(-90, 90, 721), [0.0, 1e-6, -1e-6]]).astype(np.float32)
    found = NUMPY_ACTIVATIONS[activation](x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, ACTIVATIONS[activation](jnp.asarray(x)), rtol=1e-5, atol=1e-6)


def test_one_observation_in_numpy_gives_the_outputs_of_apply():
    network = build_network(MlpOptions((4, 6)).spec(), SPACE, 2)
    params = jax.tree.map(np.asarray, weights(network))
    function = network.in_numpy(params)
    assert function is not None
    for choice, state in enumerate(np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)):
        one = {"state": state, "choice": np.int64(choice)}
        expected, _, _ = network.apply(params, one)
        np.testing.assert_allclose(function(one), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", [(), (5,), (2, 5)])
def test_any_batch_shape_in_apply_and_scan(batch: tuple[int, ...]):
    network = build_network(MlpOptions((4,)).spec(), Box((3,)), 2)
    params = weights(network)
    x = np.random.default_rng(0).normal(size=(*batch, 3)).astype(np.float32)
    found, _, taps = network.apply(params, jnp.asarray(x), taps=("hidden_0",))
    assert found.shape == (*batch, 2) and taps["hidden_0"].shape == (*batch, 4)
    flat, _, _ = network.apply(params, jnp.asarray(x.reshape(-1, 3)))
    np.testing.assert_allclose(found.reshape(-1, 2), flat, rtol=1e-5, atol=1e-6)
    scanned, carry = network.scan(params, jnp.asarray(x))
    np.testing.assert_array_equal(scanned, found)
    assert carry == network.initial_carry(batch) == ()


def test_taps_are_the_activations_after_each_hidden_layer():
    network = build_network(MlpOptions((4, 6), activation="relu").spec(), Box((3,)), 2)
    params = weights(network)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32))
    output, _, none = network.apply(params, x)
    assert none == {}
    _, _, taps = network.apply(params, x, taps=("hidden_1", "hidden_0"))
    assert list(taps) == ["hidden_1", "hidden_0"]
    assert (taps["hidden_0"] >= 0).all() and (taps["hidden_0"] == 0).any()
    last = taps["hidden_1"] @ params["output"]["kernel"]
    np.testing.assert_allclose(last + params["output"]["bias"][None], output, rtol=1e-5, atol=1e-5)
    with pytest.raises(UnknownNameError, match="hidden_2"):
        network.apply(params, x, taps=("hidden_2",))


@pytest.mark.parametrize("kernel_init", ["orthogonal", "lecun_uniform"])
def test_initial_kernels_have_their_gain(kernel_init: str, key: jax.Array):
    options = MlpOptions((64,), kernel_init=kernel_init, output_scale=0.01)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        params = build_network(options.spec(), Box((64,)), 16).init(key)
    for layer, gain in (("hidden_0", 2.0**0.5), ("output", 0.01)):
        kernel = np.asarray(params[layer]["kernel"], np.float64)
        if kernel_init == "orthogonal":
            product = kernel.T @ kernel
            np.testing.assert_allclose(product, gain**2 * np.eye(len(product)), atol=1e-5)
        else:
            assert np.abs(kernel).max() <= gain * np.sqrt(3 / 64)
            np.testing.assert_allclose(kernel.std(), gain / 8, rtol=0.1)
        np.testing.assert_array_equal(params[layer]["bias"], 0)


def test_a_specification_survives_json():
    spec = MlpOptions((4, 6), "swish", "lecun_uniform", 1.0, 0.1).spec()
    again = NetworkSpec.from_json(spec.to_json())
    assert again == spec
    assert build_network(again, SPACE, 2).spec == spec


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"activation": "tahn"}, UnknownNameError, "tanh"),
        ({"kernel_init": "orthogonl"}, UnknownNameError, "orthogonal"),
        ({"hiden": [4]}, UnknownNameError, "hidden"),
        ({"hidden": [0]}, UsageError, ">= 1"),
        ({"hidden": [2.5]}, UsageError, ">= 1"),
        ({"hidden": None}, RefusedError, "does not describe a network of the kind 'mlp'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_wrong_options_are_named(options: dict, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        build_network(NetworkSpec("mlp", options), SPACE, 2)


def test_an_unknown_kind_is_named():
    with pytest.raises(UnknownNameError, match=r"mpl.*mlp"):
        build_network(NetworkSpec("mpl"), SPACE, 2)
    with pytest.raises(RefusedError, match="does not describe a network"):
        NetworkSpec.from_json({"hidden": [4]})
