"""Numpy arrays that a process shares with those that it starts."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from typing import Any

import numpy as np

_ALIGNMENT = 64  # bytes; a cache line


class SharedArrays:
    """Named arrays, zero at first, in one block of memory.

    The file behind the block has no name once it is made, so that nothing is left behind however
    the processes end. What is pickled while a process is being started is the same memory there.

    Args:
        layout: Shape and dtype by name.

    Example:
        >>> arrays = SharedArrays({"reward": ((2,), np.dtype("float32"))})
        >>> arrays["reward"][1] = 3
        >>> arrays["reward"]
        array([0., 3.], dtype=float32)
    """

    def __init__(self, layout: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> None:
        self._places: dict[str, tuple[tuple[int, ...], np.dtype[Any], int]] = {}
        size = 0
        for name, (shape, dtype) in layout.items():
            self._places[name] = (shape, dtype, size)
            taken = int(np.prod(shape)) * dtype.itemsize
            size += -(-taken // _ALIGNMENT) * _ALIGNMENT
        self._block = multiprocessing.get_context("forkserver").RawArray("b", max(size, 1))

    def __getitem__(self, name: str) -> np.ndarray:
        shape, dtype, offset = self._places[name]
        return np.ndarray(shape, dtype, self._block, offset)
