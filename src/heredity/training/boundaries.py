"""When something is due: it follows from the step alone, so that a resumed run agrees."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from heredity.training.settings import RunSettings


@dataclasses.dataclass(frozen=True)
class Due:
    """What is due at the end of a stretch.

    Args:
        log: A row of metrics.
        evaluation: An event.
        snapshot: A snapshot, which comes with an event.
        checkpoint: A checkpoint, whatever the evaluation says.
    """

    log: bool
    evaluation: bool
    snapshot: bool
    checkpoint: bool


class Boundaries:
    """Where a run stops to look, save or tell.

    A frequency is met at the end of the first iteration at or past each of its multiples; the end
    of the run is a boundary of every kind.

    Args:
        settings: Frequencies.
        further: Frequencies of callbacks, at which events are due as well.
        stops: Steps at which the run has something to do besides, such as to unfreeze weights.

    Example:
        >>> boundaries = Boundaries(RunSettings(100, snapshot_every=40, log_every=100), [])
        >>> boundaries.next(0), boundaries.due(36, 44).snapshot, boundaries.due(44, 48).snapshot
        (5, True, False)
    """

    def __init__(
        self, settings: RunSettings, further: Iterable[int], stops: Iterable[int] = ()
    ) -> None:
        self._total = settings.total_timesteps
        self._log = settings.cadence("log")
        self._snapshot = settings.cadence("snapshot")
        self._checkpoint = settings.cadence("checkpoint")
        self._stops = sorted(stops)
        self._events = [e for e in (settings.cadence("evaluate"), *further) if e]

    def next(self, step: int) -> int:
        """The boundary after a step."""
        kinds = [self._log, self._snapshot, self._checkpoint, *self._events]
        later = [stop for stop in self._stops if stop > step]
        return min(
            [self._total, *later, *((step // every + 1) * every for every in kinds if every)]
        )

    def due(self, before: int, now: int) -> Due:
        """What is due at a step, for a stretch that began at another."""
        done = now >= self._total

        def crossed(every: int | None) -> bool:
            return bool(every) and (done or now // every > before // every)

        snapshot = crossed(self._snapshot)
        return Due(
            log=crossed(self._log),
            evaluation=done or snapshot or any(crossed(every) for every in self._events),
            snapshot=snapshot,
            checkpoint=crossed(self._checkpoint),
        )
