"""Whether what one space describes can stand where another was expected."""

from __future__ import annotations

from heredity.spaces.space import Box, Dict, Discrete, Graph, MultiDiscrete, Space


def space_difference(expected: Space, found: Space, path: str = "") -> str:
    """The first structural difference in words; empty when there is none.

    Bounds are not structure. Names are, when both sides give them.

    Example:
        >>> space_difference(Box((4,)), Box((3,)))
        'shape (3,) where (4,) was expected'
    """
    at = f"{path}: " if path else ""
    if type(expected) is not type(found):
        return f"{at}{type(found).__name__} where {type(expected).__name__} was expected"
    match expected, found:
        case Dict(), Dict():
            if list(expected) != list(found):
                return f"{at}keys {list(found)} where {list(expected)} were expected"
            parts = (
                space_difference(part, found[name], f"{path}/{name}" if path else name)
                for name, part in expected.entries
            )
            return next((part for part in parts if part), "")
        case Box(), Box():
            for field in ("shape", "dtype"):
                a, b = getattr(expected, field), getattr(found, field)
                if a != b:
                    return f"{at}{field} {b} where {a} was expected"
        case Discrete(), Discrete():
            if (expected.n, expected.start) != (found.n, found.start):
                return f"{at}{found} where {expected} was expected"
        case MultiDiscrete(), MultiDiscrete():
            if expected.nvec != found.nvec:
                return f"{at}options {found.nvec} where {expected.nvec} were expected"
        case Graph(), Graph():
            return space_difference(expected.fields(), found.fields(), path)
    named = getattr(expected, "names", ()), getattr(found, "names", ())
    if all(named) and named[0] != named[1]:
        pairs = zip(*named, strict=True)
        index, (a, b) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
        return f"{at}column {index} is {b!r} where {a!r} was expected"
    return ""
