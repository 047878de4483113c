"""Pictures made smaller, in numpy alone."""

from __future__ import annotations

import functools

import numpy as np

from heredity.common.errors import UsageError


def resize_area(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pictures in another size: each pixel is the mean of the area that it covers.

    This is what OpenCV calls ``INTER_AREA`` when pictures become smaller. Where they become larger
    a pixel covers a part of one pixel or two.

    Args:
        images: uint8, shape (..., H, W, C).
        size: Height and width to come.

    Returns:
        uint8, shape (..., height, width, C), rounded to the nearest (a half to the even one).

    Raises:
        UsageError: for another dtype, fewer axes, or a size below 1.

    Example:
        >>> picture = np.array([[0, 10, 20], [30, 40, 50]], np.uint8)[..., None]
        >>> resize_area(picture, (1, 3))[..., 0]
        array([[15, 25, 35]], dtype=uint8)
    """
    if images.dtype != np.uint8 or images.ndim < 3:
        raise UsageError(
            f"images of dtype {images.dtype} and shape {images.shape}: "
            "uint8 of shape (..., H, W, C) was expected"
        )
    if min(size) < 1 or min(images.shape[-3:]) < 1:
        raise UsageError(f"images of shape {images.shape} in size {size}: 1 pixel is the least")
    if images.shape[-3:-1] == tuple(size):
        return images.copy()
    height, width = images.shape[-3:-1]
    # The axis that shrinks most goes first, so that the other has less to do.
    if size[0] * width <= size[1] * height:
        means = _along(_along(images, -3, size[0]), -2, size[1])
    else:
        means = _along(_along(images, -2, size[1]), -3, size[0])
    return np.rint(means).astype(np.uint8)


def _along(images: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Means along one axis, float32: few shifted copies cost less than a product with a matrix."""
    if images.shape[axis] == size:
        return images.astype(np.float32)
    indices, weights = _shares(images.shape[axis], size)
    trailing = (1,) * (-1 - axis)
    total = None
    for index, weight in zip(indices, weights, strict=True):
        part = np.take(images, index, axis) * weight.reshape(-1, *trailing)
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None
    return total


@functools.lru_cache(64)
def _shares(size: int, new_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Which old pixels a new one covers, and how much of it each fills.

    Returns:
        Indices and weights (float32), both of shape (most covered, new_size).
    """
    edges = np.arange(new_size + 1) * (size / new_size)
    first = np.floor(edges[:-1]).astype(np.int64)
    most = int(np.max(np.ceil(edges[1:]) - first))
    indices = first + np.arange(most)[:, None]
    covered = np.minimum(edges[1:], indices + 1) - np.maximum(edges[:-1], indices)
    weights = np.maximum(covered, 0.0) * (new_size / size)
    return np.minimum(indices, size - 1), weights.astype(np.float32)
