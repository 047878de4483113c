"""What the loop remembers across processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from heredity.common.errors import RefusedError


@dataclasses.dataclass
class Memory:
    """What the loop remembers across processes; stands in every checkpoint's manifest.

    Args:
        best: ``step`` and ``mean`` of the best evaluation, and which ``evaluation`` of the run it
            was, counted from 1.
        evaluations: How many the run has made.
        elapsed: Seconds of wall time so far.
        parent: Hash of the weights that the next entry of the lineage comes from.
        frozen: SHA-256 of each frozen leaf.
        unfrozen: What was frozen at first and is trained by now: ``pattern``, and the ``step``.
        exactness: Whether this run can be resumed exactly and has been so far; and why not.
        restarts: How often a process of a host environment died and was started again.
        owed: What was due (see `Due`) when a signal made the run leave instead; or None.
        together: How many seeds are trained in one program, this one among them.
        devices: Among how many the environments were divided.
        processes: Whose devices those were.
        losses: How often a process was lost and all were started again, from a checkpoint.
        asked: Whether a callback asked to stop; among several seeds the others go on.
    """

    best: dict[str, Any] | None = None
    evaluations: int = 0
    elapsed: float = 0.0
    parent: str | None = None
    frozen: dict[str, str] = dataclasses.field(default_factory=dict)
    unfrozen: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    exactness: dict[str, Any] = dataclasses.field(
        default_factory=lambda: {"exact": True, "reason": ""}
    )
    restarts: int = 0
    owed: dict[str, bool] | None = None
    together: int = 1
    devices: int = 1
    processes: int = 1
    losses: int = 0
    asked: bool = False

    @classmethod
    def recalled(cls, notes: Mapping[str, Any], place: Path) -> Self:
        """What the notes of a checkpoint hold; older ones count neither evaluations nor restarts.

        Args:
            notes: Of the checkpoint.
            place: Its folder, for the error.

        Raises:
            RefusedError: when they count in something that is no number.
        """
        memory = cls(
            **{field.name: notes[field.name] for field in dataclasses.fields(cls)
               if field.name in notes}
        )  # fmt: skip
        best = (memory.best or {}).get("evaluation", 0)
        counts = {
            "evaluations": memory.evaluations,
            "best evaluation": best,
            "restarts": memory.restarts,
            "together": memory.together,
            "devices": memory.devices,
            "processes": memory.processes,
            "losses": memory.losses,
        }
        for name, count in counts.items():
            if not isinstance(count, int) or isinstance(count, bool):
                raise RefusedError(place, f"has {name} {count!r}, a whole number was expected")
        if not isinstance(memory.unfrozen, list):
            raise RefusedError(place, f"has unfrozen {memory.unfrozen!r}, a list was expected")
        return dataclasses.replace(memory, asked=memory.asked is True)

    def notes(self) -> dict[str, Any]:
        """What `recalled` reads; who is trained alone says nothing of others."""
        alone = ("together", "asked") if self.together == 1 else ()
        alone += ("devices", "processes") if self.devices == 1 else ()
        alone += () if self.losses else ("losses",)
        alone += () if self.unfrozen else ("unfrozen",)
        return {name: v for name, v in dataclasses.asdict(self).items() if name not in alone}

    @property
    def evaluations_since_best(self) -> int:
        """How many evaluations were made after the best one; all if there is none."""
        return self.evaluations - (self.best or {}).get("evaluation", 0)

    def note_evaluation(self, step: int, mean: float | None) -> bool:
        """Count an evaluation, and keep it if it is the best so far.

        Args:
            step: Of the run.
            mean: Return; None when it is no number, which is never the best.

        Returns:
            Whether it is.
        """
        self.evaluations += 1
        if mean is None or (self.best is not None and mean <= self.best["mean"]):
            return False
        self.best = {"step": step, "mean": mean, "evaluation": self.evaluations}
        return True

    def note_exactness(self, reasons: Sequence[str]) -> None:
        """Keep why the run is not the one that an uninterrupted one would be; once lost, it stays.

        Args:
            reasons: None of them: it is as exact as before.
        """
        reasons = [reason for reason in reasons if reason not in self.exactness["reason"]]
        if reasons:
            told = [self.exactness["reason"], *reasons]
            self.exactness = {"exact": False, "reason": "; ".join(r for r in told if r)}

    def note_restarts(self, count: int) -> None:
        """Count processes of the environments that were started again; no replay repeats that."""
        self.restarts += count
        reason = "a process of the environment died and was started again"
        if count and reason not in self.exactness["reason"]:
            self.note_exactness([reason])
