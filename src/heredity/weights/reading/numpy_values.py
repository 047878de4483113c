"""How numpy's arrays, dtypes and scalars are written in pickles, and made from that by ourselves.

numpy's own functions for it are never called with what a file says: they trust it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

MOST_AXES = 32


class Unfit(Exception):
    """What a file asks for and does not get."""


class Torn(Unfit):
    """A file that ends too early, or makes no sense."""


_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
# What numpy calls them in pickles, without byte order.
_DTYPES: Mapping[str, np.dtype] = {
    **{
        np.dtype(code).str[1:]: np.dtype(code)
        for code in ("?", "b", "h", "i", "q", "B", "H", "I", "Q", "e", "f", "d")
    },
    "ml_dtypes.bfloat16": _BFLOAT16,
}


@dataclasses.dataclass(eq=False)
class Dtype:
    """A dtype, whose byte order is told after it was made."""

    dtype: np.dtype
    order: str = "|"

    def build(self, state: Any) -> None:
        """Take the byte order from the state that numpy writes."""
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise Unfit("a dtype in a state that numpy does not write")
        if any(part not in (None, -1, 0) for part in state[2:]) and self.dtype != _BFLOAT16:
            raise Unfit("a dtype with fields")
        self.order = state[1]

    def array(self, data: bytes, shape: tuple[int, ...], order: str) -> np.ndarray:
        """The array of these bytes, in this machine's byte order; read-only."""
        count = math.prod(shape)
        if len(data) != count * self.dtype.itemsize:
            raise Unfit(f"{count:,} numbers of {self.dtype} in {len(data):,} bytes")
        swapped = self.dtype if self.order != ">" else self.dtype.newbyteorder(">")
        array = np.frombuffer(data, swapped) if count else np.zeros(0, self.dtype)
        if array.dtype != self.dtype:
            array = array.astype(self.dtype)
        if self.dtype == np.bool_ and count and array.view(np.uint8).max() > 1:
            raise Unfit("truth values other than 0 and 1")
        array = array.reshape(shape, order="F" if order == "F" else "C")
        array.flags.writeable = False
        return array


@dataclasses.dataclass(eq=False)
class UnfinishedArray:
    """An array that was made, and is given its content later."""

    content: np.ndarray | None = None

    def build(self, state: Any) -> None:
        """Take the content from the state that numpy writes."""
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise Unfit("an array in a state that numpy does not write")
        shape, dtype, is_fortran, data = state[-4:]
        if not isinstance(dtype, Dtype) or not isinstance(data, bytes | bytearray):
            raise Unfit("an array of objects")
        self.content = dtype.array(bytes(data), checked_shape(shape), "F" if is_fortran else "C")

    def finish(self) -> np.ndarray:
        """The array.

        Raises:
            Unfit: when it was never given its content.
        """
        if self.content is None:
            raise Unfit("an array without content")
        return self.content


def checked_shape(shape: Any) -> tuple[int, ...]:
    """A shape, if it is one.

    Raises:
        Unfit: when it has too many axes, or sizes that are no whole numbers >= 0.
    """
    if not isinstance(shape, tuple | list) or len(shape) > MOST_AXES:
        raise Unfit("an array in a shape that is no short list")
    for size in shape:
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < 2**48:
            raise Unfit("an array in a shape of what are no sizes")
    return tuple(shape)


def _dtype(code: Any, *_: Any) -> Dtype:
    text = code if isinstance(code, str) else getattr(code, "text", "")
    if text not in _DTYPES:
        # Never the value itself in a message: what names itself often enough is endless as text.
        raise Unfit(f"an array of dtype {text[:80]!r}")
    return Dtype(_DTYPES[text])


def _reconstruct(*_: Any) -> UnfinishedArray:
    return UnfinishedArray()


def _scalar(dtype: Any, data: Any = None) -> Any:
    if not isinstance(dtype, Dtype) or not isinstance(data, bytes):
        raise Unfit("a number of an unknown dtype")
    return dtype.array(data, (), "C")[()]


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(dtype, Dtype) or not isinstance(data, bytes | bytearray):
        raise Unfit("an array of objects")
    return dtype.array(bytes(data), checked_shape(shape), str(order))


def _encode(text: Any, encoding: Any) -> bytes:
    # How Python 2's protocol writes bytes.
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Unfit("text in another encoding than latin1")
    return text.encode("latin-1")


def _jax_array(_: Any, __: Any, state: Any, ___: Any = None) -> UnfinishedArray:
    array = UnfinishedArray()
    array.build(state)
    return array


def _named(*_: Any) -> Any:
    raise Unfit("a class called as a function")


NUMPY_CONSTRUCTORS: Mapping[str, Callable[..., Any]] = {
    "numpy.dtype": _dtype,
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "jax._src.array._reconstruct_array": _jax_array,
    "_codecs.encode": _encode,
    "__builtin__.bytes": lambda: b"",  # how the older protocols write empty bytes
    # Arguments of the above, never called.
    "numpy.ndarray": _named,
    "ml_dtypes.bfloat16": _named,
}
