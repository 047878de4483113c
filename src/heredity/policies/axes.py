"""What the axes of all weights of a policy are made of, statistics and free parameters among them.

Networks say what their own axes are (`Network.axes`). Here their layers get names that are unique
in the policy (``actor/hidden_0``), what is read through a trunk becomes the units of the trunk, and
outputs become what the distribution takes them for.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from heredity.common.errors import UsageError
from heredity.networks import Network
from heredity.networks.axes import Axes, Axis, Piece, fixed, opaque
from heredity.networks.normalizer import normalized_leaves
from heredity.policies.actor_critic import ActorCritic
from heredity.weights import Params, flatten


def policy_axes(functions: ActorCritic) -> dict[str, tuple[Axis, ...]]:
    """The axes of every weight, by path.

    Where a network says nothing, or something that does not fit its weights, they are ``opaque``.

    Example:
        >>> from heredity.networks import DistributionSpec, MlpOptions
        >>> from heredity.policies import PolicySpec
        >>> from heredity.spaces import Box, Discrete
        >>> network = MlpOptions((8,)).spec()
        >>> space = Box((2,), names=("angle", "speed"))
        >>> spec = PolicySpec(space, Discrete(2), network, DistributionSpec("categorical"))
        >>> axes = policy_axes(ActorCritic(spec))
        >>> for axis in axes["actor/hidden_0/kernel"]:
        ...     print(axis.role, axis.pieces[0].of, axis.pieces[0].names)
        reads observation ('angle', 'speed')
        makes actor/hidden_0 ()
    """
    shapes = {path: tuple(leaf.shape) for path, leaf in flatten(functions.shapes()).items()}
    read: tuple[Piece, ...] | None = None
    if functions.trunk is not None:
        read = tuple(piece.inside("trunk") for piece in functions.trunk.output_pieces())
    axes: dict[str, tuple[Axis, ...]] = {}
    made = {"actor": functions.family.pieces(), "critic": (Piece("value", 1, "fixed"),)}
    for name, network in functions.networks.items():
        seen = None if name == "trunk" else read
        axes |= _network_axes(name, network, seen, made.get(name))
    for name, pieces in functions.family.free_pieces().items():
        axes[f"actor/{name}"] = (Axis("action", pieces, "makes"),)
    axes |= _statistics_axes(functions, shapes)
    return {path: _checked(path, axes.get(path), shape) for path, shape in shapes.items()}


def _network_axes(
    name: str,
    network: Network,
    read: tuple[Piece, ...] | None,
    made: tuple[Piece, ...] | None,
) -> dict[str, tuple[Axis, ...]]:
    """The axes of one network under its name.

    Args:
        name: Of the network.
        network: It.
        read: What it reads instead of an observation.
        made: What its outputs are; None for units that others read.
    """
    given: Axes = network.axes()
    return {
        f"{name}/{path}": tuple(_placed(name, axis, read, made) for axis in axes)
        for path, axes in given.items()
        if all(isinstance(axis, Axis) for axis in axes)
    }


def _placed(
    name: str, axis: Axis, read: tuple[Piece, ...] | None, made: tuple[Piece, ...] | None
) -> Axis:
    pieces: list[Piece] = []
    for piece in axis.pieces:
        if piece.kind == "outputs" and made is not None:
            pieces += made
        elif piece.kind in ("columns", "channels") and read is not None:
            pieces += read
        else:
            pieces.append(piece.inside(name))
    return dataclasses.replace(axis, pieces=tuple(pieces))


def _statistics_axes(
    functions: ActorCritic, shapes: dict[str, tuple[int, ...]]
) -> dict[str, tuple[Axis, ...]]:
    axes: dict[str, tuple[Axis, ...]] = {}
    for path, box in normalized_leaves(functions.spec.observation_space).items():
        parts = tuple(fixed(f"axis {i}", n) for i, n in enumerate(box.concrete_shape))
        if box.shape:
            columns = Piece(path, box.concrete_shape[-1], "channels", box.names)
            parts = (*parts[:-1], Axis(path, (columns,), "makes"))
        for name in ("mean", "variance"):
            axes[f"normalizer/{path}/{name}"] = parts
        axes[f"normalizer/{path}/count"] = (*parts, fixed("halves", 2))
    for name, shape in shapes.items():
        if name.startswith("normalizer/reward/"):
            axes[name] = tuple(fixed(f"axis {i}", n) for i, n in enumerate(shape))
    return axes


def _checked(path: str, axes: tuple[Axis, ...] | None, shape: tuple[int, ...]) -> tuple[Axis, ...]:
    if axes is None:
        return opaque(path, shape)
    if tuple(axis.size for axis in axes) != shape:
        told = " × ".join(f"{axis.name} {axis.size}" for axis in axes)
        raise UsageError(
            f"axes() says that {path} is {told}; its shape is {shape}: what is moved by it would "
            "end in the wrong place"
        )
    return axes


def is_opaque(axes: tuple[Axis, ...]) -> bool:
    """Whether nobody knows what a weight is made of."""
    return any(piece.kind == "opaque" for axis in axes for piece in axis.pieces)


def unread_columns(functions: ActorCritic, params: Params) -> dict[str, np.ndarray]:
    """Which columns of the observation no weight reads: all that would multiply them are zero.

    A sensor that a policy was just given is one of them, until something is learnt of it.

    Args:
        functions: Of the policy.
        params: Its weights.

    Returns:
        For entries with such columns, by path: bool, of the shape of the entry.
    """
    leaves: dict[str, Any] = flatten(params)
    read: dict[str, np.ndarray] = {}
    unknown: set[str] = set()
    for path, axes in policy_axes(functions).items():
        network = path.partition("/")[0]
        if network not in ("actor", "trunk"):
            continue
        if is_opaque(axes):
            unknown.add(network)
            continue
        for number, axis in enumerate(axes):
            if axis.role == "reads":
                others = tuple(i for i in range(len(axes)) if i != number)
                used = np.any(np.asarray(leaves[path]) != 0, axis=others)
                _note_used(axis, used, read)
    if unknown:
        return {}
    found = {}
    for path, box in normalized_leaves(functions.spec.acting_space).items():
        if path in read and not read[path].all():
            found[path] = ~read[path].reshape(box.concrete_shape)
    return found


def _note_used(axis: Axis, used: np.ndarray, read: dict[str, np.ndarray]) -> None:
    start = 0
    for piece in axis.pieces:
        if piece.kind == "columns":
            part = used[start : start + piece.total]
            read[piece.of] = read[piece.of] | part if piece.of in read else part
        start += piece.total
