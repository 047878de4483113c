"""How one call is timed, the same for everybody. Needs nothing but Python."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def microseconds_per_call(call: Callable[[], object], calls: int = 2000, repeats: int = 9) -> float:
    """The median over repeats of the mean time of one call, after a warm-up."""
    for _ in range(calls):
        call()
    means = []
    for _ in range(repeats):
        began = time.perf_counter()
        for _ in range(calls):
            call()
        means.append((time.perf_counter() - began) / calls)
    return statistics.median(means) * 1e6
