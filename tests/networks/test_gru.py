import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.common.errors import UnknownNameError, UsageError
from heredity.networks import NetworkSpec, build_network
from heredity.spaces import Box
from heredity.weights import flatten

SPACE = Box((3,))
STEPS, BATCH, SIZE = 7, 2, 5


@pytest.fixture
def network():
    spec = NetworkSpec("gru", {"size": SIZE, "encoder": {"kind": "mlp", "hidden": [4]}})
    return build_network(spec, SPACE, 3)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_one_moment_is_what_its_definition_says(network, key: jax.Array):
    params = jax.tree.map(np.asarray, network.init(key))
    rng = np.random.default_rng(0)
    seen, memory = rng.normal(size=(1, 3)), rng.normal(size=(1, SIZE))
    encoder, gate = params["encoder"]["hidden_0"], params["gate"]
    encoded = np.tanh(seen @ encoder["kernel"] + encoder["bias"])
    r_in, z_in, n_in = np.split(encoded @ gate["input"]["kernel"] + gate["input"]["bias"], 3, -1)
    back = memory @ gate["recurrent"]["kernel"] + gate["recurrent"]["bias"]
    r_back, z_back, n_back = np.split(back, 3, -1)
    reset, update = sigmoid(r_in + r_back), sigmoid(z_in + z_back)
    expected = (1 - update) * np.tanh(n_in + reset * n_back) + update * memory
    _, found, taps = network.apply(params, seen, memory, taps=("memory", "encoder/hidden_0"))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(taps["memory"], found)
    np.testing.assert_allclose(taps["encoder/hidden_0"], encoded, rtol=1e-5, atol=1e-6)
    with pytest.raises(UnknownNameError, match="tap"):
        network.apply(params, seen, memory, taps=("memry",))


def test_a_scan_is_one_moment_after_the_other_and_forgets_where_episodes_begin(
    network, key: jax.Array
):
    params = network.init(key)
    seen = jax.random.normal(key, (STEPS, BATCH, 3))
    is_first = jnp.zeros((STEPS, BATCH), bool).at[3, 1].set(True)
    start = jax.random.normal(key, (BATCH, SIZE))
    outputs, last = network.scan(params, seen, start, is_first=is_first)
    memory = start
    for t in range(STEPS):
        output, memory, _ = network.apply(params, seen[t], memory, is_first=is_first[t])
        np.testing.assert_allclose(outputs[t], output, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(last, memory, rtol=1e-5, atol=1e-6)
    # What came before a beginning changes nothing after it; elsewhere it does.
    other, _ = network.scan(params, seen.at[:3].add(1.0), start + 1, is_first=is_first)
    np.testing.assert_array_equal(outputs[3:, 1], other[3:, 1])
    assert not np.allclose(outputs[3:, 0], other[3:, 0])


def test_shapes_kinds_and_names(network, key: jax.Array):
    params = network.init(key)
    assert set(network.axes()) == set(flatten(params))
    assert network.has_memory and network.initial_carry((4,)).shape == (4, SIZE)
    again = build_network(NetworkSpec.from_json(network.spec.to_json()), SPACE, 3)
    assert again.spec == network.spec
    recurrent = np.asarray(params["gate"]["recurrent"]["kernel"])
    for block in np.split(recurrent, 3, axis=1):
        np.testing.assert_allclose(block @ block.T, np.eye(SIZE), atol=1e-5)


def test_what_cannot_be_built_is_said():
    within = NetworkSpec("gru", {"encoder": {"kind": "gru"}})
    with pytest.raises(UsageError, match="has a memory already"):
        build_network(within, SPACE, 3)
    with pytest.raises(UsageError, match="size 0"):
        build_network(NetworkSpec("gru", {"size": 0}), SPACE, 3)
    with pytest.raises(UnknownNameError, match="network kind 'mpl': did you mean 'mlp'"):
        build_network(NetworkSpec("gru", {"encoder": {"kind": "mpl"}}), SPACE, 3)
