"""What host environments tell beside the reward: numbers by name, gathered and averaged.

A number is an array of shape (num_envs,). Where only some environments told it, ``_name`` beside
it says which, as in Gymnasium's own vectors: bool, of the same shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from heredity.common.errors import UsageError

_MOST_BITS = 1023  # of whole numbers that a float can hold
_NUMBERS = (int, float, np.integer, np.floating, np.bool_)


def numbers(info: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """What in the info of one Gymnasium environment is one number, yes and no among them.

    Arrays, texts, dicts (as the ``episode`` of ``RecordEpisodeStatistics``) and whole numbers that
    no float can hold are passed over.

    Example:
        >>> dict(numbers({"speed": 2.0, "done": True, "episode": {"r": 1.0}, "way": "left"}))
        {'speed': 2.0, 'done': True}
    """
    for name, value in info.items():
        if _is_number(value) and isinstance(name, str):
            yield name, value


def _is_number(value: Any) -> bool:
    if type(value) is int:
        return value.bit_length() <= _MOST_BITS
    return isinstance(value, _NUMBERS) or (
        isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "biuf"
    )


def stacked(infos: Sequence[Mapping[Any, Any]]) -> dict[str, np.ndarray]:
    """The infos of Gymnasium environments, one of each, as those of a vector.

    Example:
        >>> stacked([{"speed": 2.0}, {"speed": 3.0}])
        {'speed': array([2., 3.])}
        >>> stacked([{}, {"speed": 3.0}])
        {'speed': array([0., 3.]), '_speed': array([False,  True])}
    """
    first = infos[0]
    if all(info.keys() == first.keys() for info in infos):
        names = [name for name, _ in numbers(first)]
        each = [[info[name] for info in infos] for name in names]
        # Looked at one by one: numpy takes None for NaN, and a text of digits for a number.
        if all(type(value) is float or _is_number(value) for row in each for value in row):
            return dict(zip(names, np.array(each, np.float64), strict=True))
    values: dict[str, list[Any]] = {}
    places: dict[str, list[int]] = {}
    for index, info in enumerate(infos):
        for name, value in numbers(info):
            if name in values:
                values[name].append(value)
                places[name].append(index)
            else:
                values[name], places[name] = [value], [index]
    found: dict[str, np.ndarray] = {}
    for name, told in values.items():
        if len(told) == len(infos):
            found[name] = np.array(told, np.float64)
            continue
        found[name], mask = np.zeros(len(infos)), np.zeros(len(infos), bool)
        found[name][places[name]] = told
        mask[places[name]] = True
        found[f"_{name}"] = mask
    return found


def _names(info: Mapping[str, Any]) -> list[str]:
    """Those of the numbers, without the masks."""
    return [name for name in info if not (name.startswith("_") and name[1:] in info)]


def choose_infos(
    mask: np.ndarray, yes: Mapping[str, Any], no: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """By environment, one of two infos of a vector, which need not tell the same numbers.

    Args:
        mask: Shape (num_envs,), bool.
        yes: Taken where `mask`.
        no: Taken elsewhere.

    Example:
        >>> choose_infos(np.array([True, False]), {"speed": np.ones(2)}, {})
        {'speed': array([1., 0.]), '_speed': array([ True, False])}
    """
    found: dict[str, np.ndarray] = {}
    for name in dict.fromkeys((*_names(yes), *_names(no))):
        found[name] = np.where(mask, yes.get(name, 0.0), no.get(name, 0.0))
        told = np.where(mask, _told(yes, name), _told(no, name))
        if not told.all():
            found[f"_{name}"] = told
    return found


def _told(info: Mapping[str, Any], name: str) -> Any:
    return info.get(f"_{name}", name in info)


class InfoMeans:
    """Means over steps and environments of what was told.

    Example:
        >>> means = InfoMeans()
        >>> means.add({"speed": np.array([1.0, 3.0])})
        >>> means.add({"speed": np.array([5.0, 0.0]), "_speed": np.array([True, False])})
        >>> means.found()
        {'speed': (3.0, 3)}
    """

    def __init__(self) -> None:
        self._sums: dict[str, np.ndarray] = {}  # of each environment: cheaper than of all, at once
        self._counts: dict[str, int] = {}

    def add(self, info: Mapping[str, Any]) -> None:
        """Take in the info of one step of a vector.

        Raises:
            UsageError: for something else than numbers.
        """
        for name in _names(info):
            value, mask = info[name], info.get(f"_{name}")
            total = self._sums.get(name)
            if total is None:
                total = self._sums[name] = _zeros(name, value)
                self._counts[name] = 0
            if mask is None:
                total += value
                self._counts[name] += total.size
            else:
                total[mask] += value[mask]
                self._counts[name] += int(np.count_nonzero(mask))

    def found(self) -> dict[str, tuple[float, int]]:
        """By name the mean, and of how many numbers it is one."""
        return {
            name: (float(self._sums[name].sum()) / count, count)
            for name, count in self._counts.items()
            if count
        }


def _zeros(name: str, value: Any) -> np.ndarray:
    first = np.asarray(value)
    if first.dtype.kind not in "biuf":
        raise UsageError(
            f"info[{name!r}] of a step is {value!r}: numbers by name were expected, of shape "
            "(num_envs,); see TimeStep"
        )
    return np.zeros(first.shape)
