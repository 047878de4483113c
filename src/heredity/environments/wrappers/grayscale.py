"""Pictures without their colours."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from heredity.common.errors import UsageError
from heredity.environments.contract import Environment
from heredity.environments.wrappers.observations import PictureChange, change_pictures
from heredity.spaces import Box

# Brightness of red, green and blue, in thousandths: luma of ITU-R BT.601.
_LUMA = (299, 587, 114)


class Grayscale(PictureChange):
    """Three channels become one, their brightness by ITU-R BT.601; the dtype stays.

    Whole numbers are rounded to the nearest, computed in whole numbers: the same bytes everywhere.
    """

    name = "grayscale"

    def space(self, space: Box) -> Box:
        if space.shape[-1] != 3:
            raise UsageError(
                f"grayscale: pictures of 3 channels were expected, those of shape {space.shape} "
                f"have {space.shape[-1]}"
            )
        low, high = (
            bound if not isinstance(bound, tuple) else self.value(np, np.asarray(bound), space)
            for bound in (space.low, space.high)
        )
        shape = (*space.shape[:-1], 1)
        return dataclasses.replace(space, shape=shape, low=low, high=high, names=())

    def value(self, xp: Any, pictures: Any, space: Box) -> Any:
        whole = not np.issubdtype(space.dtype, np.floating)
        parts = xp.asarray(pictures, "int32" if whole else space.dtype)
        red, green, blue = (parts[..., i : i + 1] * weight for i, weight in enumerate(_LUMA))
        total = red + green + blue
        return ((total + 500) // 1000 if whole else total / 1000).astype(space.dtype)


def grayscale(env: Environment) -> Environment:
    """Turn pictures of three colours into one channel of brightness.

    Raises:
        UsageError: when the environment shows no pictures of three channels.
    """
    return change_pictures(env, Grayscale())
