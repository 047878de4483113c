"""Where weights come from: every ancestor, with its hash, what was done, and what it scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from heredity.common.errors import RefusedError
from heredity.common.formats import LINEAGE
from heredity.common.provenance import now, versions


@dataclasses.dataclass(frozen=True)
class LineageEntry:
    """One thing that happened to the weights.

    Args:
        operation: ``train`` (they were initialised, or taken from the parent, another policy),
            ``resume``, ``rollback``, ``unfreeze``, ``snapshot``, ``checkpoint``, ``evaluate``,
            ``inject``, ``transfer``, ``import``, or ``edit`` (changed by something that recorded
            nothing).
        hash: Content hash of the weights after the operation.
        parent: Content hash of the weights before it; None at the beginning.
        step: How many environment steps they had been trained for.
        run: Id of the run.
        arguments: What the operation was told; of one that changed weights, its whole report under
            ``report``.
        score: ``mean_return``, ``std_return`` and ``episodes`` then; None if not measured.
        time: UTC, ISO 8601.
        versions: Of the libraries.
    """

    operation: str
    hash: str
    parent: str | None
    step: int
    run: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    score: Mapping[str, Any] | None = None
    time: str = dataclasses.field(default_factory=now)
    versions: Mapping[str, str] = dataclasses.field(default_factory=versions)

    def to_json(self) -> dict[str, Any]:
        """The entry as a JSON object."""
        return {
            field.name: dict(value) if isinstance(value, Mapping) else value
            for field in dataclasses.fields(self)
            for value in [getattr(self, field.name)]
        }


@dataclasses.dataclass(frozen=True)
class Lineage:
    """Entries from the beginning to now. Immutable: `then` gives a longer one.

    Example:
        >>> born = Lineage().then(LineageEntry("train", "ab12", None, 0, "run-1"))
        >>> born.head
        'ab12'
    """

    entries: tuple[LineageEntry, ...] = ()

    @property
    def head(self) -> str | None:
        """Content hash of the weights as the last entry left them."""
        return self.entries[-1].hash if self.entries else None

    def then(self, entry: LineageEntry) -> Lineage:
        """This lineage and one more entry."""
        return Lineage((*self.entries, entry))

    def up_to(self, policy_hash: str) -> Lineage:
        """This lineage as it may stand beside weights: its last entry is about those weights.

        Weights that are not the ones it ends with were changed by somebody who recorded nothing,
        which an entry ``edit`` then says. A lineage without entries claims nothing and stays so.

        Args:
            policy_hash: Content hash of the weights.

        Example:
            >>> born = Lineage().then(LineageEntry("train", "ab12", None, 0, "run-1"))
            >>> [(entry.operation, entry.parent) for entry in born.up_to("cd34").entries]
            [('train', None), ('edit', 'ab12')]
            >>> born.up_to("ab12") == born
            True
        """
        if self.head in (None, policy_hash):
            return self
        last = self.entries[-1]
        return self.then(LineageEntry("edit", policy_hash, last.hash, last.step, last.run))

    def score_of(self, policy_hash: str) -> dict[str, Any] | None:
        """What the weights of this hash scored when they were last measured; None if never."""
        for entry in reversed(self.entries):
            if entry.hash == policy_hash and entry.score is not None:
                return dict(entry.score)
        return None

    def to_json(self) -> dict[str, Any]:
        """The lineage as a JSON object."""
        return {
            "schema_version": LINEAGE.newest,
            "policy_hash": self.head,
            "entries": [entry.to_json() for entry in self.entries],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], path: str = "lineage.json") -> Lineage:
        """The lineage that `to_json` wrote.

        Raises:
            RefusedError: when it does not describe a lineage.
        """
        try:
            entries = tuple(LineageEntry(**entry) for entry in value["entries"])
        except (KeyError, TypeError) as error:
            raise RefusedError(path, f"does not describe a lineage ({error})") from None
        for index, entry in enumerate(entries):
            problem = _problem(entry)
            if problem:
                raise RefusedError(path, f"does not describe a lineage (entry {index}: {problem})")
        return cls(entries)


_KINDS = {
    "operation": str,
    "hash": str,
    "parent": str | None,
    "step": int,
    "run": str,
    "arguments": Mapping,
    "score": Mapping | None,
    "time": str,
    "versions": Mapping,
}


def _problem(entry: LineageEntry) -> str:
    """Which field is not what it should be; empty when all are."""
    for name, kind in _KINDS.items():
        if not isinstance(getattr(entry, name), kind):
            return f"{name} is {getattr(entry, name)!r}"
    if entry.score is not None:
        for name in ("mean_return", "std_return", "episodes"):
            if not isinstance(entry.score.get(name), int | float):
                return f"score has no number {name}"
    return ""
