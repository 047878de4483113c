"""What an operation did to weights, in words: for tables of a terminal and of a page alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

HEADS = ("path", "action", "shape", "from", "guarantee", "note")
"""Of the table of a report, one row for each weight."""


def guarantee_in_words(kind: str, bound: float | None = None, of: str = "") -> str:
    """A guarantee; of what its bound is, if it is known.

    Example:
        >>> guarantee_in_words("rounding"), guarantee_in_words("bounded", 0.25, "raw outputs")
        ('exact up to rounding', 'bounded(0.25 of raw outputs)')
    """
    match kind:
        case "rounding":
            return "exact up to rounding"
        case "bounded":
            return (
                "bounded" if bound is None else f"bounded({bound:.3g}{f' of {of}' if of else ''})"
            )
    return kind


def measurement_holds(value: float, allowed: float | None) -> bool | None:
    """Whether a measured value is within what is allowed. What is no number never is.

    Returns:
        None where nothing was promised.

    Example:
        >>> [measurement_holds(0.5, allowed) for allowed in (1.0, 0.25, None)]
        [True, False, None]
    """
    if allowed is None:
        return None if math.isfinite(value) else False
    return value <= allowed


def measurement_in_words(what: str, value: float, on: str, allowed: float | None) -> str:
    """What was measured, and whether it is within what is allowed.

    Example:
        >>> measurement_in_words("difference", 0.125, "9 observations", 0.25)
        'difference: 0.125 on 9 observations (allowed 0.25: holds)'
        >>> measurement_in_words("difference", 0.0, "9 observations", 0.0)
        'difference: 0 on 9 observations (the same to the bit)'
    """
    told = f"{what}: {value:.3g} on {on}"
    holds = measurement_holds(value, allowed)
    if holds is None:
        return told
    if value == allowed == 0:
        return f"{told} (the same to the bit)"
    limit = "a number was" if allowed is None else f"{allowed:.3g}"
    return f"{told} (allowed {limit}: {'holds' if holds else 'DOES NOT HOLD'})"


def array_in_words(dtype: str, shape: Sequence[int] | None) -> str:
    """An array's dtype and shape; empty where there is none.

    Example:
        >>> array_in_words("float32", (3, 8)), array_in_words("", None)
        ('float32[3, 8]', '')
    """
    return "" if shape is None else f"{dtype}{list(shape)}"


def origin_in_words(path: str, after: str, source: str | None, before: str) -> str:
    """Where the numbers of a weight come from, as far as that differs from the weight itself.

    Args:
        path: Of the weight.
        after: Its array in words.
        source: The path or name that they were taken from.
        before: The array there in words.
    """
    parts = ("" if source in (None, path) else source, "" if before == after else before)
    return " ".join(part for part in parts if part)


def summary_in_words(
    counts: Mapping[str, int], total: int, coverage: float | None, guarantee: str
) -> str:
    """One line: what was done to how many weights.

    Args:
        counts: How many weights each action was done to.
        total: Numbers of the result.
        coverage: Share of them that came from the source; None where there is no source.
        guarantee: What holds of the whole, in words.

    Example:
        >>> summary_in_words({"copied": 1, "grown": 2}, 1200, 0.75, "exact")
        '1 copied, 2 grown; 75.0% of 1,200 numbers from the source; exact'
    """
    done = ", ".join(f"{number:,} {action}" for action, number in counts.items())
    numbers = f"{total:,} number{'' if total == 1 else 's'}"
    share = numbers if coverage is None else f"{coverage:.1%} of {numbers} from the source"
    return f"{done}; {share}; {guarantee}"
