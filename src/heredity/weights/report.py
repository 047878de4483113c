"""What an operation did to weights: leaf by leaf, with what it guarantees and what was measured."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from heredity.common.errors import HeredityError, MismatchError, RefusedError, first_few
from heredity.common.weight_words import (
    array_in_words,
    guarantee_in_words,
    measurement_holds,
    measurement_in_words,
    origin_in_words,
    summary_in_words,
)

Action: TypeAlias = Literal[
    "kept",
    "copied",
    "cast",
    "transposed",
    "permuted",
    "resized",
    "grown",
    "shrunk",
    "grown and shrunk",
    "folded",
    "initialised",
    "dropped",
    "frozen",
    "trained",
]
ACTIONS: tuple[Action, ...] = get_args(Action)
# Numbers in leaves of these actions are not those of the source.
_NOT_FROM_SOURCE = frozenset(("kept", "initialised", "dropped", "frozen", "trained"))
_KINDS = ("exact", "rounding", "bounded", "approximate", "none")
Quantity: TypeAlias = Literal["", "each output", "each value", "total variation"]


class GuaranteeError(HeredityError):
    """Measured, an operation on weights did not keep what it guarantees."""


@dataclasses.dataclass(frozen=True)
class Guarantee:
    """How much of what weights computed before they compute afterwards.

    Args:
        kind: ``exact`` (bit for bit), ``rounding`` (but for the order of sums), ``bounded`` (no
            further off than `bound`), ``approximate`` (close, without a bound) or ``none``.
        bound: The largest difference, for ``bounded``.
        of: What the bound is of: ``each output`` of the actor, before anything squashes it or
            stretches it to the bounds of the action; ``each value`` of the critic; the ``total
            variation`` of each choice, old against new; empty where nothing says it.

    Example:
        >>> str(ROUNDING), str(bounded(0.25, "each output"))
        ('exact up to rounding', 'bounded(0.25 of each output)')
    """

    kind: Literal["exact", "rounding", "bounded", "approximate", "none"]
    bound: float | None = None
    of: Quantity = ""

    def __post_init__(self) -> None:
        is_bounded = self.kind == "bounded"
        fits = is_bounded == (self.bound is not None) and (is_bounded or not self.of)
        if self.kind not in _KINDS or self.of not in get_args(Quantity) or not fits:
            raise ValueError(f"no guarantee: {self.kind!r} with bound {self.bound!r}, {self.of!r}")

    def __str__(self) -> str:
        return guarantee_in_words(self.kind, self.bound, self.of)

    def to_json(self) -> dict[str, Any]:
        """The guarantee as a JSON object; an infinite bound as None, which JSON can say."""
        if self.bound is None:
            return {"kind": self.kind}
        bound = self.bound if math.isfinite(self.bound) else None
        return {"kind": self.kind, "bound": bound, "of": self.of}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Guarantee:
        """The guarantee that `to_json` wrote."""
        if value["kind"] != "bounded":
            return cls(value["kind"])
        bound = math.inf if value["bound"] is None else float(value["bound"])
        return cls("bounded", bound, value.get("of", ""))


EXACT = Guarantee("exact")
ROUNDING = Guarantee("rounding")
APPROXIMATE = Guarantee("approximate")
NONE = Guarantee("none")


def bounded(bound: float, of: Quantity = "") -> Guarantee:
    """The guarantee of being no further off than `bound`, and in what."""
    return Guarantee("bounded", float(bound), of)


def weakest(guarantees: Iterable[Guarantee]) -> Guarantee:
    """What holds where all of them were needed; bounds, which have to be of one thing, are added.

    Example:
        >>> str(weakest([EXACT, bounded(0.1, "each output"), bounded(0.2, "each output")]))
        'bounded(0.3 of each output)'
    """
    found = list(guarantees)
    worst = max(found, key=lambda guarantee: _KINDS.index(guarantee.kind), default=EXACT)
    if worst.kind == "bounded":
        bounds = [each for each in found if each.bound is not None]
        if any(each.of != worst.of for each in bounds):
            raise ValueError(f"bounds of several things cannot be added: {bounds}")
        return bounded(sum(each.bound or 0.0 for each in bounds), worst.of)
    return worst


@dataclasses.dataclass(frozen=True)
class WeightRow:
    """What happened to one leaf.

    Args:
        path: Of the leaf in the result; of the source where it was dropped.
        action: What was done.
        shape: In the result; None where it was dropped.
        dtype: In the result; empty where it was dropped.
        source: Path in what the numbers were taken from; several are joined by `` + ``.
        source_shape: There.
        source_dtype: There.
        note: Anything a reader has to know.
        guarantee: What is said of this leaf alone, where something is.
        used: How many of its numbers came from the source; None where its action says it.
    """

    path: str
    action: Action
    shape: tuple[int, ...] | None = None
    dtype: str = ""
    source: str | None = None
    source_shape: tuple[int, ...] | None = None
    source_dtype: str = ""
    note: str = ""
    guarantee: Guarantee | None = None
    used: int | None = None

    @property
    def size(self) -> int:
        """How many numbers of the result it is about."""
        return 0 if self.shape is None else math.prod(self.shape)

    @property
    def from_source(self) -> int:
        """How many numbers of the result came from the source."""
        if self.used is not None:
            return self.used
        return 0 if self.action in _NOT_FROM_SOURCE else self.size

    def in_words(self) -> tuple[str, ...]:
        """What a table tells of it: the columns of `common.weight_words.HEADS`."""
        after = array_in_words(self.dtype, self.shape)
        before = array_in_words(self.source_dtype, self.source_shape)
        origin = origin_in_words(self.path, after, self.source, before)
        guarantee = "" if self.guarantee is None else str(self.guarantee)
        return self.path, self.action, after, origin, guarantee, self.note

    def to_json(self) -> dict[str, Any]:
        """The row as a JSON object, without what it does not say."""
        value = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        value["guarantee"] = self.guarantee.to_json() if self.guarantee else None
        for name in ("shape", "source_shape"):
            value[name] = None if value[name] is None else list(value[name])
        return {name: part for name, part in value.items() if part not in (None, "")}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> WeightRow:
        """The row that `to_json` wrote."""
        if value["action"] not in ACTIONS:
            raise ValueError(f"action {value['action']!r}")
        read = dict(value)
        for name in ("shape", "source_shape"):
            if name in read:
                read[name] = tuple(int(size) for size in read[name])
        if "guarantee" in read:
            read["guarantee"] = Guarantee.from_json(read["guarantee"])
        if not isinstance(read.get("used"), int | None):
            raise ValueError(f"used {read['used']!r}")
        return cls(**read)


def row_of(path: str, action: Action, leaf: Any, **told: Any) -> WeightRow:
    """A row about an array of the result."""
    return WeightRow(path, action, tuple(np.shape(leaf)), str(np.asarray(leaf).dtype), **told)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A number that was measured after an operation.

    Args:
        what: For example ``largest difference of action means``.
        value: What came out.
        on: On which inputs, and how many.
        allowed: The largest value that keeps the guarantee; None where nothing was promised.
    """

    what: str
    value: float
    on: str
    allowed: float | None = None

    @property
    def holds(self) -> bool | None:
        """Whether it is within what is allowed; None where nothing was promised.

        What is no number never is.
        """
        return measurement_holds(self.value, self.allowed)

    def __str__(self) -> str:
        return measurement_in_words(self.what, self.value, self.on, self.allowed)

    def to_json(self) -> dict[str, Any]:
        """The measurement as a JSON object; what is not finite as text."""
        value = dataclasses.asdict(self)
        for name in ("value", "allowed"):
            if value[name] is not None and not math.isfinite(value[name]):
                value[name] = str(value[name])
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Measurement:
        """The measurement that `to_json` wrote."""
        allowed = value["allowed"]
        return cls(
            str(value["what"]),
            float(value["value"]),
            str(value["on"]),
            None if allowed is None else float(allowed),
        )


