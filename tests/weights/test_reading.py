"""Files of other libraries, read without running what is in them."""

import contextlib
import io
import json
import pickle
import resource
import shutil
import tracemalloc
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from tests.weights.checkpoints import write_checkpoint
from tests.weights.hostile import (
    Calls,
    archive,
    chunk_bombs,
    greedy_pickles,
    hostile_archives,
    hostile_pickles,
)

from heredity.common.errors import RefusedError
from heredity.weights.reading import (
    Record,
    SafeZip,
    arrays_by_path,
    pickles,
    read_orbax,
    read_pickle,
    read_torch,
)

FOREIGN = Path(__file__).parents[1] / "fixtures" / "foreign"
TORCH = FOREIGN / "torch_values" / "model.pt"
ORBAX = FOREIGN / "brax_ppo" / "checkpoint" / "000000000100"


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


# --- pickles ------------------------------------------------------------------------------------


def _name(value: object) -> str:
    """Names alone: archives hold the time at which they were made."""
    return value if isinstance(value, str) else "data"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint16", "int64", "float16", "float32", ">f4", "float64", "bfloat16"]
)
def test_arrays_of_pickles_are_those_that_were_written(protocol: int, dtype: str):
    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    array = np.random.default_rng(0).normal(size=(3, 4)).astype(kind)
    value = {"a": [array, np.asfortranarray(array), array[:0]], "b": (1, -(2**70), "ü", None, 2.5)}
    value["scalar"] = array[1, 2]
    found = read_pickle(pickle.dumps(value, protocol), "params.pkl")
    assert found["b"] == value["b"]
    for one, other in zip([*found["a"], found["scalar"]], [*value["a"], array[1, 2]], strict=True):
        assert np.asarray(one).dtype == kind.newbyteorder("=")
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="read-only"):
        found["a"][0][0, 0] = 0


def test_records_hold_what_an_object_was_made_from():
    value = pickle.dumps(np.random.default_rng(0))
    names = (
        "numpy.random._pickle.__generator_ctor",
        "numpy.random._pickle.__bit_generator_ctor",
        "numpy.random._pcg64.PCG64",
        "numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
        "numpy.random.bit_generator.SeedSequence",
    )
    found = read_pickle(value, "params.pkl", records=names)
    assert isinstance(found, Record) and found.name == names[0]
    with pytest.raises(RefusedError, match=r"asks for numpy\.random\._pickle"):
        read_pickle(value, "params.pkl")


def test_hostile_pickles_are_refused_by_name_and_not_run(tmp_path: Path):
    canary = tmp_path / "canary"
    tried = 0
    for name, data in hostile_pickles(canary):
        with pytest.raises(RefusedError):
            read_pickle(data, name, records=["collections.Counter"])
        assert not canary.exists(), name
        tried += 1
    assert tried > 100
    with pytest.raises(RefusedError, match=r"params\.pkl: asks for posix\.system\. .*was run"):
        import os

        read_pickle(pickle.dumps(Calls(os.system, "true")), "params.pkl")


def test_the_canary_would_die_in_pythons_unpickler(tmp_path: Path):
    canary = tmp_path / "canary"
    data = dict(hostile_pickles(canary))["os.system, protocol 2"]
    pickle.loads(data)
    assert canary.exists()


@pytest.mark.parametrize(("name", "data"), list(greedy_pickles()), ids=_name)
def test_greedy_pickles_take_neither_memory_nor_time(name: str, data: bytes):
    tracemalloc.start()
    try:
        with contextlib.suppress(RefusedError):
            assert read_pickle(data, name) is None, "all that the two without other harm hold"
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


def test_calls_are_charged_for_what_they_make(monkeypatch: pytest.MonkeyPatch):
    for name, data in greedy_pickles():
        if name.endswith("300 times"):
            with pytest.raises(RefusedError, match="asks for values of more than"):
                read_pickle(data, name)
    monkeypatch.setattr(pickles, "MOST_STEPS", 1000)
    with pytest.raises(RefusedError, match="more than 1,000 instructions"):
        read_pickle(b"\x80\x04" + b"}\x94" * 1000 + b".", "params.pkl")
    # What is shared is counted each time, as arrays are.
    assert read_pickle(pickle.dumps(["a" * 2**20] * 16), "params.pkl")[15][0] == "a"
    with pytest.raises(RefusedError, match="values of more than"):
        read_pickle(pickle.dumps(["a" * 2**20] * 20), "params.pkl")


@pytest.mark.parametrize("value", [np.array(["text"]), np.array([object], object), {1, 2}, 1j])
def test_what_is_no_weight_is_refused(value: object):
    with pytest.raises(RefusedError, match="asks for"):
        read_pickle(pickle.dumps(value), "params.pkl")


