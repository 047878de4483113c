"""How other libraries name and lay out weights, as data: rules from their names to ours.

A rule has patterns with captures: ``{name}`` stands for one part of a name (between dots or
slashes), ``{*name}`` for one or more parts.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from heredity.common.errors import UsageError
from heredity.weights.report import EXACT, Action, Guarantee

_CAPTURE = re.compile(r"\{(\*?)([a-z_][a-z0-9_]*)\}")


@dataclasses.dataclass(frozen=True)
class Layout:
    """How an array of the source becomes one of ours.

    Args:
        name: For reports, for example ``(out, in) to (in, out)``; empty where nothing changes.
        action: What a report calls it.
        apply: The function on arrays; unless `guarantee` says so, it moves numbers and computes
            none.
        ranks: How many axes the source's array may have; () for any.
        guarantee: What is kept by it.
        undo: The way back; None where what was dropped is not known any more.
    """

    name: str
    action: Action
    apply: Callable[[np.ndarray], np.ndarray]
    ranks: tuple[int, ...] = ()
    guarantee: Guarantee = EXACT
    undo: Callable[[np.ndarray], np.ndarray] | None = None


AS_IS = Layout("", "copied", lambda array: array, undo=lambda array: array)
# A dense layer: torch keeps (out, in).
LINEAR = Layout(
    "(out, in) to (in, out)", "transposed", lambda array: array.T, (2,), undo=lambda array: array.T
)
# A convolution: torch keeps (out, in, height, width).
CONV = Layout(
    "(out, in, height, width) to (height, width, in, out)",
    "permuted",
    lambda array: array.transpose(2, 3, 1, 0),
    (4,),
    undo=lambda array: array.transpose(3, 2, 0, 1),
)
# Axes of length 1 that one library has and the other has not, as around class tokens.
SQUEEZED = Layout("without axes of length 1", "permuted", np.squeeze)


@dataclasses.dataclass(frozen=True)
class Rule:
    """From names in the source to paths of ours.

    Several sources are joined along `axis` (of the source's layout); several targets are parts of
    equal size, split along it. Without a target, what matches is left out on purpose.

    Args:
        source: Pattern of the name in the source, or several.
        target: Our path, with the captures of the source; or several; or () to leave it out.
        layout: What is done to each array.
        axis: Along which axis of the source arrays are joined or split.

    Raises:
        UsageError: for several of both, captures that the source has not, or other types.

    Example:
        >>> rule = Rule("layers.{i}.weight", "hidden_{i}/kernel", LINEAR)
        >>> rule.match("layers.3.weight"), rule.paths({"i": "3"})
        ({'i': '3'}, ('hidden_3/kernel',))
    """

    source: str | tuple[str, ...]
    target: str | tuple[str, ...] = ()
    layout: Layout = AS_IS
    axis: int = 0

    def __post_init__(self) -> None:
        for given in (self.source, self.target):
            if not isinstance(given, str | tuple | list):
                raise UsageError(f"rule: {given!r} is no pattern of a name, nor several")
        for pattern in (*self.sources, *self.targets):
            if not isinstance(pattern, str) or not pattern:
                raise UsageError(f"rule: {pattern!r} is no pattern of a name")
        if not isinstance(self.layout, Layout) or not isinstance(self.axis, int):
            raise UsageError(
                f"rule {self}: layout {self.layout!r} and axis {self.axis!r}; a Layout such as "
                "LINEAR and a whole number were expected"
            )
        if not self.sources:
            raise UsageError(f"rule to {self.target}: a source was expected")
        if len(self.sources) != 1 and len(self.targets) != 1:
            raise UsageError(f"rule {self}: one of several sources and targets has to be one")
        given = {name for _, name in _CAPTURE.findall(self.sources[0])}
        for pattern in (*self.sources[1:], *self.targets):
            unknown = {name for _, name in _CAPTURE.findall(pattern)} - given
            if unknown:
                raise UsageError(
                    f"rule {self}: {pattern!r} uses {sorted(unknown)}, "
                    f"{self.sources[0]!r} captures {sorted(given)}"
                )

    @property
    def sources(self) -> tuple[str, ...]:
        """The patterns of the source, one or several."""
        return (self.source,) if isinstance(self.source, str) else tuple(self.source)

    @property
    def targets(self) -> tuple[str, ...]:
        """The patterns of our paths: one, several, or none."""
        return (self.target,) if isinstance(self.target, str) else tuple(self.target)

    def match(self, name: str) -> dict[str, str] | None:
        """What the first pattern captures of a name; None where it does not match."""
        found = _matcher(self.sources[0]).fullmatch(name)
        return None if found is None else found.groupdict()

    def names(self, captured: Mapping[str, str]) -> tuple[str, ...]:
        """The source's names with the captures filled in."""
        return tuple(_filled(pattern, captured) for pattern in self.sources)

    def paths(self, captured: Mapping[str, str]) -> tuple[str, ...]:
        """Our paths with the captures filled in; dots of ``{*name}`` become slashes."""
        slashed = {name: text.replace(".", "/") for name, text in captured.items()}
        return tuple(_filled(pattern, slashed) for pattern in self.targets)

    def __str__(self) -> str:
        sources, targets = " + ".join(self.sources), " + ".join(self.targets)
        return f"{sources} -> {targets or '(left out)'}"


def drop(*patterns: str) -> tuple[Rule, ...]:
    """Rules that leave out what matches."""
    return tuple(Rule(pattern) for pattern in patterns)


def linear(source: str, target: str, *, bias: bool = True) -> tuple[Rule, ...]:
    """A dense layer of torch: ``weight`` and ``bias`` to ``kernel`` and ``bias``."""
    return _layer(source, target, LINEAR, bias)


def conv(source: str, target: str, *, bias: bool = True) -> tuple[Rule, ...]:
    """A convolution of torch: ``weight`` and ``bias`` to ``kernel`` and ``bias``."""
    return _layer(source, target, CONV, bias)


def norm(source: str, target: str) -> tuple[Rule, ...]:
    """A layer norm of torch: ``weight`` and ``bias`` to ``scale`` and ``bias``."""
    return (Rule(f"{source}.weight", f"{target}/scale"), Rule(f"{source}.bias", f"{target}/bias"))


def _layer(source: str, target: str, layout: Layout, bias: bool) -> tuple[Rule, ...]:
    rules = (Rule(f"{source}.weight", f"{target}/kernel", layout),)
    return (*rules, Rule(f"{source}.bias", f"{target}/bias")) if bias else rules


@dataclasses.dataclass(frozen=True)
class Move:
    """One thing to do: arrays of the source to paths of ours."""

    rule: Rule
    names: tuple[str, ...]
    paths: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Moves:
    """What rules make of the names in a source.

    Args:
        moves: In the order of the source's names.
        left_out: Names that a rule leaves out on purpose.
        unmatched: Names that no rule matches.
    """

    moves: tuple[Move, ...]
    left_out: tuple[str, ...]
    unmatched: tuple[str, ...]


def resolve(rules: Sequence[Rule], names: Iterable[str]) -> Moves:
    """Which rule takes which names. The first rule that matches a name decides.

    Raises:
        UsageError: when two names would go to one path, or one to two; or when a rule that joins
            several names finds only some of them.
    """
    known = sorted(names)
    moves: list[Move] = []
    left_out: list[str] = []
    taken: dict[str, str] = {}
    used: dict[str, Rule] = {}
    # Rule by rule, so that one that joins several names takes them all before a later one is asked.
    for rule in rules:
        for name in known:
            captured = None if name in used else rule.match(name)
            if captured is None:
                continue
            move = Move(rule, rule.names(captured), rule.paths(captured))
            missing = [other for other in move.names if other not in known]
            if missing:
                raise UsageError(f"rule {rule}: {name} is there, {', '.join(missing)} is not")
            for other in move.names:
                if other in used:
                    raise UsageError(
                        f"rule {rule}: {other} is used by the rule {used[other]} already"
                    )
                used[other] = rule
            for path in move.paths:
                if path in taken:
                    raise UsageError(f"both {taken[path]} and {name} would become {path}")
                taken[path] = name
            if move.paths:
                moves.append(move)
            else:
                left_out += move.names
    moves.sort(key=lambda move: move.names)
    unmatched = tuple(name for name in known if name not in used)
    return Moves(tuple(moves), tuple(sorted(left_out)), unmatched)


@functools.cache
def _matcher(pattern: str) -> re.Pattern[str]:
    parts, end = [], 0
    seen: set[str] = set()
    for found in _CAPTURE.finditer(pattern):
        parts.append(re.escape(pattern[end : found.start()]))
        star, name = found.groups()
        if name in seen:
            parts.append(f"(?P={name})")
        else:
            parts.append(f"(?P<{name}>.+)" if star else f"(?P<{name}>[^./]+)")
        seen.add(name)
        end = found.end()
    return re.compile("".join(parts) + re.escape(pattern[end:]))


def captured_path(pattern: str, path: str) -> dict[str, str] | None:
    """What a pattern of our paths captures of one; None where it does not match.

    Example:
        >>> captured_path("block_{i}/scale", "block_3/scale")
        {'i': '3'}
    """
    found = _matcher(pattern).fullmatch(path)
    return None if found is None else found.groupdict()


def _filled(pattern: str, captured: Mapping[str, str]) -> str:
    return _CAPTURE.sub(lambda found: captured[found[2]], pattern)
