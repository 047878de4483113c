"""What happened, kept in the memory of the host: a ring for each environment.

Each has its own pace: an episode's end is a record that no decision follows from, so environments
whose episodes end more often have more records.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from heredity.algorithms.dreamer.replay import Place, Record
from heredity.common.errors import MismatchError
from heredity.weights import tree_from_host, tree_to_host


class HostReplay:
    """Rings of records.

    Args:
        example: One step of all environments, leaves ``(E, ...)``; shapes will do.
        rows: Records of each environment that are kept.

    Attributes:
        written: Records of each environment so far, ``(E,)``.
        served: Sequences of each that were given out because they were new, ``(E,)``.
    """

    def __init__(self, example: Record, rows: int) -> None:
        # Memory that nothing was written to yet is not taken from the machine.
        self._records = jax.tree.map(
            lambda leaf: np.zeros((leaf.shape[0], rows, *leaf.shape[1:]), leaf.dtype), example
        )
        self._rows = rows
        environments = example.reward.shape[0]
        self.written = np.zeros(environments, np.int64)
        self.served = np.zeros(environments, np.int64)

    @property
    def _oldest(self) -> np.ndarray:
        return np.maximum(self.written - self._rows, 0)

    def _starts(self, length: int) -> np.ndarray:
        """How many sequences of a length there are of each environment."""
        return np.maximum(self.written - self._oldest - length + 1, 0)

    def starts(self, length: int) -> int:
        """How many sequences of a length there are."""
        return int(self._starts(length).sum())

    def add(self, record: Record, which: np.ndarray | None = None) -> None:
        """One more step of all environments, or of some, over the oldest where there is no room.

        Args:
            record: Leaves ``(E, ...)``.
            which: Of which environments, ``(E,)`` bool; all if not given.
        """
        chosen = np.arange(len(self.written)) if which is None else np.flatnonzero(which)
        rows = self.written[chosen] % self._rows

        def put(ring: np.ndarray, new: Any) -> None:
            ring[chosen, rows] = np.asarray(new)[chosen]

        jax.tree.map(put, self._records, record)
        self.written[chosen] += 1

    def draw(self, chance: np.random.Generator, count: int, length: int) -> Place:
        """Sequences to learn from: those that are new, once; then any, each as likely as others.

        Args:
            chance: Decides which.
            count: How many.
            length: Of each; there is one at least.
        """
        starts = self._starts(length)
        ends = np.cumsum(starts)
        drawn = chance.integers(0, ends[-1], count)
        environments = np.searchsorted(ends, drawn, side="right")
        first = self._oldest[environments] + drawn - (ends - starts)[environments]
        # Every environment's records are cut into new sequences, one after the other.
        lost = -(-self._oldest // length)
        self.served = np.maximum(self.served, lost)
        waiting = np.maximum(self.written // length - self.served, 0)
        new = np.repeat(np.arange(len(waiting)), waiting)[:count]
        earlier = np.arange(len(new)) - np.searchsorted(new, new)
        environments[: len(new)] = new
        first[: len(new)] = (self.served[new] + earlier) * length
        self.served += np.bincount(new, minlength=len(waiting))
        return Place((first + np.arange(length)[:, None]) % self._rows, environments)

    def read(self, place: Place) -> Record:
        """The records ``(L, B, ...)`` of a place.

        An episode that goes on in no record, because another begins in the next one, ended.
        """
        found = jax.tree.map(lambda ring: ring[place.environments, place.rows], self._records)
        follows = np.concatenate([found.is_first[1:], np.zeros_like(found.is_first[:1])])
        return found._replace(is_last=found.is_last | follows)

    def put_states(self, place: Place, deter: np.ndarray, stoch: np.ndarray) -> None:
        """Newer states ``(L, B, ...)`` of a place, packed, for those who begin there."""
        self._records.deter[place.environments, place.rows] = deter
        self._records.stoch[place.environments, place.rows] = stoch

    def save(self) -> dict[str, np.ndarray]:
        """All that was written, by name."""
        kept = min(int(self.written.max()), self._rows)
        records = tree_to_host(jax.tree.map(lambda ring: ring[:, :kept], self._records))
        named = {f"records/{name}": leaf for name, leaf in records.items()}
        return {**named, "written": self.written.copy(), "served": self.served.copy()}

    def load(self, saved: dict[str, np.ndarray], what: str) -> None:
        """Go on from what `save` gave.

        Raises:
            MismatchError: when it is of another replay.
        """
        counters = [saved.get(name, np.zeros(0)) for name in ("written", "served")]
        if any(one.shape != self.written.shape or one.dtype != np.int64 for one in counters):
            raise MismatchError(
                f"{what} does not fit: its replay is not of {len(self.written)} environments",
                "It belongs to another configuration or environment",
            )
        self.written, self.served = (np.array(one) for one in counters)
        kept = min(int(self.written.max()), self._rows)
        template = jax.tree.map(
            lambda ring: jax.ShapeDtypeStruct((len(ring), kept, *ring.shape[2:]), ring.dtype),
            self._records,
        )
        prefix = "records/"
        leaves = {n.removeprefix(prefix): leaf for n, leaf in saved.items() if n.startswith(prefix)}
        found = tree_from_host(template, leaves, f"{what}, replay")

        def put(ring: np.ndarray, leaf: Any) -> None:
            ring[:, :kept] = np.asarray(leaf)

        jax.tree.map(put, self._records, found)
