"""Flat names to numpy arrays, in safetensors files. Reading runs no code."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
from safetensors.numpy import save

from heredity.common.errors import RefusedError
from heredity.common.reading import (
    ANOTHER_COPY,
    FileState,
    file_state,
    open_regular,
    open_unchanged,
)


def tensor_bytes(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file; equal tensors and metadata give equal bytes.

    Args:
        tensors: Arrays by flat name. They are written in the order of their names.
        metadata: What the header's ``__metadata__`` says.
    """
    contiguous = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    # ascontiguousarray turns a scalar into a vector; the shape is part of the contract.
    shaped = {name: array.reshape(tensors[name].shape) for name, array in contiguous.items()}
    # Without metadata: the library writes no valid JSON for two empty mappings.
    return _canonical_header(save(shaped, metadata=dict(metadata) or None))


def _canonical_header(data: bytes) -> bytes:
    """The same file with the header's keys in a fixed order.

    The library writes ``__metadata__`` from a hash map, so that two processes may order several
    entries differently; equal weights have to be equal bytes.
    """
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", None)
    ordered = {} if metadata is None else {"__metadata__": dict(sorted(metadata.items()))}
    text = json.dumps({**ordered, **header}, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    # Joined at once: the tensors of a replay are gigabytes.
    return b"".join([len(text).to_bytes(8, "little"), text, memoryview(data)[8 + length :]])


def read_tensors(
    path: Path, names: Collection[str] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Tensors by flat name, and the header's metadata.

    Args:
        path: Of the file.
        names: Those that are wanted, where they are there; None for all.

    Raises:
        RefusedError: when the file is missing, torn or not a safetensors file.
    """
    with _opened(path) as stream:
        metadata = stream.metadata() or {}
        wanted = [name for name in stream.keys() if names is None or name in names]  # noqa: SIM118 - no mapping
        return {name: stream.get_tensor(name) for name in wanted}, dict(metadata)


def tensor_names(path: Path) -> tuple[str, ...]:
    """The names of the tensors of a file, of which nothing else is read.

    Raises:
        RefusedError: when the file is missing, torn or not a safetensors file.
    """
    with _opened(path) as stream:
        return tuple(stream.keys())


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """An array that is still in its file: `np.asarray` reads it, anew each time.

    Large files are then not in memory twice. Not mapped: a file that shrinks while it is mapped
    ends the process.

    Args:
        path: Of the file.
        state: Of the file when its names were read.
        begin: Of its bytes.
        shape: Of the array.
        dtype: Of the array.
    """

    path: Path
    state: FileState
    begin: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def ndim(self) -> int:
        """How many axes it has."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The numbers, in an array of their own.

        Raises:
            RefusedError: when the file is another one than before.
        """
        if copy is False:
            raise ValueError("an array that is in a file is read into one of its own")
        found = self.part(0, self.shape)
        return found if dtype is None else found.astype(dtype, copy=False)

    def part(self, first: int, shape: tuple[int, ...]) -> np.ndarray:
        """Numbers that follow each other, in an array of their own.

        Args:
            first: How many are before them.
            shape: In which they are wanted.

        Raises:
            RefusedError: when the file is another one than before.
        """
        found = np.empty(shape, self.dtype)
        with open_unchanged(self.path, self.state) as stream:
            stream.seek(self.begin + first * self.dtype.itemsize)
            content = found.reshape(-1).view(np.uint8)
            if stream.readinto(content.data) != content.size:
                raise RefusedError(self.path, "ends before its time", ANOTHER_COPY)
        return found


def stored_tensors(path: Path) -> tuple[dict[str, StoredTensor], FileState]:
    """Tensors by flat name, which are read when they are asked for, and the state of the file.

    Unlike `read_tensors`, this knows bfloat16.

    Raises:
        RefusedError: when the file is missing, torn, not a safetensors file, or has a dtype that
            is not known.
    """
    with open_regular(path) as stream:
        state = file_state(stream)
        with _opened(path):  # the library has checked that header, shapes and offsets agree
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    found = {}
    for name, told in sorted(header.items()):
        if told["dtype"] not in _DTYPES:
            raise RefusedError(path, f"has {name} of dtype {told['dtype']}: it is not known")
        begin = 8 + length + told["data_offsets"][0]
        dtype = _DTYPES[told["dtype"]]
        found[name] = StoredTensor(path, state, begin, tuple(told["shape"]), dtype)
    return found, state


_DTYPES = {
    "BOOL": np.dtype(bool),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    **{f"F{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    **{f"I{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"U{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise RefusedError(path, "is missing", ANOTHER_COPY)
    try:
        with safetensors.safe_open(path, framework="numpy") as stream:
            yield stream
    except (
        safetensors.SafetensorError,
        AttributeError,  # a dtype that numpy does not have
        KeyError,
        OSError,
        TypeError,
        ValueError,
    ) as error:
        raise RefusedError(
            path, f"is not a whole safetensors file ({error})", ANOTHER_COPY
        ) from None
