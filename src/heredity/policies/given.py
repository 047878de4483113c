"""What a policy is given to look at: checked against its space, and against what it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import numpy as np

from heredity.common.errors import MismatchError
from heredity.spaces import Box, Dict, Discrete, Space

Unread: TypeAlias = Callable[[], Mapping[str, np.ndarray]]
"""Gives the columns of each entry that nothing reads; asked where one is not finite."""


def checked_observation(space: Space, observation: Any, unread: Unread = dict) -> tuple[Any, bool]:
    """The observation as arrays of the space's dtypes, and whether it has a leading batch axis.

    Args:
        space: Of the policy.
        observation: One, or several with one leading axis.
        unread: Where a column that nothing reads is not finite, it becomes 0: a sensor that was
            just added may fail without the policy failing.

    Raises:
        MismatchError: when it is not of the space, or has NaN.
    """
    if isinstance(space, Box):
        return _checked_leaf(space, observation, "observation", unread)
    return _checked_tree(space, observation, "observation", unread)


def without_unread(whole: Space, read: Space, observation: Any) -> Any:
    """An observation without the entries that a policy knows and does not read.

    Args:
        whole: All that the policy knows.
        read: What it reads.
        observation: Entries that it does not know stay, to be refused.
    """
    if not (
        isinstance(whole, Dict) and isinstance(read, Dict) and isinstance(observation, Mapping)
    ):
        return observation
    return {
        name: without_unread(whole[name], read[name], part) if name in whole else part
        for name, part in observation.items()
        if name in read or name not in whole
    }


def without_unneeded(needed: Space, shown: Space) -> Space:
    """What an environment shows without the entries that are not needed."""
    if not (isinstance(needed, Dict) and isinstance(shown, Dict)):
        return shown
    return Dict(
        {
            name: without_unneeded(needed[name], part)
            for name, part in shown.entries
            if name in needed
        }
    )


def _checked_leaf(space: Space, value: Any, path: str, unread: Unread) -> tuple[np.ndarray, bool]:
    """The array of one leaf space, and whether it has a leading batch axis."""
    array = _as_array(space, value, path)
    if isinstance(space, Box):
        shape = space.shape
    else:
        shape = () if isinstance(space, Discrete) else (len(space.nvec),)  # pyright: ignore[reportAttributeAccessIssue]
    batched = array.ndim == len(shape) + 1 and array.shape[1:] == shape
    if array.shape != shape and not batched:
        raise MismatchError(
            f"{path} has shape {array.shape}, {shape} or (batch, {', '.join(map(str, shape))}) "
            "was expected",
            "The policy was trained on other observations",
        )
    if isinstance(space, Box):
        array = _without_nan(space, array, path, unread)
    else:
        _refuse_unknown_choices(space, array, path)
    return array, batched


def _as_array(space: Space, value: Any, path: str) -> np.ndarray:
    """The value in the space's dtype; whole numbers stay what they are."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise MismatchError(f"{path} is not an array ({error})") from None
    whole = not isinstance(space, Box) or np.dtype(space.dtype).kind in "iu"
    if array.dtype.kind not in ("iu" if whole else "iufb"):
        expected = "whole numbers were" if whole else "numbers were"
        raise MismatchError(f"{path} has dtype {array.dtype}, {expected} expected")
    if not isinstance(space, Box) or array.dtype == space.dtype:
        return array
    if whole and array.size:
        limits = np.iinfo(space.dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise MismatchError(f"{path} does not fit {space.dtype}: {array.min()} … {array.max()}")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, as in training
        return array.astype(space.dtype)


def is_finite(array: np.ndarray) -> bool:
    """Whether all numbers are; False where that cannot be told quickly, and they have to be seen.

    Args:
        array: Of any dtype; whole numbers are finite.
    """
    if array.dtype.kind != "f":
        return True
    # A sum is finite unless something in it is not (or it overflows: then look closely).
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum()))


def gaps_filled(array: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The array with 0 for what is not finite in some columns.

    Args:
        array: Shape ``(..., *entry)``.
        columns: Which, bool, of the shape of the entry.
    """
    return np.where(columns & ~np.isfinite(array), array.dtype.type(0), array)


def _without_nan(space: Box, array: np.ndarray, path: str, unread: Unread) -> np.ndarray:
    if is_finite(array):
        return array
    columns = unread().get(path)
    if columns is not None and columns.any():
        array = gaps_filled(array, columns)
    missing = np.isnan(array)
    if missing.any():
        columns = np.unique(np.nonzero(missing)[-1])[:5] if space.shape else [0]
        names = [space.columns[i] if space.columns else str(i) for i in columns]
        raise MismatchError(
            f"{path} has NaN in column {', '.join(names)}",
            "A policy cannot act on what was not measured: fix or replace the sensor",
        )
    return array


def _refuse_unknown_choices(space: Space, array: np.ndarray, path: str) -> None:
    first = space.start if isinstance(space, Discrete) else 0
    size = np.asarray(space.size if isinstance(space, Discrete) else space.nvec)  # pyright: ignore[reportAttributeAccessIssue]
    if np.any((array < first) | (array >= first + size)):
        raise MismatchError(
            f"{path} is {array.tolist()}, choices from {first} to below {(first + size).tolist()} "
            "were expected"
        )


def _checked_tree(space: Space, value: Any, path: str, unread: Unread) -> tuple[Any, bool]:
    if not isinstance(space, Dict):
        return _checked_leaf(space, value, path, unread)
    if not isinstance(value, Mapping) or set(value) != set(space):
        given = sorted(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
        raise MismatchError(f"{path} has the keys {given}, {list(space)} were expected")
    checked = {
        name: _checked_tree(part, value[name], f"{path}/{name}", unread)
        for name, part in space.entries
    }
    values = {name: array for name, (array, _) in checked.items()}
    batched = any(flag for _, flag in checked.values())
    if batched and len({len(leaf) for leaf in jax.tree.leaves(values) if leaf.ndim}) != 1:
        raise MismatchError(f"{path} mixes batches of different sizes")
    if not all(flag is batched for _, flag in checked.values()):
        raise MismatchError(f"{path} mixes single and batched entries")
    return values, batched
