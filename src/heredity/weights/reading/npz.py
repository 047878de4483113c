"""Arrays in numpy's ``.npy`` and ``.npz``, read without its unpickler."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import numpy as np

from heredity.common.errors import RefusedError
from heredity.common.reading import open_regular, read_bytes
from heredity.weights.reading.limits import MOST_FILE, MOST_STRUCTURE
from heredity.weights.reading.zips import open_zip

_MAGIC = b"\x93NUMPY"
_KINDS = "biuf"


def read_numpy(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    """The array of numbers of an ``.npy``, or those of an ``.npz`` by name.

    Raises:
        RefusedError: when it is broken, or holds what is not numbers.
    """
    with open_regular(path) as stream:
        start = stream.read(len(_MAGIC))
    if start[:2] == b"PK":
        return read_npz(path, most=MOST_FILE)
    if start != _MAGIC:
        raise RefusedError(path, "is no file of numpy arrays, .npy or .npz")
    return _array(read_bytes(path, MOST_FILE), str(path))


def read_npz(path: Path, *, most: int = MOST_STRUCTURE) -> dict[str, np.ndarray]:
    """Arrays of numbers by name.

    Args:
        path: Of the file.
        most: Bytes that each of them may hold.

    Raises:
        RefusedError: when it is broken, or holds what is not numbers.
    """
    found = {}
    with open_zip(path) as archive:
        for name in archive.names:
            content = archive.read(name, most=most)
            found[name.removesuffix(".npy")] = _array(content, f"{path}, {name}")
    return found


def _array(content: bytes, path: str) -> np.ndarray:
    """The array of one ``.npy``: a header that is a literal, then its bytes."""
    try:
        if content[:6] != _MAGIC or content[6] not in (1, 2, 3):
            raise ValueError("no .npy")
        start = 10 if content[6] == 1 else 12
        length = int.from_bytes(content[8:start], "little")
        if length > 4096:
            raise ValueError("a header of more than 4096 bytes")
        header = ast.literal_eval(content[start : start + length].decode("latin-1").strip())
        dtype, shape = np.dtype(header["descr"]), tuple(int(size) for size in header["shape"])
        if not isinstance(header["descr"], str) or dtype.kind not in _KINDS:
            raise ValueError("no numbers")
        data = content[start + length :]
        if min(shape, default=0) < 0 or len(data) != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{len(data):,} bytes for shape {shape}")
        order = "F" if header["fortran_order"] else "C"
        return (
            np.frombuffer(data, dtype).reshape(shape, order=order).astype(dtype.newbyteorder("="))
        )
    except (
        AttributeError,
        IndexError,
        KeyError,
        MemoryError,
        OverflowError,
        RecursionError,
        SyntaxError,
        TypeError,
        ValueError,
    ) as error:
        raise RefusedError(path, f"is no whole array of numbers ({error})") from None