def test_arrays_by_path_go_through_everything():
    found = arrays_by_path(({"a": [np.ones(1)], "b": Record("x", (), {"c": np.zeros(2)})}, 3))
    assert {name: array.shape for name, array in found.items()} == {"0/a/0": (1,), "0/b/c": (2,)}


# --- zip archives -------------------------------------------------------------------------------


def test_members_are_read_with_their_checksum():
    data = archive({"a": b"first", "b/c": b"x" * 100}, zipfile.ZIP_DEFLATED)
    found = SafeZip(io.BytesIO(data), "model.zip")
    assert found.names == ("a", "b/c") and found.read("a") == b"first"
    for name, most, told in (("missing", 9, "no member"), ("a", 4, "at most 4")):
        with pytest.raises(RefusedError, match=told):
            found.read(name, most)
    stored = archive({"a": b"first"}).replace(b"first", b"fixed")
    with pytest.raises(RefusedError, match="CRC"):
        SafeZip(io.BytesIO(stored), "model.zip").read("a")


@pytest.mark.parametrize(
    ("name", "data"),
    list(hostile_archives({"archive/data.pkl": b"N.", "archive/data/0": b"abcd"})),
    ids=_name,
)
def test_hostile_archives_are_refused(name: str, data: bytes):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RefusedError):
        SafeZip(io.BytesIO(data), name)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "in KiB"


# --- torch --------------------------------------------------------------------------------------


def test_torch_files_hold_every_kind_of_tensor():
    expected = np.load(FOREIGN / "torch_values" / "expected.npz")
    found = read_torch(TORCH)
    state = found["state"]
    assert set(state) == set(expected.files)
    for name, array in state.items():
        assert array.shape == expected[name].shape, name
        np.testing.assert_array_equal(array.astype(expected[name].dtype), expected[name])
    dtypes = {"bfloat16": "bfloat16", "half": "float16", "scalar": "int64", "flags": "bool"}
    assert {name: state[name].dtype.name for name in dtypes} == dtypes
    assert found["list"][1:] == [3, "text", None]
    with pytest.raises(ValueError, match="read-only"):
        state["whole"][0] = 1.0
    assert read_torch(TORCH.read_bytes(), "bytes")["list"][1] == 3


def test_torch_files_of_the_other_byte_order():
    parts = members(TORCH.read_bytes())
    folder = next(iter(parts)).split("/")[0]
    swapped = dict(parts)
    # Which storage has which dtype is known to the pickle alone; here the first one, of floats.
    name = f"{folder}/data/0"
    swapped[name] = np.frombuffer(parts[name], "<f4").byteswap().tobytes()
    swapped[f"{folder}/byteorder"] = b"big"
    found = read_torch(archive(swapped), "big.pt")["state"]
    np.testing.assert_array_equal(found["whole"], np.arange(24))
    assert np.shares_memory(found["whole"], found["part"]), "turned once for all tensors"
    swapped[f"{folder}/byteorder"] = b"middle"
    with pytest.raises(RefusedError, match="byte order"):
        read_torch(archive(swapped), "middle.pt")


def test_torch_files_that_are_refused(tmp_path: Path):
    with pytest.raises(RefusedError, match=r"before 1\.6"):
        read_torch(FOREIGN / "torch_values" / "legacy.pt")
    with pytest.raises(RefusedError, match="not a whole zip archive"):
        read_torch(b"no zip", "model.pt")
    with pytest.raises(RefusedError, match="missing"):
        read_torch(tmp_path / "model.pt")
    good = members(TORCH.read_bytes())
    folder = next(iter(good)).split("/")[0]
    for change, told in (
        ({f"{folder}/constants.pkl": b"N."}, "TorchScript"),
        ({"other/data.pkl": b"N."}, "no member <folder>/data.pkl"),
        ({f"{folder}/data/0": good[f"{folder}/data/0"] + b"1234"}, "which has"),
        ({f"{folder}/data.pkl": b"\x80\x02ctorch.nn.modules.linear\nLinear\n."}, "Linear"),
    ):
        with pytest.raises(RefusedError, match=told):
            read_torch(archive({**good, **change}), "model.pt")


