"""Spaces as people read them."""

from __future__ import annotations

from heredity.spaces.space import Box, Dict, Discrete, MultiDiscrete, Space


def space_in_words(space: Space) -> str:
    """A space for errors: what it is and its shape, not each of its bounds.

    Example:
        >>> space_in_words(Dict({"state": Box((3,), -1.0, 1.0), "turn": Discrete(4)}))
        "{'state': Box float32[3], 'turn': Discrete(4)}"
    """
    match space:
        case Dict():
            parts = (f"{name!r}: {space_in_words(part)}" for name, part in space.entries)
            return "{" + ", ".join(parts) + "}"
        case Box():
            return f"Box {space.dtype}[{', '.join(map(str, space.shape))}]"
        case Discrete():
            return f"Discrete({space.n})"
        case MultiDiscrete():
            return f"MultiDiscrete({list(space.nvec)})"
    return type(space).__name__
