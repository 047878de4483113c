"""What is written in settings about weights: when they thaw, and how fast they learn.

Importing this loads no numerical library.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from heredity.common.errors import UsageError


class Unfreezing(NamedTuple):
    """Weights that are trained from a step on.

    Args:
        pattern: Of their paths.
        step: Environment steps after which they are; the first whole iteration at or past it.
    """

    pattern: str
    step: int


def read_unfreezing(texts: Sequence[str]) -> tuple[Unfreezing, ...]:
    """What settings say of weights that are frozen at first, in the order of the steps.

    Raises:
        UsageError: for what is not ``PATTERN@STEP``.

    Example:
        >>> read_unfreezing(["trunk/encoder/**@1e5", "actor/**@500"])[0]
        Unfreezing(pattern='actor/**', step=500)
    """
    found = []
    for text in texts:
        pattern, at, number = text.rpartition("@")
        value = _number(number)
        if not (at and pattern and value is not None and value >= 1 and value == int(value)):
            raise UsageError(
                f"unfreeze {text!r}: PATTERN@STEP was expected, such as 'trunk/encoder/**@100000', "
                "with a whole number of environment steps >= 1"
            )
        found.append(Unfreezing(pattern, int(value)))
    return tuple(sorted(found, key=lambda one: one.step))


def read_scales(texts: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Patterns of weights, and what their learning rate is multiplied by.

    Raises:
        UsageError: for what is not ``PATTERN=NUMBER``.

    Example:
        >>> read_scales(["trunk/encoder/**=0.1"])
        (('trunk/encoder/**', 0.1),)
    """
    found = []
    for text in texts:
        pattern, equals, number = text.rpartition("=")
        value = _number(number)
        if not (equals and pattern and value is not None and value > 0):
            raise UsageError(
                f"learning_rate_scale {text!r}: PATTERN=NUMBER was expected, such as "
                "'trunk/encoder/**=0.1', with a finite number > 0 (freeze is for what does not "
                "learn at all)"
            )
        found.append((pattern, value))
    return tuple(found)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
