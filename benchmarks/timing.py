"""How calls are timed, the same for everybody. Needs nothing but Python."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping


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


def seconds_in_turns(
    ways: Mapping[str, Callable[[int], object]], rounds: int, least_seconds: float
) -> dict[str, list[float]]:
    """Seconds of one repetition each way, of every round: whatever disturbs meets all of them.

    Every second round goes the other way round.

    Args:
        ways: By name, what makes so many repetitions.
        rounds: How often they take turns.
        least_seconds: What one turn takes at least; so many repetitions are made.
    """
    times = {}
    for name, call in ways.items():
        call(1)  # compiles
        began = time.perf_counter()
        call(1)
        times[name] = max(round(least_seconds / (time.perf_counter() - began)), 1)
        if times[name] > 1:  # one repetition may be mostly the call itself
            began = time.perf_counter()
            call(times[name])
            once = (time.perf_counter() - began) / times[name]
            times[name] = max(round(least_seconds / once), 1)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in ways if number % 2 == 0 else reversed(ways):
            began = time.perf_counter()
            ways[name](times[name])
            found[name].append((time.perf_counter() - began) / times[name])
    return found


def largest_megabytes() -> int:
    """The largest resident size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def quartiles(step: Callable[[], object], seconds: float) -> dict[str, float]:
    """Milliseconds of a step, of at least five and for so many seconds; the first one apart."""
    began = time.perf_counter()
    step()
    first = time.perf_counter() - began
    step()
    taken: list[float] = []
    while len(taken) < 5 or sum(taken) < seconds:
        began = time.perf_counter()
        step()
        taken.append(time.perf_counter() - began)
    low, middle, high = statistics.quantiles(taken, n=4)
    found = {"median_ms": middle * 1e3, "quarter_ms": low * 1e3, "three_quarters_ms": high * 1e3}
    rounded = {key: round(value, 3) for key, value in found.items()}
    return {**rounded, "steps": len(taken), "first_seconds": round(first, 2)}
