"""Putting weights from elsewhere into a dict of weights, strictly, with a report of every leaf."""

from __future__ import annotations

import dataclasses
import functools
import math
import reprlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
from numpy.lib.array_utils import byte_bounds

from heredity.common.errors import MismatchError, UsageError, first_few
from heredity.weights.report import (
    EXACT,
    ROUNDING,
    Guarantee,
    WeightReport,
    WeightRow,
    row_of,
    weakest,
)
from heredity.weights.rules import AS_IS, Move, Rule, resolve
from heredity.weights.tree import Params, flatten, select, subtree, unflatten

_few = functools.partial(first_few, between="; ")
_SAME_NAMES = (Rule("{*path}", "{*path}"),)


def inject(
    params: Mapping[str, Any],
    source: Mapping[str, Any],
    rules: Sequence[Rule] = (),
    *,
    into: str = "",
    allow: Sequence[str] = (),
    donate: bool = False,
) -> tuple[Params, WeightReport]:
    """Weights with leaves taken from a source; nothing is left over or left out silently.

    Every leaf below `into` has to be filled, and every array of the source has to be used: what may
    stay as it is, or may be left out, is named by `allow` or by a rule without a target.

    Args:
        params: The weights to inject into; they stay as they are, unless they are donated.
        source: Arrays by name, flat or nested, as a file holds them.
        rules: From the source's names to ours; () where they are the same.
        into: The folder that the rules' paths are relative to; ``""`` for the whole.
        allow: Patterns of paths below `into` that may keep what they have, and of names of the
            source that may be left out. A pattern that matches neither is an error.
        donate: Whether the arrays of `params` that numpy may write to are overwritten and become
            the new weights, which saves the memory for new ones and the time to get it. Do not use
            `params` afterwards, nor after an error.

    Returns:
        The new weights and the report. Dtypes are those of `params`; it is exact unless a cast
        rounded.

    Raises:
        MismatchError: naming what is missing, left over, of another shape, not a number, or not to
            be cast; or when nothing of the source was used.
        UnknownNameError: for an `into` or `allow` that matches nothing.
        UsageError: for rules that contradict each other; for donated arrays that share memory with
            the source or with each other.

    Example:
        >>> from heredity.weights.rules import linear
        >>> fresh = {"head": {"kernel": np.zeros((2, 3)), "bias": np.zeros(3)}}
        >>> file = {"fc.weight": np.ones((3, 2)), "fc.bias": np.ones(3)}
        >>> params, report = inject(fresh, file, linear("fc", "head"))
        >>> report.summary()
        'inject: 1 copied, 1 transposed; 100.0% of 9 numbers from the source; exact'
    """
    if not isinstance(source, Mapping):
        raise UsageError(f"the source is a {type(source).__name__}: arrays by name were expected")
    if isinstance(rules, Rule) or not all(isinstance(rule, Rule) for rule in rules):
        raise UsageError(f"rules {reprlib.repr(rules)}: a list of Rule was expected")
    leaves, arrays = flatten(params), _flat(source)
    scope = flatten(subtree(params, into))
    if donate:
        _check_apart(leaves, arrays)
    moves = resolve(rules or _SAME_NAMES, arrays)
    allowed = _allowed(allow, scope, arrays)
    problems: list[str] = []
    filled: dict[str, np.ndarray] = {}
    rows: dict[str, WeightRow] = {}
    guarantees: list[Guarantee] = [EXACT]
    left_out = {name: "left out by a rule" for name in moves.left_out}
    left_out |= {name: "allowed" for name in moves.unmatched if name in allowed}
    problems += [
        f"{name} of the source matches no rule" for name in moves.unmatched if name not in allowed
    ]
    prefix = f"{into}/" if into else ""
    results = _side_by_side(moves.moves, scope, arrays, donate)
    for move, result in zip(moves.moves, results, strict=True):
        told = " + ".join(move.names)
        if isinstance(result, str):
            problems.append(f"{told} {result}")
            continue
        for path, fitted in zip(move.paths, result, strict=True):
            if path not in scope:
                if not allowed >= set(move.names):
                    problems.append(f"{told} would become {prefix}{path}, which there is not")
                left_out |= {name: f"there is no {prefix}{path}" for name in move.names}
                continue
            if isinstance(fitted, str):
                if path in allowed:
                    left_out |= {name: fitted for name in move.names}
                else:
                    problems.append(f"{told} to {prefix}{path}: {fitted}")
                continue
            value, rounded = fitted
            guarantee = weakest((rounded, move.rule.layout.guarantee))
            guarantees.append(guarantee)
            filled[prefix + path] = value
            rows[prefix + path] = _row(move, prefix + path, value, arrays, guarantee)
    missing = [path for path in scope if prefix + path not in filled and path not in allowed]
    # One absence explains the other: what did not fit is told already.
    explained = {path for move in moves.moves for path in move.paths}
    problems += [f"{prefix}{path} gets nothing" for path in missing if path not in explained]
    if problems:
        raise MismatchError(
            f"these weights do not fit: {_few(problems)}",
            "Add or change rules, or name in allow what may keep its value or be left out",
        )
    if not filled:
        raise MismatchError(
            f"nothing of the source was used: it has {_few(sorted(arrays))}; "
            f"weights here are {_few(sorted(scope))}",
            "Add rules that say which becomes which",
        )
    for path, leaf in leaves.items():
        rows.setdefault(path, row_of(path, "kept", leaf, note=_why_kept(path, prefix, scope)))
    dropped = [
        WeightRow(name, "dropped", source=name, note=why, **_of_source(arrays[name]))
        for name, why in sorted(left_out.items())
    ]
    report = WeightReport(
        "inject", (*(rows[path] for path in leaves), *dropped), weakest(guarantees)
    )
    return unflatten({path: filled.get(path, leaf) for path, leaf in leaves.items()}), report


