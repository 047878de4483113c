"""Whether the parts of a profile can be true together. Needs nothing but Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TOLERANCE = 1.1  # times the whole that a part may take: they are programs of their own
TWICE = (1.6, 2.5)  # times as long for twice as many steps
# What contains what, in the words of the tables.
_WITHIN = (
    ("environment", "acting"),
    ("acting", "iteration"),
    ("learning", "iteration"),
)
_WORDS = {"acting": "rollout", "learning": "update"}


def contradiction(found: Mapping[str, Any]) -> str | None:
    """What cannot be so in the profile of one problem, in one line; None when all can be.

    Args:
        found: What `profile_ours.py` prints.
    """
    for part, whole in _WITHIN:
        if found[part] > TOLERANCE * found[whole]:
            return (
                f"{_WORDS.get(part, part)} {found[part] * 1e3:.2f} ms is longer than the "
                f"{_WORDS.get(whole, whole)} around it, {found[whole] * 1e3:.2f} ms"
            )
    if found["dispatch"] is None:  # on the host a watch stands inside of the one program
        return None
    twice = found.get("environment_twice")
    if twice is None:
        return "environment was not timed with twice as many steps"
    ratio = twice / found["environment"]
    if not TWICE[0] <= ratio <= TWICE[1]:
        return (
            f"environment takes {ratio:.2f} times as long for twice as many steps, "
            f"{TWICE[0]} to {TWICE[1]} times were expected"
        )
    return None
