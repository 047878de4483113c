"""What the loop remembers across processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass
class Memory:
    """What the loop remembers across processes; stands in every checkpoint's manifest.

    Args:
        best: ``step`` and ``mean`` of the best evaluation.
        elapsed: Seconds of wall time so far.
        parent: Hash of the weights that the next entry of the lineage comes from.
        frozen: SHA-256 of each frozen leaf.
        exactness: Whether this run can be resumed exactly and has been so far; and why not.
        owed: What was due (see `Due`) when a signal made the run leave instead; or None.
    """

    best: dict[str, Any] | None = None
    elapsed: float = 0.0
    parent: str | None = None
    frozen: dict[str, str] = dataclasses.field(default_factory=dict)
    exactness: dict[str, Any] = dataclasses.field(
        default_factory=lambda: {"exact": True, "reason": ""}
    )
    owed: dict[str, bool] | None = None

    def note_exactness(self, reasons: Sequence[str]) -> None:
        """Keep why the run is not the one that an uninterrupted one would be; once lost, it stays.

        Args:
            reasons: None of them: it is as exact as before.
        """
        if reasons:
            told = [self.exactness["reason"], *reasons]
            self.exactness = {"exact": False, "reason": "; ".join(r for r in told if r)}
