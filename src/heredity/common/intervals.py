"""How far a mean over a few runs can be trusted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

LEVEL = 0.95


class Interval(NamedTuple):
    """The mean of a sample, and the interval in which the mean of all runs lies.

    Args:
        mean: Of the finite values; NaN if there are none.
        low: NaN when fewer than two values are finite.
        high: As `low`.
        size: How many values are finite.
    """

    mean: float
    low: float
    high: float
    size: int

    @property
    def half(self) -> float:
        """Half of its width: what stands after ±."""
        return (self.high - self.low) / 2


def mean_interval(values: Iterable[float], level: float = LEVEL) -> Interval:
    """Student's t interval of the mean (Student 1908), for values that do not know of each other.

    Its width is right also for very few values, where a bootstrap of the mean is too narrow; that
    the values are normally distributed is what it assumes, and of the returns of runs it is
    roughly true.

    Args:
        values: One for each run; those that are not finite are left out.
        level: How often such an interval holds the mean of all possible runs.

    Example:
        >>> interval = mean_interval([480.0, 500.0, 460.0, 500.0, 500.0])
        >>> [round(value, 1) for value in interval[:3]], interval.size
        ([488.0, 465.8, 510.2], 5)
    """
    found = np.array(list(values), np.float64)
    found = found[np.isfinite(found)]
    count = len(found)
    mean = float(found.mean()) if count else float("nan")
    if count < 2:
        return Interval(mean, float("nan"), float("nan"), count)
    from scipy.special import stdtrit  # JAX brings it; importing it takes a while

    quantile = float(stdtrit(count - 1, (1 + level) / 2))
    half = quantile * float(found.std(ddof=1)) / count**0.5
    return Interval(mean, mean - half, mean + half, count)
