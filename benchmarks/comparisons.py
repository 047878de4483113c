"""Whether two libraries learnt the same, as far as their runs can tell."""

from __future__ import annotations

import math
from collections.abc import Sequence

FEWEST = 3  # runs of each, below which an interval says nothing


def welch(ours: Sequence[float], peer: Sequence[float]) -> tuple[float, float, float]:
    """The difference of two means and its 95 % interval, for samples of unequal variance.

    Source: Welch 1947. Each sample has two values at least.
    """
    from scipy.special import stdtrit

    means, parts, freedoms = [], [], []
    for sample in (ours, peer):
        mean = sum(sample) / len(sample)
        variance = sum((value - mean) ** 2 for value in sample) / (len(sample) - 1)
        means.append(mean)
        parts.append(variance / len(sample))
        freedoms.append(len(sample) - 1)
    total = sum(parts)
    difference = means[0] - means[1]
    if not total:
        return difference, difference, difference
    freedom = total**2 / sum(part**2 / free for part, free in zip(parts, freedoms, strict=True))
    half = float(stdtrit(freedom, 0.975)) * math.sqrt(total)
    return difference, difference - half, difference + half


def verdict(low: float, high: float) -> str:
    """What the interval of a difference, ours less the peer's, says."""
    return "better" if low > 0 else "worse" if high < 0 else "no difference that the runs show"


def difference(ours: Sequence[float], peer: Sequence[float]) -> str:
    """Ours less the peer's in one cell, or that the runs are too few to tell.

    Example:
        >>> difference([500.0, 500.0, 500.0], [500.0, 500.0, 500.0])
        '+0: the same in every run'
        >>> difference([621.0, 560.0], [785.0, 700.0])
        'too few to tell'
    """
    if min(len(ours), len(peer)) < FEWEST:
        return "too few to tell"
    if len({*ours, *peer}) == 1:
        return "+0: the same in every run"
    middle, low, high = welch(ours, peer)
    return f"{middle:+,.0f} ({low:+,.0f} to {high:+,.0f}): {verdict(low, high)}"
