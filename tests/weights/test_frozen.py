import numpy as np
import pytest

from heredity.common.errors import FrozenError
from heredity.weights import flatten, unflatten
from heredity.weights.frozen import FrozenProof

FROZEN = {"encoder": {"a": np.arange(4, dtype=np.float32), "b": np.zeros((), np.int32)}}
TRAINED = {"head": {"w": np.ones(3, np.float32)}}


def test_unmoved_weights_pass():
    proof = FrozenProof.of(FROZEN)
    assert set(proof.hashes) == {"encoder/a", "encoder/b"}
    proof.check({**FROZEN, **TRAINED})
    proof.check({**FROZEN, "head": {"w": np.zeros(3)}})
    FrozenProof.of({}).check(TRAINED)


@pytest.mark.parametrize("bit", range(0, 128, 7))
def test_one_moved_bit_is_an_error(bit: int):
    moved = bytearray(FROZEN["encoder"]["a"].tobytes())
    moved[bit // 8] ^= 1 << (bit % 8)
    leaf = np.frombuffer(bytes(moved), np.float32)
    with pytest.raises(FrozenError, match="1 frozen weights moved: encoder/a"):
        FrozenProof.of(FROZEN).check(unflatten(flatten(FROZEN) | {"encoder/a": leaf}))


@pytest.mark.parametrize(
    "leaf", [np.arange(4, dtype=np.float64), np.arange(4, dtype=np.float32).reshape(2, 2)]
)
def test_another_dtype_or_shape_is_an_error(leaf: np.ndarray):
    with pytest.raises(FrozenError, match="encoder/a"):
        FrozenProof.of(FROZEN).check(unflatten(flatten(FROZEN) | {"encoder/a": leaf}))


def test_a_lost_weight_is_an_error():
    with pytest.raises(FrozenError, match="2 frozen weights moved: encoder/a, encoder/b"):
        FrozenProof.of(FROZEN).check(TRAINED)
