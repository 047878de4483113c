"""Numbers, times and names as people read them, and text that is safe inside a page."""

from __future__ import annotations

import datetime
import json
import math
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


def algorithm_text(name: str) -> str:
    """What people call the algorithm that files have a name for.

    Example:
        >>> algorithm_text("ppo"), algorithm_text("dreamer")
        ('PPO', 'DreamerV3')
    """
    return {"dreamer": "DreamerV3"}.get(name, name.upper())


def _digits(size: float) -> int:
    """Digits after the point of a number that large: three or four digits in all."""
    if size >= 1000 or size == 0:
        return 0
    return max(1, 2 - math.floor(math.log10(size)))


def _fixed(value: float, size: float) -> str:
    digits = _digits(size)
    if not math.isfinite(value) or size >= 1e12 or digits > 6:
        text = f"{value:.3g}"
    else:
        text = f"{value:,.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}", 1) if value < 0 else text


def value_text(value: float) -> str:
    """A number with the digits that matter, and a minus sign as long as a digit.

    Example:
        >>> value_text(5812.3), value_text(500.0), value_text(-3.14159), value_text(0.01234)
        ('5,812', '500.0', '−3.14', '0.0123')
    """
    return _fixed(value, abs(value))


def mean_text(score: Score) -> str:
    """The mean of a score, with as many digits after the point as its spread has.

    Example:
        >>> mean_text(Score(mean=9.5, std=120.43))
        '9.5'
    """
    return _fixed(score.mean, _size(score))


def _size(score: Score) -> float:
    return max(abs(score.mean), score.std or 0.0)


def spread_text(score: Score | None) -> str:
    """The standard deviation of a score; empty if it is not known.

    Example:
        >>> spread_text(Score(mean=5812.3, std=120.43)), spread_text(Score(mean=146.0, std=0.894))
        ('± 120', '± 0.9')
    """
    if score is None or score.std is None:
        return ""
    return f"± {_fixed(score.std, _size(score))}"


def score_text(score: Score | None) -> str:
    """A mean return and its spread.

    Example:
        >>> score_text(Score(mean=5812.3, std=120.4)), score_text(Score(mean=146.0, std=0.894))
        ('5,812 ± 120', '146.0 ± 0.9')
    """
    if score is None:
        return "not evaluated"
    return f"{mean_text(score)} {spread_text(score)}".rstrip()


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
