"""Position embeddings of one grid of patches, interpolated to another."""

from __future__ import annotations

import math

import numpy as np

from heredity.common.errors import UsageError

# Of Keys' cubic kernel; what torch has for pictures that are not reduced.
_SHARPNESS = -0.75


def resized_positions(
    positions: np.ndarray, old: tuple[int, int], new: tuple[int, int], apart: int = 1
) -> np.ndarray:
    """Position embeddings for another grid of patches, interpolated bicubically.

    The numbers are those of torch's ``interpolate(mode="bicubic", align_corners=False)``, by which
    the models of Hugging Face and DINOv2 read pictures of another size.

    Args:
        positions: Shape ``(1, apart + rows * columns, width)``, the patches row by row.
        old: Rows and columns of the grid that they are of.
        new: Those of the grid that is wanted.
        apart: How many tokens before the patches (the class token) stay as they are.

    Returns:
        Shape ``(1, apart + new rows * new columns, width)``, in the dtype that was given.

    Raises:
        UsageError: when the embeddings are not of the old grid.

    Example:
        >>> ramp = np.arange(5, dtype=np.float32).reshape(1, 5, 1)
        >>> resized_positions(ramp, (2, 2), (2, 4)).ravel()[:5].round(3)
        array([0.   , 0.895, 1.227, 1.773, 2.105], dtype=float32)
    """
    tokens = apart + math.prod(old)
    if positions.ndim != 3 or positions.shape[:2] != (1, tokens):
        raise UsageError(
            f"position embeddings {list(positions.shape)} are not of {old[0]} x {old[1]} patches "
            f"and {apart} tokens before them: [1, {tokens}, width] was expected"
        )
    if old == new:
        return positions
    before, patches = positions[:, :apart], positions[0, apart:]
    grid = patches.astype(np.float64).reshape(*old, -1)
    rows, columns = _weights(old[0], new[0]), _weights(old[1], new[1])
    found = np.einsum("ir,jc,rcw->ijw", rows, columns, grid, optimize=True)
    found = found.reshape(1, math.prod(new), -1).astype(positions.dtype)
    return np.concatenate([before, found], axis=1)


def _weights(old: int, new: int) -> np.ndarray:
    """What each new place takes from each old one, ``(new, old)``; beyond the edge is the edge."""
    centres = (np.arange(new) + 0.5) * (old / new) - 0.5
    first = np.floor(centres).astype(int)
    found = np.zeros((new, old))
    for offset in (-1, 0, 1, 2):
        places = np.clip(first + offset, 0, old - 1)
        np.add.at(found, (np.arange(new), places), _cubic(np.abs(centres - (first + offset))))
    return found


def _cubic(distance: np.ndarray) -> np.ndarray:
    a = _SHARPNESS
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, far)
