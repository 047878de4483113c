"""What the axes of all weights of a policy are made of, statistics and free parameters among them.

Networks say what their own axes are (`Network.axes`). Here their layers get names that are unique
in the policy (``actor/hidden_0``), what is read through a trunk becomes the units of the trunk, and
outputs become what the distribution takes them for.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from heredity.common.errors import MismatchError
from heredity.networks import Network
from heredity.networks.axes import Axes, Axis, Piece, fixed, opaque
from heredity.networks.normalizer import normalized_leaves
from heredity.networks.observations import map_entries
from heredity.policies.actor_critic import ActorCritic
from heredity.policies.given import gaps_filled, is_finite
from heredity.spaces import Space
from heredity.weights import Params, flatten


def policy_axes(functions: ActorCritic) -> dict[str, tuple[Axis, ...]]:
    """The axes of every weight, by path.

    Where a network says nothing of a weight they are ``opaque``.

    Raises:
        MismatchError: when a network says something that does not fit its weights.

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
        told = _Told(
            read=None if name == "trunk" else read,
            made=made.get(name),
            done=functions.family.feature_pieces(),
        )
        axes |= _network_axes(name, network, told, shapes)
    for name, pieces in functions.family.free_pieces().items():
        axes[f"actor/{name}"] = (Axis("action", pieces, "makes"),)
    axes |= _statistics_axes(functions, shapes)
    return {path: axes.get(path) or opaque(path, shape) for path, shape in shapes.items()}


class _Told(NamedTuple):
    """What a policy knows of one of its networks.

    Args:
        read: What it reads instead of an observation.
        made: What its outputs are; None for units that others read.
        done: What the actions are that it is told of.
    """

    read: tuple[Piece, ...] | None
    made: tuple[Piece, ...] | None
    done: tuple[Piece, ...]


def _network_axes(
    name: str, network: Network, told: _Told, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[Axis, ...]]:
    """The axes of one network under its name.

    Args:
        name: Of the network.
        network: It.
        told: What of it the policy knows.
        shapes: Of all weights.
    """
    given: Axes = network.axes()
    found: dict[str, tuple[Axis, ...]] = {}
    for path, axes in given.items():
        shape = shapes.get(f"{name}/{path}")
        if shape is None or not _are_axes(axes, shape):
            raise MismatchError(
                f"axes() of the network {name} gives {_in_words(axes)} for {path}, "
                + (f"whose shape is {list(shape)}" if shape is not None else "which it has not"),
                "Correct axes() of that network, or leave the weight out of it: nobody knows then "
                "what it is made of",
            )
        found[f"{name}/{path}"] = tuple(_placed(name, axis, told) for axis in axes)
    return found


def _are_axes(axes: Any, shape: tuple[int, ...]) -> bool:
    """Whether somebody's axes are those of a weight of a shape."""
    are = isinstance(axes, tuple | list) and all(isinstance(axis, Axis) for axis in axes)
    return are and tuple(axis.size for axis in axes) == shape


def _in_words(axes: Any) -> str:
    if not isinstance(axes, tuple | list) or not all(isinstance(axis, Axis) for axis in axes):
        return repr(axes)[:80]
    return f"axes of {[axis.size for axis in axes]} elements"


def _placed(name: str, axis: Axis, told: _Told) -> Axis:
    pieces: list[Piece] = []
    for piece in axis.pieces:
        is_read = piece.kind in ("columns", "channels") and not piece.predicted
        if piece.kind == "outputs" and told.made is not None:
            pieces += told.made
        elif piece.kind == "actions":
            pieces += told.done
        elif is_read and told.read is not None:
            pieces += told.read
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


def is_opaque(axes: tuple[Axis, ...]) -> bool:
    """Whether nobody knows what a weight is made of."""
    return any(piece.kind == "opaque" for axis in axes for piece in axis.pieces)


class UnreadColumns:
    """Which columns of the observation no weight reads: all that would multiply them are zero.

    A sensor that a policy was just given is one of them, until something is learnt of it.

    Args:
        functions: Of the policy.
    """

    def __init__(self, functions: ActorCritic) -> None:
        self._functions = functions

    @functools.cached_property
    def _readers(self) -> tuple[tuple[str, int, Axis], ...]:
        """What acting reads by: paths, and which of their axes; () where nobody knows."""
        acting = {
            path: axes
            for path, axes in policy_axes(self._functions).items()
            if path.partition("/")[0] in ("actor", "trunk")
        }
        if any(is_opaque(axes) for axes in acting.values()):
            return ()
        return tuple(
            (path, number, axis)
            for path, axes in acting.items()
            for number, axis in enumerate(axes)
            if axis.role == "reads"
        )

    def of(self, params: Params) -> dict[str, Any]:
        """The columns of each entry that weights do not read.

        Args:
            params: Weights, arrays of numpy or JAX.

        Returns:
            For float entries that the actor reads, by path: bool, of the shape of the entry. {}
            where nobody knows what a network reads.
        """
        leaves: dict[str, Any] = flatten(params)
        read: dict[str, Any] = {}
        for path, number, axis in self._readers:
            others = tuple(i for i in range(leaves[path].ndim) if i != number)
            used = (leaves[path] != 0).any(axis=others)
            for piece, place in axis.parts():
                if piece.kind == "columns":
                    before = read.get(piece.of)
                    read[piece.of] = used[place] if before is None else before | used[place]
        return {
            path: ~read[path].reshape(box.concrete_shape)
            for path, box in normalized_leaves(self._functions.spec.acting_space).items()
            if path in read
        }

    def without_gaps(self, params: Params, observation: Any) -> Any:
        """An observation in JAX whose columns that nothing reads are 0 where they are not finite.

        A sensor that was just added has weights that are zero, and zero times NaN is NaN. Finite
        numbers stay, so that the first gradient of the new weights is what it should be.

        Args:
            params: Weights.
            observation: What the actor reads, with batch axes ``(...,)``.
        """
        return self.filled(self.of(params), observation)

    def filled(self, unread: Mapping[str, Any], observation: Any) -> Any:
        """`without_gaps`, for many observations and the same weights.

        Args:
            unread: What `of` gives.
            observation: What the actor reads, with batch axes ``(...,)``.
        """

        def without(path: str, _: Space, value: Any) -> Any:
            if path not in unread:
                return value
            value = jnp.asarray(value)
            return jnp.where(unread[path] & ~jnp.isfinite(value), 0, value)

        return map_entries(self._functions.spec.acting_space, without, observation)

    def in_numpy(self, params: Params) -> Callable[[Any], Any]:
        """`without_gaps` in numpy, for the same weights; quick where everything is finite.

        Args:
            params: Weights.
        """
        space = self._functions.spec.acting_space
        unread = functools.cache(lambda: self.of(params))

        def without(path: str, _: Space, value: Any) -> Any:
            array = np.asarray(value)
            if is_finite(array) or (columns := unread().get(path)) is None:
                return array
            return gaps_filled(array, np.asarray(columns))

        return lambda observation: map_entries(space, without, observation)
