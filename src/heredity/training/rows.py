"""Rows of metrics: what is gathered between two of them, and where they go."""

from __future__ import annotations

import time
from collections.abc import Sequence

from heredity.training.compilation import Compilations
from heredity.training.member import Member, over_seeds
from heredity.training.metrics import Accumulator, MetricsSink
from heredity.training.runner_base import Driver


class Rows:
    """The rows of all members of a run, and what is told of all together.

    Args:
        driver: Trains the policies.
        members: The policies.
        sinks: Where rows go that tell of all members together.
        programs: Counts those that were compiled.
    """

    def __init__(
        self,
        driver: Driver,
        members: Sequence[Member],
        sinks: Sequence[MetricsSink],
        programs: Compilations,
    ) -> None:
        self._driver = driver
        self._members = members
        self._sinks = sinks
        self._programs = programs
        self._began = time.monotonic() - members[0].memory.elapsed
        self._train_seconds, self._step = 0.0, driver.step

    @property
    def elapsed(self) -> float:
        """Seconds of the run, those of earlier processes among them."""
        return time.monotonic() - self._began

    def add(self, metrics: Sequence[dict[str, float]], seconds: float) -> dict[str, float]:
        """Take in what some iterations logged.

        Args:
            metrics: Of each member.
            seconds: That they took.

        Returns:
            What has been gathered so far, of all members together.
        """
        self._train_seconds += seconds
        for member, logged in zip(self._members, metrics, strict=True):
            member.gathered.add(logged)
        return over_seeds([member.gathered.row() for member in self._members])

    def taken(self) -> list[dict[str, float]]:
        """The metrics of each member since the last row; the gathering begins anew."""
        rows = [member.gathered.row() for member in self._members]
        steps = self._driver.step - self._step
        for row in rows:
            row["time/fps"] = steps / max(self._train_seconds, 1e-9)
            row["time/time_elapsed"] = self.elapsed
            row |= self._programs.row()
        self.forget()
        return rows

    def forget(self) -> None:
        """Begin anew from the step that the driver is at."""
        for member in self._members:
            member.gathered = Accumulator()
        self._train_seconds, self._step = 0.0, self._driver.step

    def write(self, rows: Sequence[dict[str, float]]) -> None:
        """Write a row of each member, and one of all together."""
        for member, row in zip(self._members, rows, strict=True):
            if row:
                member.write_row(self._driver.step, row)
        self.write_common(rows)

    def write_common(self, rows: Sequence[dict[str, float]]) -> None:
        """Write the row of all members together alone."""
        row = over_seeds(rows)
        for sink in self._sinks if row else ():
            sink.write(self._driver.step, row)
