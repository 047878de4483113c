import hashlib
import json
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from heredity.common.errors import RefusedError
from heredity.common.reading import hash_beside
from heredity.common.tensors import read_tensors, stored_tensors, tensor_bytes, tensor_names

TENSORS = {
    "actor/hidden_0/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "count": np.array([1, 2**32 - 1], np.uint32),
    "scalar": np.float64(1.5),
    "flag": np.array(True),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float32),
    "pixels": np.arange(4, dtype=np.uint8),
    "step": np.array(2**40, np.int64),
    "half": np.array([0.5], np.float16),
}
METADATA = {"format": "test", "schema_version": "1", "zebra": "z", "apple": "ä"}


def raw(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_round_trip(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(tensor_bytes(TENSORS, METADATA))
    tensors, metadata = read_tensors(path)
    assert metadata == METADATA
    assert set(tensors) == set(TENSORS) == set(tensor_names(path))
    assert set(read_tensors(path, {"flag", "nowhere"})[0]) == {"flag"}
    for name, stored in stored_tensors(path)[0].items():
        assert (stored.dtype, stored.shape) == (tensors[name].dtype, tensors[name].shape)
        np.testing.assert_array_equal(np.asarray(stored), tensors[name])
    for name, expected in TENSORS.items():
        assert tensors[name].dtype == np.asarray(expected).dtype
        assert tensors[name].shape == np.shape(expected)
        assert tensors[name].tobytes() == np.asarray(expected).tobytes()


def test_a_tensor_is_not_read_from_a_file_that_is_another_one_by_now(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(tensor_bytes(TENSORS, METADATA))
    tensors, state = stored_tensors(path)
    assert hash_beside(path, state).result() == hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(tensor_bytes({"kernel": np.zeros(3)}, {}))
    with pytest.raises(RefusedError, match="was changed while it was read"):
        np.asarray(tensors["step"])
    with pytest.raises(RefusedError, match="was changed while it was read"):
        hash_beside(path, state).result()


def test_no_tensors_are_a_file_too(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(tensor_bytes({}, {}))
    assert read_tensors(path) == ({}, {})


def test_equal_tensors_are_equal_bytes():
    shuffled = dict(reversed(TENSORS.items()))
    reordered = dict(reversed(METADATA.items()))
    assert tensor_bytes(TENSORS, METADATA) == tensor_bytes(shuffled, reordered)
    # Neither the memory's layout nor its byte order is content.
    kernel = TENSORS["actor/hidden_0/kernel"]
    for same in (np.asfortranarray(kernel), kernel.astype(">f4"), np.repeat(kernel, 2, 1)[:, ::2]):
        assert tensor_bytes({"a": same}, {}) == tensor_bytes({"a": kernel}, {})


def test_other_tensors_are_other_bytes():
    base = tensor_bytes({"a": np.zeros(2, np.float32)}, {})
    for name, other in (
        ("b", np.zeros(2, np.float32)),
        ("a", np.zeros((2, 1), np.float32)),
        ("a", np.zeros(2, np.int32)),
        ("a", np.array([0.0, -0.0], np.float32)),
    ):
        assert tensor_bytes({name: other}, {}) != base
    assert tensor_bytes({"a": np.zeros(2, np.float32)}, {"x": "y"}) != base


def test_bytes_do_not_depend_on_the_process():
    code = (
        "import sys, hashlib, numpy as np\n"
        "from heredity.common.tensors import tensor_bytes\n"
        "t = {f'w/{i}': np.arange(i, dtype=np.float32) for i in range(9)}\n"
        "m = {f'k{i}': str(i) for i in range(9)}\n"
        "print(hashlib.sha256(tensor_bytes(t, m)).hexdigest())\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(found) == 1


def test_a_missing_file_is_refused_by_name(tmp_path: Path):
    with pytest.raises(RefusedError, match=r"absent\.safetensors: is missing"):
        read_tensors(tmp_path / "absent.safetensors")
    with pytest.raises(RefusedError, match="is missing"):
        read_tensors(tmp_path)


def test_every_truncation_is_refused(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    data = tensor_bytes(TENSORS, METADATA)
    lengths = {0, 1, 7, 8, 9, len(data) - 1, *random.Random(0).sample(range(len(data)), 60)}
    for length in sorted(lengths):
        path.write_bytes(data[:length])
        with pytest.raises(RefusedError, match=r"x\.safetensors: is not a whole"):
            read_tensors(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(RefusedError):
        read_tensors(path)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
        struct.pack("<Q", 2**63) + b"{}",
        raw([]),
        raw({"a": 1}),
        raw({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"1234"),
        raw({"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 4]}}, b"1234"),
        raw({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"12345678"),
        raw({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**40]}}, b"1234"),
        raw({"a": {"dtype": "object", "shape": [1], "data_offsets": [0, 8]}}, b"12345678"),
        raw({"a": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}, b"1"),
        raw({"__metadata__": {"format": 1}}),
    ],
    ids=[
        "a pickle", "huge header", "list", "number", "negative", "overflow", "gap", "far offset",
        "object dtype", "dtype numpy lacks", "metadata of numbers",
    ],
)  # fmt: skip
def test_malicious_files_are_refused(tmp_path: Path, data: bytes):
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(RefusedError, match=r"x\.safetensors"):
        read_tensors(path)