def _flat(source: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays by name; names may have dots, and slashes where they were folders."""
    found: dict[str, np.ndarray] = {}
    for name, value in source.items():
        inside = _flat(value) if isinstance(value, Mapping) else {"": _array(value)}
        for inner, array in inside.items():
            path = f"{name}/{inner}" if inner else str(name)
            if path in found:
                raise UsageError(f"the source has {path} twice")
            found[path] = array
    return found


def _check_apart(params: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Refuse donated memory that holds the source, maybe unread, or two leaves, kept ones too."""
    leaves = {path: leaf for path, leaf in params.items() if isinstance(leaf, np.ndarray)}
    for path, leaf in leaves.items():
        for name, array in arrays.items():
            if isinstance(array, np.ndarray) and np.may_share_memory(array, leaf):
                raise UsageError(
                    f"{name} of the source is in the memory of {path}, which donate=True overwrites"
                )
    # Sorted by where they begin, what overlaps any overlaps the one that reaches furthest.
    last, end = "", 0
    for first, past, path in sorted((*byte_bounds(leaf), path) for path, leaf in leaves.items()):
        if first < end and past > first:
            raise UsageError(
                f"{last} and {path} are in one memory, which donate=True overwrites: "
                "leave donate out"
            )
        if past > end:
            last, end = path, past


def _array(value: Any) -> Any:
    """An array; what is one but for its numbers, as a `StoredTensor`, is read when it is needed."""
    knows = isinstance(getattr(value, "dtype", None), np.dtype) and hasattr(value, "shape")
    return value if knows else np.asarray(value)


def _allowed(
    patterns: Sequence[str], scope: Mapping[str, Any], arrays: Mapping[str, Any]
) -> frozenset[str]:
    known = {*scope, *arrays}
    if isinstance(patterns, str):
        raise UsageError(f"allow {patterns!r}: give a list of patterns")
    return select(known, patterns)


Fitted: TypeAlias = tuple[np.ndarray, Guarantee] | str
"""An array as a leaf, and whether that rounded it; or why it cannot be one."""


def _side_by_side(
    moves: Sequence[Move], scope: Mapping[str, Any], arrays: Mapping[str, Any], donate: bool
) -> list[list[Fitted] | str]:
    """What becomes of each move: a leaf for each of its paths, or why it cannot be done."""

    def done(move: Move) -> list[Fitted] | str:
        made = _made(move, arrays)
        if isinstance(made, str):
            return made
        pairs = zip(move.paths, made, strict=True)
        return [
            _fitted(scope[path], array, donate) if path in scope else "there is no such leaf"
            for path, array in pairs
        ]

    if sum(math.prod(array.shape) for array in arrays.values()) < _MANY:
        return [done(move) for move in moves]
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(done, moves))


_MANY = 10_000_000  # numbers, from which on threads save more than starting them takes
_THREADS = 2  # more wait for memory, and hold more arrays at once


