"""Weights are a plain nested dict of arrays; this is how its leaves are named and chosen.

A path is the keys from the root joined by ``/``: ``actor/hidden_0/kernel``.
"""

from __future__ import annotations

import functools
import hashlib
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from heredity.common.errors import MismatchError, UnknownNameError, UsageError, first_few

Params: TypeAlias = dict[str, Any]


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves by path, in the order of their paths.

    Example:
        >>> flatten({"actor": {"hidden_0": {"kernel": 1, "bias": 2}}})
        {'actor/hidden_0/bias': 2, 'actor/hidden_0/kernel': 1}
    """
    if not isinstance(params, Mapping):
        raise UsageError(f"weights {_told(params)}: a nested dict of arrays was expected")
    leaves: dict[str, Any] = {}
    for name in sorted(params, key=str):
        if not isinstance(name, str) or not name or "/" in name:
            raise UsageError(f"weights key {name!r} under {prefix!r}: a name without '/' expected")
        value = params[name]
        if isinstance(value, Mapping):
            leaves.update(flatten(value, f"{prefix}{name}/"))
        else:
            leaves[prefix + name] = value
    return leaves


def _told(value: Any) -> str:
    """What was given instead of weights: a large array is not printed."""
    return type(value).__name__ if hasattr(value, "shape") else reprlib.repr(value)


def unflatten(leaves: Mapping[str, Any]) -> Params:
    """The nested dict of leaves by path; the inverse of `flatten`."""
    params: Params = {}
    for path, leaf in leaves.items():
        *parents, name = path.split("/")
        place = params
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise UsageError(f"weights path {path!r} passes through a leaf at {parent!r}")
        if name in place:
            raise UsageError(f"weights path {path!r} is there twice, or is both leaf and folder")
        place[name] = leaf
    return params


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = []
    for part in re.split(r"(\*\*/|/\*\*|\*\*|\*|\?)", pattern):
        match part:
            case "**/":
                parts.append("(?:.*/)?")
            case "/**":
                parts.append("(?:/.*)?")
            case "**":
                parts.append(".*")
            case "*":
                parts.append("[^/]*")
            case "?":
                parts.append("[^/]")
            case _:
                parts.append(re.escape(part))
    return re.compile("".join(parts))


def select(paths: Iterable[str], patterns: Sequence[str], *, idle: bool = False) -> frozenset[str]:
    """Paths that the patterns choose.

    Args:
        paths: All paths.
        patterns: Globs: ``*`` within one part, ``**`` across parts, a leading ``!`` takes out again
            what earlier patterns chose.
        idle: Whether a pattern with ``!`` may take nothing out.

    Raises:
        UnknownNameError: when a pattern matches nothing, with the nearest paths.
        UsageError: when a pattern with ``!`` takes nothing out, unless it may be `idle`.

    Example:
        >>> paths = ["actor/log_std", "actor/out/bias", "critic/out/bias"]
        >>> sorted(select(paths, ["**", "!critic/**"]))
        ['actor/log_std', 'actor/out/bias']
    """
    if isinstance(patterns, str) or not all(isinstance(each, str) for each in patterns):
        raise UsageError(f"patterns {patterns!r}: a list of texts such as 'actor/**' was expected")
    known = sorted(paths)
    chosen: set[str] = set()
    for pattern in patterns:
        matcher = _compiled(pattern.removeprefix("!"))
        matched = {path for path in known if matcher.fullmatch(path)}
        if not matched:
            raise UnknownNameError("weights pattern", pattern, known)
        if not pattern.startswith("!"):
            chosen |= matched
        elif idle or chosen & matched:
            chosen -= matched
        else:
            raise UsageError(
                f"weights pattern {pattern!r} takes nothing out: no pattern before it chose "
                f"{first_few(sorted(matched))}; write '**' in front to choose all first"
            )
    return frozenset(chosen)


def find(params: Mapping[str, Any], *patterns: str) -> dict[str, Any]:
    """Leaves that the patterns choose, by path (see `select`).

    Raises:
        UnknownNameError: when a pattern matches nothing, with the nearest paths.

    Example:
        >>> find({"actor": {"kernel": 1, "bias": 2}, "critic": {"kernel": 3}}, "**/kernel")
        {'actor/kernel': 1, 'critic/kernel': 3}
    """
    leaves = flatten(params)
    chosen = select(leaves, patterns)
    return {path: leaf for path, leaf in leaves.items() if path in chosen}


def get(params: Mapping[str, Any], path: str, init: Callable[[], Any] | None = None) -> Any:
    """The leaf at a path; where there is none, what `init` makes.

    `params` stays as it is; `put` keeps what was made.

    Raises:
        UnknownNameError: when there is no such leaf and no `init`, with the nearest paths.

    Example:
        >>> params = {"actor": {"bias": np.zeros(2)}}
        >>> get(params, "actor/scale", lambda: np.ones(2))
        array([1., 1.])
    """
    leaves = flatten(params)
    if path in leaves:
        return leaves[path]
    if init is None:
        raise UnknownNameError("weights path", path, leaves)
    return init()


def put(params: Mapping[str, Any], path: str, value: Any) -> Params:
    """The same weights with another leaf at a path; a new path is added.

    Raises:
        MismatchError: when the leaf there has another shape or dtype.
        UsageError: when the path is a folder, or passes through a leaf.

    Example:
        >>> put({"actor": {"bias": np.zeros(2)}}, "actor/bias", np.ones(2))
        {'actor': {'bias': array([1., 1.])}}
    """
    if not isinstance(path, str) or not path or "" in path.split("/"):
        raise UsageError(f"weights path {path!r}: names with '/' between them were expected")
    leaves = flatten(params)
    array = value if hasattr(value, "dtype") else np.asarray(value)
    if array.dtype.kind in "OUSMm":
        raise UsageError(f"{path}: an array of numbers was expected, {_told(value)} was given")
    if path in leaves:
        there = leaves[path]
        expected = (np.shape(there), np.dtype(getattr(there, "dtype", type(there))))
        if (tuple(array.shape), np.dtype(array.dtype)) != expected:
            raise MismatchError(
                f"{path} is {expected[1]}{list(expected[0])}, "
                f"{array.dtype}{list(array.shape)} was given",
                "Give an array of the same shape and dtype",
            )
    elif any(name.startswith(f"{path}/") for name in leaves):
        raise UsageError(f"weights path {path!r} is a folder: name one leaf in it")
    # In the order of the paths, so that the result does not depend on what was put first.
    return unflatten(dict(sorted({**leaves, path: array}.items())))


def subtree(params: Mapping[str, Any], path: str) -> Params:
    """The folder of weights at a path; ``""`` is the whole.

    Raises:
        UnknownNameError: when there is no such folder, with the nearest ones.

    Example:
        >>> subtree({"actor": {"output": {"bias": 1}}}, "actor/output")
        {'bias': 1}
    """
    if not isinstance(path, str):
        raise UsageError(f"folder of weights {path!r}: names with '/' between them were expected")
    found: Any = params
    for part in path.split("/") if path else ():
        found = found.get(part) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        raise UnknownNameError("folder of weights", path, folders(params))
    return dict(found)


def folders(params: Mapping[str, Any]) -> tuple[str, ...]:
    """The paths of all folders, outer ones first.

    Example:
        >>> folders({"actor": {"output": {"bias": 1}}})
        ('actor', 'actor/output')
    """
    found = {
        path.rsplit("/", n)[0] for path in flatten(params) for n in range(1, path.count("/") + 1)
    }
    return tuple(sorted(found))


def partition(params: Params, patterns: Sequence[str]) -> tuple[Params, Params]:
    """Split into (what the patterns choose, the rest); `merge` puts them together again."""
    leaves = flatten(params)
    chosen = select(leaves, patterns)
    return (
        unflatten({path: leaf for path, leaf in leaves.items() if path in chosen}),
        unflatten({path: leaf for path, leaf in leaves.items() if path not in chosen}),
    )


def merge(*parts: Params) -> Params:
    """One nested dict of several that share no leaf.

    Runs inside compiled programs, once, while tracing.
    """
    leaves: dict[str, Any] = {}
    for part in parts:
        for path, leaf in flatten(part).items():
            if path in leaves:
                raise UsageError(f"weights path {path!r} is in two of the parts to merge")
            leaves[path] = leaf
    return unflatten(leaves)


def to_host(params: Params) -> dict[str, np.ndarray]:
    """Leaves by path as numpy copies of their own, never views of a buffer that may be donated.

    Read only: others may be writing them to a file.
    """
    leaves = {path: np.array(leaf) for path, leaf in flatten(params).items()}
    for leaf in leaves.values():
        leaf.flags.writeable = False
    return leaves


def content_hash(params: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical weights: path, dtype, shape and bytes of every leaf.

    Does not depend on a file format, on the order of the leaves or on the machine's byte order.

    Example:
        >>> content_hash({"a": {"b": np.zeros(2, np.float32)}})[:12]
        '715c7a09b93b'
    """
    digest = hashlib.sha256()
    for path, leaf in flatten(params).items():
        array = np.asarray(leaf)
        shape = ",".join(str(size) for size in array.shape)
        digest.update(f"{path}\0{array.dtype.name}\0{shape}\0".encode())
        little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
        # A view: the bytes of large weights are not copied to be hashed.
        digest.update(np.ascontiguousarray(little).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def count(params: Mapping[str, Any]) -> int:
    """How many numbers there are in all leaves together."""
    return sum(int(np.prod(np.shape(leaf))) for leaf in flatten(params).values())
