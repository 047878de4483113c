"""Files of `torch.save`, without torch: a zip archive of a pickle and of raw storages."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from heredity.common.errors import RefusedError
from heredity.common.reading import open_regular
from heredity.weights.reading.limits import MOST_FILE, MOST_SHARING, MOST_STRUCTURE, SMALL
from heredity.weights.reading.numpy_values import NUMPY_CONSTRUCTORS, Unfit, checked_shape
from heredity.weights.reading.pickles import PLAIN_CONSTRUCTORS, Interpreter, refusing
from heredity.weights.reading.values import Name, finished
from heredity.weights.reading.zips import SafeZip

# What files of torch before 1.6, which are no zip archives, begin with: a pickle of one large
# number, of whichever protocol.
OLD_TORCH = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_STORAGES: Mapping[str, np.dtype] = {
    "torch.FloatStorage": np.dtype(np.float32),
    "torch.DoubleStorage": np.dtype(np.float64),
    "torch.HalfStorage": np.dtype(np.float16),
    "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch.LongStorage": np.dtype(np.int64),
    "torch.IntStorage": np.dtype(np.int32),
    "torch.ShortStorage": np.dtype(np.int16),
    "torch.CharStorage": np.dtype(np.int8),
    "torch.ByteStorage": np.dtype(np.uint8),
    "torch.BoolStorage": np.dtype(np.bool_),
}


def read_torch(source: Path | bytes, path: Path | str = "") -> Any:
    """What `torch.save` wrote: tensors as read-only arrays, in the dicts and lists they were in.

    Reads what a state dict has: tensors of numbers, parameters, `OrderedDict`, plain values and
    numpy arrays. Everything else is refused by its name, and no code of the file is run.

    Args:
        source: The file, or its bytes.
        path: What errors call bytes.

    Raises:
        RefusedError: when it is no such file, is broken, was written by torch before 1.6, or asks
            for what is not weights.
    """
    if isinstance(source, Path):
        path = source
    with contextlib.ExitStack() as stack:
        if isinstance(source, Path):
            stream = stack.enter_context(open_regular(source, most=MOST_FILE))
        else:
            stream = io.BytesIO(source)
        beginning = stream.read(32)
        if OLD_TORCH in beginning:
            raise RefusedError(
                path,
                "is of the layout that torch had before 1.6, which only an unpickler can read",
                "Load it with torch where you trust it, and save the state dict again",
            )
        archive = SafeZip(stream, path)
        return _TorchArchive(archive).value()


class _TorchArchive:
    """One archive: the folder within it, its byte order, and the storages that were read."""

    def __init__(self, archive: SafeZip) -> None:
        self._archive = archive
        inner = [name for name in archive.names if name.split("/")[1:] == ["data.pkl"]]
        if len(inner) != 1:
            raise RefusedError(
                archive.path, "has no member <folder>/data.pkl: torch.save writes one"
            )
        self._folder = inner[0].removesuffix("data.pkl")
        if f"{self._folder}constants.pkl" in archive.names:
            raise RefusedError(
                archive.path,
                "is a TorchScript program, not weights",
                "Save the state_dict() of the module",
            )
        order = f"{self._folder}byteorder"
        written = archive.read(order, most=16) if order in archive.names else b"little"
        if written not in (b"little", b"big"):
            raise RefusedError(archive.path, f"has a byte order that is none: {written!r}")
        self._order = "<" if written == b"little" else ">"
        self._storages: dict[str, np.ndarray] = {}
        self._turned: dict[tuple[str, np.dtype], np.ndarray] = {}

    def value(self) -> Any:
        constructors = {
            **NUMPY_CONSTRUCTORS,
            **PLAIN_CONSTRUCTORS,
            **dict.fromkeys(_STORAGES, _never),
            "torch._utils._rebuild_tensor_v2": _tensor,
            "torch._utils._rebuild_parameter": _parameter,
        }
        path = self._archive.path
        pickled = self._archive.read(f"{self._folder}data.pkl", most=MOST_STRUCTURE)
        with refusing(path):
            held = sum(map(self._archive.size, self._archive.names))
            most = MOST_SHARING * held + SMALL
            found = Interpreter(constructors, most, find_storage=self._storage).run(pickled)
            return finished(found, most)

    def _storage(self, address: Any) -> np.ndarray:
        """The numbers of a storage, flat, in this machine's byte order."""
        if not isinstance(address, tuple) or len(address) != 5 or address[0] != "storage":
            raise Unfit("something outside of the file that is no storage")
        _, kind, key, _, count = address
        if not isinstance(kind, Name) or kind.text not in _STORAGES:
            raise Unfit("a storage of an unknown kind")
        if not isinstance(key, str) or not isinstance(count, int):
            raise Unfit("a storage without a name or a size")
        dtype = _STORAGES[kind.text]
        known = self._storages.get(key)
        if known is None:
            name = f"{self._folder}data/{key}"
            expected = count * dtype.itemsize
            if self._archive.size(name) != expected:
                raise Unfit(
                    f"{count:,} numbers of {dtype} in storage {key!r}, "
                    f"which has {self._archive.size(name):,} bytes"
                )
            content = np.frombuffer(self._archive.read(name), np.uint8)
            known = self._storages[key] = content
        if known.nbytes != count * dtype.itemsize:
            raise Unfit(f"storage {key!r} in two sizes")
        # Storages are kept as bytes, because tensors of two dtypes may share one.
        if self._order == "<" or dtype.itemsize == 1:
            return known.view(dtype)
        # Once for all tensors in it: a storage is named by each of them.
        if (key, dtype) not in self._turned:
            turned = known.reshape(-1, dtype.itemsize)[:, ::-1]
            self._turned[key, dtype] = np.ascontiguousarray(turned).reshape(-1).view(dtype)
        return self._turned[key, dtype]


def _tensor(
    storage: Any, offset: Any, size: Any, stride: Any, _gradient: Any = False, *_: Any
) -> np.ndarray:
    """The view of a storage that a tensor is."""
    shape, steps = checked_shape(size), checked_shape(stride)
    if not isinstance(storage, np.ndarray) or not isinstance(offset, int) or offset < 0:
        raise Unfit("a tensor without a storage")
    if len(shape) != len(steps):
        raise Unfit("a tensor with another number of strides than axes")
    count = int(np.prod(shape, dtype=object))
    if count > len(storage):
        raise Unfit(f"a tensor of {count:,} numbers in a storage of {len(storage):,}")
    last = offset + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
    if count and last >= len(storage):
        raise Unfit("a tensor that goes beyond its storage")
    if storage.dtype == np.bool_ and len(storage) and storage.view(np.uint8).max() > 1:
        raise Unfit("truth values other than 0 and 1")
    if not count:
        return np.zeros(shape, storage.dtype)
    view = np.lib.stride_tricks.as_strided(
        storage[offset:],
        shape,
        tuple(step * storage.itemsize for step in steps),
        writeable=False,
    )
    return view


def _parameter(data: Any, *_: Any) -> np.ndarray:
    if not isinstance(data, np.ndarray):
        raise Unfit("a parameter that is no tensor")
    return data


def _never(*_: Any) -> Any:
    raise Unfit("a storage called as a function")
