"""What two sets of weights have in common, path by path."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from heredity.weights.tree import flatten

State = Literal["same", "changed", "reshaped", "only in a", "only in b"]


@dataclasses.dataclass(frozen=True)
class LeafDifference:
    """One path in two sets of weights, a and b.

    Args:
        path: Of the leaf.
        state: ``same`` bit for bit, ``changed``, ``reshaped`` (another shape or dtype), or where it
            is found alone.
        size: How many numbers it has, in b where both have it.
        relative: ``|b - a| / |a|`` with Euclidean norms; infinite where a is zero; None where they
            cannot be compared, as are the next three.
        cosine: Of the angle between the two; None where one is zero, or not finite.
        largest: The largest absolute difference.
        norm_a: Euclidean norm in a.
        norm_b: Euclidean norm in b.
        note: Shapes and dtypes where they differ; that all of it was zero.
    """

    path: str
    state: State
    size: int
    relative: float | None = None
    cosine: float | None = None
    largest: float | None = None
    norm_a: float | None = None
    norm_b: float | None = None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """The difference as a JSON object; without the ratio where it is infinite."""
        value = dataclasses.asdict(self)
        return {
            name: None if isinstance(part, float) and not math.isfinite(part) else part
            for name, part in value.items()
        }


@dataclasses.dataclass(frozen=True)
class Difference:
    """Two sets of weights beside each other.

    Args:
        leaves: One row for each path of either.
    """

    leaves: tuple[LeafDifference, ...]

    @property
    def is_empty(self) -> bool:
        """Whether they are the same, bit for bit."""
        return all(leaf.state == "same" for leaf in self.leaves)

    def counts(self) -> dict[str, int]:
        """How many leaves are in each state."""
        states = [leaf.state for leaf in self.leaves]
        return {state: states.count(state) for state in dict.fromkeys(states)}

    def to_json(self) -> dict[str, Any]:
        """The differences as a JSON object."""
        return {"counts": self.counts(), "leaves": [leaf.to_json() for leaf in self.leaves]}


def diff(a: Mapping[str, Any], b: Mapping[str, Any]) -> Difference:
    """Compare two sets of weights.

    Example:
        >>> before = {"actor": {"bias": np.zeros(2, np.float32), "kernel": np.ones(3, np.float32)}}
        >>> after = {
        ...     "actor": {"bias": np.zeros(2, np.float32), "kernel": np.full(3, 1.5, np.float32)}
        ... }
        >>> [(leaf.path, leaf.state, leaf.relative) for leaf in diff(before, after).leaves]
        [('actor/bias', 'same', 0.0), ('actor/kernel', 'changed', 0.5)]
    """
    in_a, in_b = flatten(a), flatten(b)
    found = []
    for path in sorted({*in_a, *in_b}):
        if path not in in_b:
            found.append(LeafDifference(path, "only in a", int(np.size(in_a[path]))))
        elif path not in in_a:
            found.append(LeafDifference(path, "only in b", int(np.size(in_b[path]))))
        else:
            found.append(_compared(path, np.asarray(in_a[path]), np.asarray(in_b[path])))
    return Difference(tuple(found))


def _compared(path: str, a: np.ndarray, b: np.ndarray) -> LeafDifference:
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        told = f"{a.dtype}{list(a.shape)} to {b.dtype}{list(b.shape)}"
        return LeafDifference(path, "reshaped", b.size, note=told)
    state: State = "same" if a.tobytes() == b.tobytes() else "changed"
    # In float64: norms of float32 overflow at 1e19 and lose digits in long sums.
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    norm_a, norm_b = float(np.linalg.norm(x)), float(np.linalg.norm(y))
    if state == "same":  # which NaN is not equal to itself would hide
        cosine = 1.0 if norm_a else None
        return LeafDifference(path, state, b.size, 0.0, cosine, 0.0, norm_a, norm_b)
    moved = float(np.linalg.norm(y - x))
    relative = moved / norm_a if norm_a else (math.inf if moved else 0.0)
    cosine = float(x @ y) / (norm_a * norm_b) if norm_a and norm_b else None
    if cosine is not None:
        cosine = min(1.0, max(-1.0, cosine)) if math.isfinite(cosine) else None
    largest = float(np.abs(y - x).max()) if x.size else 0.0
    note = "was zero" if moved and not norm_a else ""
    return LeafDifference(path, state, b.size, relative, cosine, largest, norm_a, norm_b, note)
