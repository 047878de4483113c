"""Pictures of another size."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from heredity.common.errors import UsageError
from heredity.environments.contract import Environment
from heredity.environments.wrappers.base import check_whole
from heredity.environments.wrappers.observations import PictureChange, change_pictures
from heredity.spaces import Box

# Weights of bytes are multiples of 2^-11: two passes over bytes then stay within 31 bits.
_BITS = 11


@functools.cache
def linear_weights(before: int, after: int) -> np.ndarray:
    """How much each old pixel of a line gives to each new one, (after, before); rows sum to 1.

    A triangle around the place of the new pixel, two old pixels wide, or two new ones where those
    are larger, so that no old pixel is passed over (linear interpolation with antialiasing).

    Example:
        >>> linear_weights(4, 2)
        array([[0.42857143, 0.42857143, 0.14285714, 0.        ],
               [0.        , 0.14285714, 0.42857143, 0.42857143]])
    """
    scale = before / after
    center = (np.arange(after)[:, None] + 0.5) * scale - 0.5
    distance = np.abs(np.arange(before)[None, :] - center) / max(scale, 1.0)
    weights = np.maximum(0.0, 1.0 - distance)
    return weights / weights.sum(axis=1, keepdims=True)


@functools.cache
def _whole_weights(before: int, after: int) -> np.ndarray:
    """The same in multiples of 2^-11, as whole numbers whose rows sum to 2^11 exactly."""
    weights = linear_weights(before, after)
    whole = np.floor(weights * 2**_BITS + 0.5).astype(np.int64)
    rows = np.arange(after)
    whole[rows, weights.argmax(axis=1)] += 2**_BITS - whole.sum(axis=1)
    return whole


class Resize(PictureChange):
    """Pictures of another height and width, by linear interpolation with antialiasing.

    Bytes are computed in whole numbers and rounded to the nearest, so that they are the same
    bytes in JAX and outside it, on every machine.

    Args:
        height: In pixels.
        width: In pixels.
    """

    name = "resize"

    def __init__(self, height: int, width: int) -> None:
        check_whole("resize", height)
        check_whole("resize", width)
        self._size = (height, width)

    def space(self, space: Box) -> Box:
        if not np.issubdtype(space.dtype, np.floating) and np.dtype(space.dtype).itemsize > 1:
            raise UsageError(
                f"resize: pictures of bytes or of numbers with a fraction were expected, those of "
                f"the environment are {space.dtype}"
            )
        shape = (*self._size, space.shape[-1])
        # Where pixels differ in their bounds, the widest ones hold after mixing.
        low, high = float(np.min(space.low)), float(np.max(space.high))
        return dataclasses.replace(space, shape=shape, low=low, high=high)

    def value(self, xp: Any, pictures: Any, space: Box) -> Any:
        height, width, _ = space.concrete_shape
        sizes = ((height, self._size[0]), (width, self._size[1]))
        if np.issubdtype(space.dtype, np.floating):
            rows, columns = (linear_weights(*size).astype(np.float32) for size in sizes)
            return self._mix(xp, rows, columns, pictures).astype(space.dtype)
        rows, columns = (_whole_weights(*size) for size in sizes)
        if xp is np:
            # BLAS knows no whole numbers, but these are exact in float64 in any order.
            rows, columns = rows.astype(np.float64), columns.astype(np.float64)
            mixed = self._mix(np, rows, columns, pictures.astype(np.float64)).astype(np.int64)
        else:
            rows, columns = rows.astype(np.int32), columns.astype(np.int32)
            mixed = self._mix(xp, rows, columns, pictures.astype("int32"))
        half = 1 << (2 * _BITS - 1)
        return ((mixed + half) >> (2 * _BITS)).astype(space.dtype)

    def _mix(self, xp: Any, rows: np.ndarray, columns: np.ndarray, pictures: Any) -> Any:
        """Weighted sums along both axes; pictures have shape (..., H, W, C)."""
        exact = {} if xp is np else {"precision": jax.lax.Precision.HIGHEST}
        *batch, height, width, channels = pictures.shape
        lines = pictures.reshape((*batch, height, width * channels))
        lines = xp.matmul(rows, lines, **exact).reshape((*batch, len(rows), width, channels))
        return xp.matmul(columns, lines, **exact)


def resize(env: Environment, height: int, width: int) -> Environment:
    """Bring pictures to another height and width.

    Raises:
        UsageError: when the environment shows no pictures.
    """
    return change_pictures(env, Resize(height, width))
