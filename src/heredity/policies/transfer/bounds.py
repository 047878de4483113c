"""How far outputs can move when what a layer takes in moves: norms of the layers after it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from heredity.networks.axes import Axis
from heredity.policies.specification import PolicySpec
from heredity.spaces import Box

# The steepest slope of each activation.
_SLOPES = {
    "": 1.0,
    "relu": 1.0,
    "tanh": 1.0,
    "elu": 1.0,
    "gelu": 1.13,
    "swish": 1.1,
    "leaky_relu": 1.0,
    "selu": 1.7581,
}


def amplification(
    axes: Mapping[str, tuple[Axis, ...]], leaves: Mapping[str, np.ndarray], path: str
) -> float:
    """The largest change of an output, for a change of Euclidean norm 1 before an activation.

    Args:
        axes: Of all weights.
        leaves: All weights by path.
        path: Of the kernel whose sums change.

    Returns:
        Infinite where the layers after it are no plain chain: a memory, a convolution, a norm over
        all units.

    Example:
        >>> from heredity.networks import MlpOptions, build_network
        >>> from heredity.spaces import Box
        >>> network = build_network(MlpOptions((1,)).spec(), Box((1,)), 1)
        >>> leaves = {"output/kernel": np.array([[3.0]]), "hidden_0/kernel": np.array([[2.0]])}
        >>> amplification(network.axes(), leaves, "hidden_0/kernel")
        3.0
    """
    return _after(axes, leaves, path, frozenset())


def _after(
    axes: Mapping[str, tuple[Axis, ...]],
    leaves: Mapping[str, np.ndarray],
    path: str,
    seen: frozenset[str],
) -> float:
    if path in seen or len(axes[path]) != 2:
        return math.inf
    slope = 1.0
    for made in axes[path][-1].pieces:
        if made.kind != "units":
            continue
        if not made.grows or made.repeats != 1 or made.activation not in _SLOPES:
            return math.inf
        following = 0.0
        for other, parts in axes.items():
            for piece, place in parts[0].parts() if parts and parts[0].role == "reads" else ():
                if piece.kind == "units" and piece.of == made.of:
                    norm = float(np.linalg.norm(leaves[other][place].astype(np.float64), 2))
                    following += norm * _after(axes, leaves, other, seen | {path})
            if (
                parts
                and parts[0].role == ""
                and any(piece.of == made.of for axis in parts for piece in axis.pieces)
            ):
                return math.inf
        return _SLOPES[made.activation] * following
    return slope


def action_slope(spec: PolicySpec) -> float:
    """How many times as far an action can move as the output that it is made of.

    Args:
        spec: Of a policy with continuous actions.
    """
    space = spec.action_space
    if not isinstance(space, Box) or spec.distribution.kind == "normal":
        return 1.0  # what is cut to bounds moves no further
    # tanh is nowhere steeper than 1, and is stretched from -1 to 1 to the bounds.
    return float(np.max(np.asarray(space.high, np.float64) - np.asarray(space.low, np.float64))) / 2