@pytest.mark.parametrize(
    ("shape", "stride", "offset", "told"),
    [
        ((25,), (1,), 0, "25 numbers in a storage of 24"),
        ((24,), (1,), 1, "beyond its storage"),
        ((2, 3), (30, 1), 0, "beyond its storage"),
        ((4, 2**40), (0, 0), 0, "in a storage of 24"),
        ((2,), (1, 1), 0, "strides"),
        ((-2,), (1,), 0, "shape"),
        ((2,), (-1,), 0, "shape"),
        ((2,), (1,), -1, "storage"),
    ],
)
def test_tensors_stay_within_their_storage(shape, stride, offset, told):
    class Storage:
        pass

    class Pickler(pickle._Pickler):  # in Python, so that names need not be importable
        def persistent_id(self, obj: object) -> object:
            if isinstance(obj, Storage):
                return ("storage", Named("torch", "FloatStorage"), "0", "cpu", 24)
            return None

        def save(self, obj, save_persistent_id=True):
            if isinstance(obj, Named):
                self.write(f"c{obj.module}\n{obj.name}\n".encode())
            elif isinstance(obj, Tensor):
                self.save(Named("torch._utils", "_rebuild_tensor_v2"))
                self.save((Storage(), offset, shape, stride, False, {}))
                self.write(b"R")
            else:
                super().save(obj, save_persistent_id)

    class Named:
        def __init__(self, module: str, name: str) -> None:
            self.module, self.name = module, name

    class Tensor:
        pass

    written = io.BytesIO()
    Pickler(written, 2).dump({"weight": Tensor()})
    data = archive({"a/data.pkl": written.getvalue(), "a/data/0": bytes(96)})
    with pytest.raises(RefusedError, match=told):
        read_torch(data, "model.pt")


# --- Orbax --------------------------------------------------------------------------------------


def test_orbax_folders_hold_the_arrays_that_were_saved():
    found = read_orbax(ORBAX)
    assert found["1/params/hidden_0/kernel"].shape == (6, 16)
    assert found["0/mean"].dtype == np.float32 and len(found) == 16
    assert all(np.isfinite(array).all() for array in found.values())


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ORBAX, tmp_path / "checkpoint"))


def test_orbax_folders_that_are_not_whole_are_refused(checkpoint: Path):
    for path in sorted(checkpoint.rglob("*")):
        if path.is_file() and path.stat().st_size and path.parent.name == "d":
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])
            try:
                found = read_orbax(checkpoint)
            except RefusedError:
                pass
            else:  # a file of the parts that were merged, which nothing reads any more
                assert path.relative_to(checkpoint).parts[0] == "ocdbt.process_0"
                assert len(found) == 16
            path.write_bytes(content)
    (checkpoint / "manifest.ocdbt").unlink()
    with pytest.raises(RefusedError, match="cannot be read"):
        read_orbax(checkpoint)


def test_orbax_folders_lead_nowhere_else(checkpoint: Path, tmp_path: Path):
    (tmp_path / "elsewhere").write_text("{}")
    (checkpoint / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RefusedError, match="is a link"):
        read_orbax(checkpoint)


@pytest.mark.parametrize(
    "change",
    [
        {"tree_metadata": {}},
        {"tree_metadata": {"('a',)": {"key_metadata": [], "value_metadata": {}}}},
        {"tree_metadata": {"a": {"key_metadata": [{"key": "../a"}], "value_metadata": {}}}},
        {"tree_metadata": {"a": {"key_metadata": [{"key": "missing"}], "value_metadata": {}}}},
        {"tree_metadata": [], "use_zarr3": True},
    ],
)
def test_orbax_metadata_that_describes_no_arrays_is_refused(checkpoint: Path, change: dict):
    (checkpoint / "_METADATA").write_text(json.dumps(change))
    with pytest.raises(RefusedError):
        read_orbax(checkpoint)


@pytest.mark.parametrize("driver", ["zarr", "zarr3"])
def test_a_missing_piece_of_an_array_is_no_zeros(driver: str, tmp_path: Path):
    arrays = {"a": np.arange(1, 5, dtype=np.float32), "zeros": np.zeros((4, 3), np.float32)}
    write_checkpoint(tmp_path / "step", arrays, 2, driver)
    found = read_orbax(tmp_path / "step")
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    for piece in ("a/1", "zeros/0.0") if driver == "zarr" else ("a/c/1", "zeros/c/0/0"):
        path = tmp_path / "step" / piece
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(RefusedError, match="cannot be read"):
            read_orbax(tmp_path / "step")
        path.write_bytes(content)


@pytest.mark.parametrize(("driver", "bomb"), list(chunk_bombs()), ids=_name)
def test_pieces_that_are_larger_than_their_array_take_no_memory(
    driver: str, bomb: dict[str, bytes], tmp_path: Path
):
    write_checkpoint(tmp_path / "step", {"a": np.ones(1, np.float32)}, driver=driver)
    for name, content in bomb.items():
        (tmp_path / "step" / "a" / name).write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RefusedError, match="unpack to 268,435,456 bytes"):
        read_orbax(tmp_path / "step")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64_000, "in KiB"
