"""Spaces as JSON, exactly: what is read back equals what was written."""

from __future__ import annotations

import math
from typing import Any

from heredity.common.errors import HeredityError, RefusedError
from heredity.spaces.space import Bound, Box, Dict, Dim, Discrete, Graph, MultiDiscrete, Size, Space


def _encode_size(size: Size) -> Any:
    return {"dim": size.name} if isinstance(size, Dim) else size


def _decode_size(value: Any) -> Size:
    return Dim(value["dim"]) if isinstance(value, dict) else value


def _encode_bound(bound: Bound) -> Any:
    if isinstance(bound, tuple):
        return [_encode_bound(part) for part in bound]
    # JSON has no infinity; a float's repr gives the same float back.
    return bound if math.isfinite(bound) else repr(bound)


def _decode_bound(value: Any) -> Bound:
    if isinstance(value, list):
        return tuple(_decode_bound(part) for part in value)
    return float(value) if isinstance(value, str) else value


def space_to_json(space: Space) -> dict[str, Any]:
    """A space as a JSON object with a ``type``.

    Example:
        >>> space_to_json(Discrete(Dim("nodes")))
        {'type': 'discrete', 'n': {'dim': 'nodes'}, 'start': 0, 'names': []}
    """
    match space:
        case Box():
            return {
                "type": "box",
                "shape": [_encode_size(size) for size in space.shape],
                "low": _encode_bound(space.low),
                "high": _encode_bound(space.high),
                "dtype": space.dtype,
                "names": list(space.names),
                "static": space.static,
            }
        case Discrete():
            return {
                "type": "discrete",
                "n": _encode_size(space.n),
                "start": space.start,
                "names": list(space.names),
            }
        case MultiDiscrete():
            return {
                "type": "multi_discrete",
                "nvec": list(space.nvec),
                "names": list(space.names),
            }
        case Dict():
            return {
                "type": "dict",
                "spaces": {name: space_to_json(part) for name, part in space.entries},
            }
        case Graph():
            return {
                "type": "graph",
                "nodes": space_to_json(space.nodes),
                "edges": space_to_json(space.edges),
                "static": space.static,
            }
    raise TypeError(f"{type(space).__name__} has no JSON form")


def space_from_json(value: Any, path: str = "space") -> Space:
    """The space that `space_to_json` wrote.

    Args:
        value: The JSON object.
        path: Where it stands, for the error.

    Raises:
        RefusedError: when it does not describe a space.
    """
    try:
        return _decode(value)
    except (KeyError, TypeError, ValueError, HeredityError) as error:
        problem = f"misses {error}" if isinstance(error, KeyError) else str(error)
        raise RefusedError(path, f"does not describe a space ({problem})") from None


def _decode_box(value: dict[str, Any]) -> Box:
    return Box(
        tuple(_decode_size(size) for size in value["shape"]),
        _decode_bound(value["low"]),
        _decode_bound(value["high"]),
        value["dtype"],
        tuple(value["names"]),
        value["static"],
    )


def _decode(value: dict[str, Any]) -> Space:
    match value["type"]:
        case "box":
            return _decode_box(value)
        case "discrete":
            return Discrete(_decode_size(value["n"]), value["start"], tuple(value["names"]))
        case "multi_discrete":
            return MultiDiscrete(tuple(value["nvec"]), tuple(value["names"]))
        case "dict":
            return Dict({name: _decode(part) for name, part in value["spaces"].items()})
        case "graph":
            return Graph(_decode_box(value["nodes"]), _decode_box(value["edges"]), value["static"])
        case other:
            raise ValueError(f"unknown type {other!r}")