@dataclasses.dataclass(frozen=True)
class WeightReport:
    """What an operation did to weights. Every operation that changes weights gives one.

    Args:
        operation: ``inject``, ``transfer``, ``import``, …
        rows: One for each leaf of the result, and one for each dropped leaf of the source.
        guarantee: What holds of the whole.
        measurements: What was measured.
        notes: What concerns no leaf in particular.

    Example:
        >>> report = WeightReport(
        ...     "inject",
        ...     (row_of("a/kernel", "copied", np.ones((3, 1))), row_of("b", "kept", np.ones(1))),
        ...     EXACT,
        ... )
        >>> report.coverage, report.counts()
        (0.75, {'kept': 1, 'copied': 1})
    """

    operation: str
    rows: tuple[WeightRow, ...]
    guarantee: Guarantee
    measurements: tuple[Measurement, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def coverage(self) -> float:
        """Share of the result's numbers that came from the source, 0 to 1."""
        total = sum(row.size for row in self.rows)
        used = sum(row.from_source for row in self.rows)
        return used / total if total else 0.0

    def counts(self) -> dict[str, int]:
        """How many leaves each action was done to."""
        found = collections.Counter(row.action for row in self.rows)
        return {action: found[action] for action in ACTIONS if found[action]}

    def measured(self, *measurements: Measurement) -> WeightReport:
        """The same report with what was measured."""
        return dataclasses.replace(self, measurements=(*self.measurements, *measurements))

    def require(self, coverage: float) -> WeightReport:
        """This report, if as large a share of the numbers came from the source.

        Raises:
            MismatchError: naming leaves that did not.
        """
        if self.coverage < coverage:
            others = [f"{row.path} ({row.action})" for row in self.rows if _left(row)]
            raise MismatchError(
                f"{self.operation}: {self.coverage:.1%} of the numbers came from the source, "
                f"{coverage:.1%} were required; not {first_few(others)}"
            )
        return self

    def verify(self) -> WeightReport:
        """This report, if it used its source and what was measured is within what is allowed.

        Raises:
            GuaranteeError: naming what is not.
            MismatchError: when it is about no weights, or has a source and used nothing of it.
        """
        has_source = any(row.source is not None for row in self.rows)
        if not self.rows or (has_source and not any(row.from_source for row in self.rows)):
            told = first_few([row.path for row in self.rows if row.source is not None])
            raise MismatchError(
                f"{self.operation} used no weight of its source{told and f': not {told}'}",
                "A policy that took nothing over is a fresh one: make it as such",
            )
        broken = [str(each) for each in self.measurements if each.holds is False]
        if broken:
            raise GuaranteeError(
                f"{self.operation} guarantees '{self.guarantee}', but measured: "
                f"{'; '.join(broken)}. The result is not to be used"
            )
        return self

    def summary(self) -> str:
        """One line: what was done to how many leaves.

        Example:
            >>> WeightReport("inject", (row_of("a", "copied", np.ones(1)),), EXACT).summary()
            'inject: 1 copied; 100.0% of 1 number from the source; exact'
        """
        total = sum(row.size for row in self.rows)
        # What was done may have no source, such as to unfreeze.
        none = all(row.action in _NOT_FROM_SOURCE and row.source is None for row in self.rows)
        share = None if none else self.coverage
        told = summary_in_words(self.counts(), total, share, str(self.guarantee))
        return f"{self.operation}: {told}"

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return {
            "operation": self.operation,
            "guarantee": self.guarantee.to_json(),
            "coverage": self.coverage,
            "counts": self.counts(),
            "rows": [row.to_json() for row in self.rows],
            "measurements": [measurement.to_json() for measurement in self.measurements],
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], path: str = "report") -> WeightReport:
        """The report that `to_json` wrote.

        Raises:
            RefusedError: when it does not describe a report.
        """
        try:
            return cls(
                str(value["operation"]),
                tuple(WeightRow.from_json(row) for row in value["rows"]),
                Guarantee.from_json(value["guarantee"]),
                tuple(Measurement.from_json(each) for each in value["measurements"]),
                tuple(str(note) for note in value["notes"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RefusedError(path, f"does not describe a weight report ({error!r})") from None

    def __str__(self) -> str:
        from heredity.weights.report_table import as_text

        return as_text(self)

    def __rich__(self) -> Any:
        from heredity.weights.report_table import as_table

        return as_table(self)


def _left(row: WeightRow) -> bool:
    return row.from_source < row.size