def _made(move: Move, arrays: Mapping[str, Any]) -> list[np.ndarray] | str:
    """The arrays of a move in our layout, one for each of its paths; or why there are none."""
    rule, parts = move.rule, [arrays[name] for name in move.names]
    ranks = rule.layout.ranks
    if ranks and any(part.ndim not in ranks for part in parts):
        shapes = ", ".join(str(list(part.shape)) for part in parts)
        return f"of shape {shapes} cannot go from {rule.layout.name}"
    parts = [np.asarray(part) for part in parts]
    try:
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=rule.axis)
        pieces = [whole]
        if len(move.paths) > 1:
            pieces = np.split(whole, len(move.paths), axis=rule.axis)
    except (IndexError, ValueError) as error:
        return f"cannot be joined or split along axis {rule.axis} ({error})"
    return [rule.layout.apply(piece) for piece in pieces]


def _fitted(leaf: Any, array: np.ndarray, donate: bool) -> Fitted:
    shape, dtype = tuple(np.shape(leaf)), np.dtype(leaf.dtype)
    if array.shape != shape:
        return f"shape {list(array.shape)}, {list(shape)} was expected"
    is_number = _is_float(array.dtype) or array.dtype.kind in "iub"
    if not is_number or (_is_float(array.dtype) != _is_float(dtype)):
        return f"{array.dtype} cannot become {dtype}"
    if _is_float(array.dtype) and not _is_finite(array):
        return "it has NaN or infinite numbers"
    if array.dtype == dtype:
        fits = donate and isinstance(leaf, np.ndarray) and leaf.flags.carray
        return _copied(array, leaf if fits else np.empty(shape, dtype)), EXACT
    if not _is_float(dtype):
        if not _is_within(array, dtype):
            return f"numbers of {array.dtype} do not fit {dtype}"
        return array.astype(dtype, order="C"), EXACT
    with np.errstate(over="ignore"):
        value = array.astype(dtype, order="C")
    if not np.isfinite(value).all():
        return f"numbers of {array.dtype} are too large for {dtype}"
    return value, EXACT if (value.astype(array.dtype) == array).all() else ROUNDING


def _is_within(array: np.ndarray, dtype: np.dtype) -> bool:
    """Whether every whole number is one of a dtype."""
    # To cast there and back would not tell: -1 becomes 2**32 - 1, and -1 again.
    if not array.size:
        return True
    least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return int(least) <= int(array.min()) and int(array.max()) <= int(most)


def _is_finite(array: np.ndarray) -> bool:
    # What is not finite leaves no sum finite. Large numbers may as well: those are looked at.
    with np.errstate(all="ignore"):
        return bool(np.isfinite(array.sum()) or np.isfinite(array).all())


_STRIP = 8  # columns of a transposed array, which are read as long rows


def _copied(array: np.ndarray, copy: np.ndarray) -> np.ndarray:
    """The array copied into another one, which has our order of axes.

    A transposed array is copied in strips: numpy alone takes twice the time, because it jumps from
    row to row of the source for each number.
    """
    if array.ndim != 2 or array.flags.c_contiguous or not array.flags.f_contiguous:
        np.copyto(copy, array)
        return copy
    for start in range(0, array.shape[1], _STRIP):
        strip = slice(start, start + _STRIP)
        np.copyto(copy.T[strip], array.T[strip])
    return copy


def _is_float(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or dtype in _SMALL_FLOATS


_SMALL_FLOATS = frozenset(np.dtype(kind) for kind in (ml_dtypes.bfloat16,))


def _row(
    move: Move,
    path: str,
    value: np.ndarray,
    arrays: Mapping[str, Any],
    guarantee: Guarantee,
) -> WeightRow:
    layout = move.rule.layout
    first = arrays[move.names[0]]
    is_cast = first.dtype != value.dtype
    action = "cast" if is_cast and layout is AS_IS else layout.action
    notes = [layout.name] if layout.name else []
    if len(move.names) > 1:
        notes.append(f"{len(move.names)} joined")
    if len(move.paths) > 1:
        notes.append(f"one of {len(move.paths)} parts")
    if is_cast:
        notes.append(f"{first.dtype} to {value.dtype}")
    row = row_of(path, action, value, source=" + ".join(move.names), note="; ".join(notes))
    return dataclasses.replace(row, guarantee=guarantee, **_of_source(first))


def _of_source(array: np.ndarray) -> dict[str, Any]:
    return {"source_shape": tuple(array.shape), "source_dtype": str(array.dtype)}


def _why_kept(path: str, prefix: str, scope: Mapping[str, Any]) -> str:
    inside = path.startswith(prefix) and path.removeprefix(prefix) in scope
    return "allowed" if inside else ""
