"""What stands in the cells of the tables: numbers as people read them, aims, rows of Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from heredity.common.intervals import mean_interval

# Times as fast as each peer that ours is to be.
AIMS = {"brax": 1.3, "rejax": 1.2, "purejax": 1.2, "sb3": 2.0, "sbx": 1.5}
PREDICT_AIM, SNAPSHOT_AIM = 0.2, 0.01  # of the peer's time; of all time
DREAMER_AIMS = {"update": 0.7, "acting": 0.5}  # of the peer's time
NOT_MEASURED = "not measured"
# Values below which the interval of their mean is so wide that it only looks like a result.
FEWEST_FOR_INTERVAL = 4

Found = Mapping[str, Any]
Row = tuple[str, ...]


def table(*rows: Row, right: Sequence[int] = ()) -> str:
    """In Markdown; the first row is its head.

    Args:
        rows: All of the same length.
        right: Columns whose cells end at the same place, such as numbers.

    Example:
        >>> print(table(("what", "much"), ("a", "1"), right=[1]), end="")
        | what | much |
        | --- | ---: |
        | a | 1 |
    """
    head, *others = rows
    rule = tuple("---:" if column in right else "---" for column in range(len(head)))
    lines = [head, rule, *others]
    text = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    while "|  |" in text:  # an empty cell
        text = text.replace("|  |", "| |")
    return text


def digits_of(value: float) -> int:
    """How many digits after the point say something."""
    return 0 if abs(value) >= 100 else 1


def number(value: float) -> str:
    """As many digits as say something."""
    return f"{value:,.{digits_of(value)}f}"


def aim(words: str, reached: bool) -> str:
    """What was aimed at, and that it was missed where it was."""
    return words if reached else f"{words}, missed"


def duration(seconds: float | None) -> str:
    """In the unit that fits; a dash for none."""
    if seconds is None:
        return "–"
    if seconds >= 10:
        return f"{seconds:,.0f} s"
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"


def mean_told(values: Sequence[float], digits: Callable[[float], int] = digits_of) -> str:
    """The mean of some runs with what is known of its spread.

    From four values on that is Student's t interval at 95 %, of fewer the lowest and the highest,
    because the interval of two or three is many times wider than what they are apart.

    Args:
        values: One for each run, at least one.
        digits: How many digits after the point a number like the mean has.

    Example:
        >>> mean_told([1908.0, 4104.0])
        '3,006 (1,908 to 4,104)'
        >>> mean_told([480.0, 500.0, 460.0, 500.0, 500.0]), mean_told([7.0])
        ('488 ± 22', '7.0')
    """
    found = mean_interval(values)
    form = f",.{digits(found.mean)}f"
    if found.size >= FEWEST_FOR_INTERVAL:
        return f"{found.mean:{form}} ± {found.half:{form}}"
    if len(set(values)) == 1:
        return f"{found.mean:{form}}"
    return f"{found.mean:{form}} ({min(values):{form}} to {max(values):{form}})"


def commit_of(record: Found) -> str:
    """The commit that a record was measured at, and whether there were changes beside it.

    Example:
        >>> commit_of({"source": {"commit": "0123456789", "clean": False, "package": "89"}})
        '0123456 with changes'
        >>> commit_of({"source": None})
        '—'
    """
    code = record.get("source")
    if code is None:  # before commits were recorded
        return "—"
    if not code["commit"]:
        return "outside of git"
    return code["commit"][:7] + ("" if code["clean"] else " with changes")


def times_as_fast(ratio: Found, end_to_end: bool) -> dict[str, float]:
    """Speed of ours by that of the peer: median, lowest and highest.

    Args:
        ratio: By what is compared, ours by the peer's.
        end_to_end: Whether all seconds are compared, or the steady rate.
    """
    if not end_to_end:
        return dict(ratio["steps_per_second"])
    found = ratio["seconds"]
    return {"median": 1 / found["median"], "low": 1 / found["high"], "high": 1 / found["low"]}
