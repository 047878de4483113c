"""Which sequences of a replay are learnt from again: any, new ones, or those with much to learn.

Whatever the mixture, each record is learnt from once soon after it happened; see `Replay.draw`.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Mixture(NamedTuple):
    """Shares of sequences by how they are chosen; the rest is chosen with equal chances.

    Args:
        recency: Of those whose chances fall with their age: a hundred steps ago a hundredth.
        priority: Of those whose chances grow with what the world model lost on them when it learnt
            from them last.
        exponent: Of these losses: 0 makes all chances equal.
    """

    recency: float = 0.0
    priority: float = 0.0
    exponent: float = 0.8

    @property
    def is_uniform(self) -> bool:
        """Whether all have equal chances."""
        return not self.recency and not self.priority

    def is_prioritised(self, chance: Any) -> Any:
        """Which of several are chosen by priority, bool.

        Args:
            chance: Equally spread in [0, 1), any shape.
        """
        return chance < self.priority

    def is_recent(self, chance: Any) -> Any:
        """Which of several are chosen by age; see `is_prioritised`."""
        return (chance >= self.priority) & (chance < self.priority + self.recency)


UNIFORM = Mixture()


def age(chance: Any, count: Any) -> Any:
    """Which of so many to take, 0 the newest, with chances that fall as one over the age.

    Args:
        chance: Equally spread in [0, 1), any shape.
        count: How many there are, a float.

    Example:
        >>> [int(age(chance, 99.0)) for chance in (0.0, 0.1, 0.5, 0.99)]
        [0, 0, 9, 94]
    """
    return (count + 1.0) ** chance - 1.0
