"""Values of a record as people read them: numbers of things, spaces, networks, environments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def counted(count: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> counted(1, "snapshot"), counted(1200, "snapshot"), counted(2, "policy")
        ('1 snapshot', '1,200 snapshots', '2 policies')
    """
    if count == 1:
        return f"{count:,} {noun}"
    return f"{count:,} {noun[:-1]}ies" if noun.endswith(("cy", "ry")) else f"{count:,} {noun}s"


def in_words(value: Any) -> str:
    """A value without Python's marks: rounded numbers, yes and no, lists with commas.

    Example:
        >>> in_words({"kind": "mlp", "hidden": [64, 64], "scale": 1.4142135623730951, "bias": True})
        'mlp, hidden 64 64, scale 1.41421, bias yes'
        >>> in_words(None), in_words([])
        ('none', 'none')
        >>> in_words({"kind": "rssm", "encoder": {"kind": "mlp", "units": 32}, "units": 64})
        'rssm, encoder (mlp, units 32), units 64'
    """
    match value:
        case None | "":
            return "none"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:,.6g}"
        case int():
            return f"{value:,}"
        case Mapping() if "kind" in value:
            rest = {name: part for name, part in value.items() if name != "kind"}
            return ", ".join(part for part in (str(value["kind"]), _pairs(rest)) if part)
        case Mapping():
            return _pairs(value) or "none"
        case list() | tuple():
            plain = all(isinstance(part, int | float) for part in value)
            return (" " if plain else ", ").join(in_words(part) for part in value) or "none"
    return str(value)


def _pairs(value: Mapping[str, Any]) -> str:
    given = {n: part for n, part in value.items() if part is not None and part not in ([], {})}
    told = {n: f"({in_words(p)})" if _is_group(p) else in_words(p) for n, p in given.items()}
    return ", ".join(f"{name.replace('_', ' ')} {part}" for name, part in told.items())


def _is_group(value: Any) -> bool:
    """Whether it has several things of its own to say, which are not those of what it is in."""
    return isinstance(value, Mapping) and len(value) > 1


def space_in_words(space: Mapping[str, Any]) -> str:
    """A space in its JSON form.

    Example:
        >>> from heredity.spaces import Box, Discrete, space_to_json
        >>> space_in_words(space_to_json(Box((2,), low=-1.0, high=1.0, names=("x", "y"))))
        '2 float32 from -1 to 1: x, y'
        >>> space_in_words(space_to_json(Discrete(3)))
        '3 choices'
    """
    match space["type"]:
        case "box":
            shape = " × ".join(_size(size) for size in space["shape"]) or "1"
            told = f"{shape} {space['dtype']}"
            low, high = space["low"], space["high"]
            if isinstance(low, list) or isinstance(high, list):
                told += ", each with bounds of its own"
            elif low not in (None, "-inf") or high not in (None, "inf"):
                told += f" from {_bound(low)} to {_bound(high)}"
        case "discrete":
            told = f"{_size(space['n'])} choices"
            if space["start"]:
                told += f" from {space['start']}"
        case "multi_discrete":
            told = f"{' × '.join(map(str, space['nvec']))} choices"
        case "dict":
            return "; ".join(f"{n}: {space_in_words(part)}" for n, part in space["spaces"].items())
        case "graph":
            parts = [f"{name}: {space_in_words(space[name])}" for name in ("nodes", "edges")]
            return f"graph; {'; '.join(parts)}"
        case _:
            return in_words(space)
    names = space.get("names") or []
    return told + (f": {', '.join(names)}" if names else "")


def _size(size: Any) -> str:
    return str(size["dim"]) if isinstance(size, Mapping) else in_words(size)


def _bound(bound: Any) -> str:
    return "no bound" if bound is None else in_words(bound)


def environment_in_words(environment: Mapping[str, Any]) -> str:
    """An environment's id, and its options.

    Example:
        >>> environment_in_words({"id": "brax/ant", "options": {"action_repeat": 1}})
        'brax/ant, action repeat 1'
    """
    options = _pairs(environment.get("options") or {})
    return f"{environment['id']}, {options}" if options else str(environment["id"])


def seconds_in_words(seconds: float) -> str:
    """A duration.

    Example:
        >>> [seconds_in_words(seconds) for seconds in (58.06, 754.0, 7620.0)]
        ['58.1 s', '12 min 34 s', '2 h 7 min']
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
