"""Numbers, times and names as people read them, and text that is safe inside a page."""

from __future__ import annotations

import datetime
import json
from typing import Any

from heredity.viewer.reading import Score


def steps_text(steps: float) -> str:
    """A count of steps in three digits.

    Example:
        >>> steps_text(850), steps_text(21_739_130), steps_text(50_000_000)
        ('850', '21.7 M', '50 M')
    """
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if steps >= size:
            return f"{steps / size:.3g} {unit}"
    return f"{steps:g}"


def value_text(value: float) -> str:
    """A number with about four digits that matter, and a minus sign as long as a digit.

    Example:
        >>> value_text(5812.3), value_text(0.01234567), value_text(-3.14159)
        ('5,812', '0.01235', '−3.142')
    """
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return text.replace("-", "\N{MINUS SIGN}", 1) if value < 0 else text


def spread_text(score: Score | None) -> str:
    """The standard deviation of a score; empty if it is not known.

    Example:
        >>> spread_text(Score(mean=5812.3, std=120.43))
        '± 120'
    """
    if score is None or score.std is None:
        return ""
    return f"± {score.std:,.0f}" if score.std >= 100 else f"± {score.std:.3g}"


def score_text(score: Score | None) -> str:
    """A mean return and its spread.

    Example:
        >>> score_text(Score(mean=5812.3, std=120.4))
        '5,812 ± 120'
    """
    if score is None:
        return "not evaluated"
    return f"{value_text(score.mean)} {spread_text(score)}".rstrip()


def time_text(value: Any) -> str:
    """A moment written in ISO 8601 as a date and a time; other text as it is.

    Example:
        >>> time_text("2026-03-01T12:00:00Z")
        '1 Mar 2026, 12:00'
    """
    text = str(value or "")
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{moment.day} {moment:%b %Y, %H:%M}"


def script_json(value: Any) -> str:
    r"""JSON that can stand inside a ``<script>`` element whatever its strings hold.

    Example:
        >>> script_json({"name": "</script>"})
        '{"name":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
