"""What a pickle may hold besides plain values, and all of it as a tree of values and arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from heredity.weights.reading.limits import MOST_DEPTH, MOST_ENTRIES
from heredity.weights.reading.numpy_values import Dtype, UnfinishedArray, Unfit


@dataclasses.dataclass(frozen=True)
class Name:
    """Something that the pickle calls by name: a class, a function or a dtype."""

    text: str


@dataclasses.dataclass(eq=False)
class Record:
    """An object of a class that is not ours, as data: its name and what it was made from.

    Args:
        name: Of the class or function, ``package.module.name``.
        arguments: What it was called with.
        state: What was put into it then.
    """

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __getitem__(self, name: str) -> Any:
        """One of its attributes.

        Raises:
            KeyError: when it has no such attribute.
        """
        if not isinstance(self.state, Mapping):
            raise KeyError(name)
        return self.state[name]


def finished(value: Any, most_bytes: int) -> Any:
    """The same value with every array finished, as a tree: what was shared is there twice.

    Args:
        value: What an `Interpreter` gave.
        most_bytes: Bytes that all arrays, texts and keys together may have.

    Raises:
        Unfit: when it is too deep or too large, which a small pickle can be by naming itself.
    """
    budget = {"entries": MOST_ENTRIES, "bytes": most_bytes}

    def count(size: int) -> None:
        budget["bytes"] -= size
        if budget["bytes"] < 0:
            raise Unfit(f"values of more than {most_bytes:,} bytes")

    def walk(part: Any, depth: int) -> Any:
        budget["entries"] -= 1
        if depth > MOST_DEPTH or budget["entries"] < 0:
            raise Unfit(f"more than {MOST_ENTRIES:,} values, or {MOST_DEPTH} levels of them")
        match part:
            case UnfinishedArray():
                return walk(part.finish(), depth)
            case np.ndarray():
                count(part.nbytes)
                return part
            case dict():
                count(sum(len(key) for key in part if isinstance(key, str)))
                return {key: walk(inner, depth + 1) for key, inner in part.items()}
            case list():
                return [walk(inner, depth + 1) for inner in part]
            case tuple():
                return tuple(walk(inner, depth + 1) for inner in part)
            case Record():
                arguments = tuple(walk(inner, depth + 1) for inner in part.arguments)
                return Record(part.name, arguments, walk(part.state, depth + 1))
            case None | bool() | int() | float() | np.generic():
                return part
            case str():
                count(len(part))
                return part
            case bytes() | bytearray():
                count(len(part))
                return bytes(part)
            case Name():
                return part.text
            case Dtype():
                return part.dtype.name
        raise Unfit(f"a {type(part).__name__} where a value was expected")

    return walk(value, 0)


def arrays_by_path(value: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Every array of what was read, by its keys and numbers joined with ``/``.

    Example:
        >>> sorted(arrays_by_path([{"mean": np.zeros(2)}, {"params": {"bias": np.ones(1)}}]))
        ['0/mean', '1/params/bias']
    """
    match value:
        case np.ndarray() | np.generic():
            return {prefix or "value": np.asarray(value)}
        case Mapping():
            pairs: Iterable[tuple[Any, Any]] = value.items()
        case list() | tuple():
            pairs = enumerate(value)
        case Record():
            pairs = (("", value.state),) if value.state is not None else ()
        case _:
            return {}
    found: dict[str, np.ndarray] = {}
    for key, part in pairs:
        name = "/".join(text for text in (prefix, str(key)) if text)
        found |= arrays_by_path(part, name)
    return found
