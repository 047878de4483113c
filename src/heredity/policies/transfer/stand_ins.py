"""What stands for a column that is no more: its mean, and how far from it the column ever was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from heredity.common.errors import MismatchError, UnknownNameError, UsageError
from heredity.networks.axes import column_count, column_names
from heredity.networks.normalizer import normalized_leaves
from heredity.networks.observations import chosen_entries, features, leaf_observations, leaf_spaces
from heredity.policies.policy import Policy
from heredity.spaces import Box
from heredity.weights import subtree

_NO_BOUND = 1e6  # deviations; libraries that do not cut write a large number
_LARGEST = 1e30  # sums of such numbers are still finite


class StandIns:
    """Means of the columns of a policy's observation, as its networks see them.

    Args:
        policy: Whose statistics know them, where observations are normalised.
        means: Given by the person, in the units of the sensor, by name (``speed`` or
            ``state/speed``).
        observations: Recorded ones of the policy's space, with a leading axis ``(B,)``; None for
            none.

    Raises:
        UnknownNameError: for a mean of what there is not.
    """

    def __init__(
        self, policy: Policy, means: Mapping[str, float] | None = None, observations: Any = None
    ) -> None:
        self._policy = policy
        self._leaves = leaf_spaces(policy.spec.observation_space)
        self._means = dict(means or {})
        self._observations = observations
        known = {name for path in self._leaves for pair in self._names(path) for name in pair}
        for name in self._means:
            if name not in known:
                raise UnknownNameError("mean of the column", name, known)
            value = self._means[name]
            is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if not is_number or not abs(float(value)) <= _LARGEST:
                raise UsageError(f"mean {value!r} of {name}: a number up to 1e30 was expected")

    def of(self, path: str, removed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For the columns of an entry: what stands for them, and the farthest they can be from it.

        Args:
            path: Of the entry.
            removed: Which of its columns are no more.

        Returns:
            Two arrays ``(columns,)``, zero for columns that stay; a distance may be infinite.

        Raises:
            MismatchError: when nobody knows the mean of one.
        """
        leaf = self._leaves[path]
        count = column_count(leaf)
        values, spread = np.zeros(count), np.zeros(count)
        seen = self._seen(path)
        for column in removed:
            given = next(
                (self._means[n] for n in self._names(path)[column] if n in self._means), None
            )
            normalized = path in self._normalized
            if given is None and normalized and self._counted(path, column):
                values[column], spread[column] = self._normalized_one(path, column, None)
                continue
            if given is None and seen is not None:
                given = float(seen[:, column].mean())
            if given is None:
                name = self._names(path)[column][0]
                raise MismatchError(
                    f"the mean of {name} is not known: {self._why_unknown(path)}",
                    f"Give it (--means {name}=VALUE, in Python means=), or observations that were "
                    "recorded (--observations FILE, in Python observations=)",
                )
            if normalized:
                values[column], spread[column] = self._normalized_one(path, column, given)
                continue
            values[column] = given
            spread[column] = self._distance(leaf, column, given)
        return values, spread

    @property
    def _normalized(self) -> Mapping[str, Box]:
        spec = self._policy.spec
        if not spec.normalize_observations:
            return {}
        return normalized_leaves(spec.observation_space)

    def _counted(self, path: str, column: int) -> bool:
        """Whether the statistics of a column have seen something."""
        count = subtree(self._policy.params, f"normalizer/{path}")["count"]
        return bool(np.reshape(count, (-1, 2))[column].any())

    def _why_unknown(self, path: str) -> str:
        if path in self._normalized:
            return "its statistics have seen nothing yet"
        if self._policy.spec.normalize_observations:
            return f"{path} is normalised by no statistics, as choices and pixels are not"
        return "the policy does not normalise its observations, so it has no statistics of them"

    def _normalized_one(self, path: str, column: int, given: float | None) -> tuple[float, float]:
        clip = self._policy.spec.observation_clip
        clip = clip if clip < _NO_BOUND else np.inf
        if given is None:
            return 0.0, clip
        statistics = subtree(self._policy.params, f"normalizer/{path}")
        mean = float(statistics["mean"].reshape(-1)[column])
        epsilon = self._policy.spec.observation_epsilon
        deviation = float(np.sqrt(statistics["variance"].reshape(-1)[column] + epsilon))
        value = float(np.clip((given - mean) / deviation, -clip, clip))
        return value, clip + abs(value)

    def _distance(self, leaf: Any, column: int, value: float) -> float:
        if not isinstance(leaf, Box):
            return max(abs(value), abs(1.0 - value))  # one-hot
        shape = leaf.concrete_shape
        low, high = (
            float(np.broadcast_to(np.asarray(bound, np.float64), shape).reshape(-1)[column])
            for bound in (leaf.low, leaf.high)
        )
        return max(abs(value - low), abs(high - value))

    def _seen(self, path: str) -> np.ndarray | None:
        """The columns of an entry in the recorded observations, ``(B, columns)``."""
        if self._observations is None:
            return None
        space = self._policy.spec.observation_space
        entry = path.partition("/")[2]
        part = chosen_entries(space, [entry]) if entry else space
        found = leaf_observations(space, self._observations)[path]
        value: Any = found
        for name in reversed(entry.split("/") if entry else []):
            value = {name: value}
        return np.asarray(features(part, value))

    def _names(self, path: str) -> list[tuple[str, ...]]:
        """The names of each column: alone, and with the entry before it."""
        leaf, entry = self._leaves[path], path.partition("/")[2]
        if isinstance(leaf, Box) and not leaf.shape:
            return [(entry or path,)]
        names = column_names(leaf) or tuple(map(str, range(column_count(leaf))))
        return [(f"{entry}/{name}", name) if entry else (name,) for name in names]
