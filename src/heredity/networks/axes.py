"""What each axis of a weight is made of, so that weights can find their place in other shapes.

A network says it once, in `Network.axes`; whoever moves weights (to other sensors, wider layers,
another library's layout) reads it and needs to know no kind of network.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, TypeAlias

from heredity.common.errors import UsageError
from heredity.networks.observations import leaf_spaces
from heredity.spaces import Box, Discrete, MultiDiscrete, Space

Kind: TypeAlias = Literal[
    "columns",
    "channels",
    "units",
    "outputs",
    "actions",
    "logits",
    "means",
    "deviations",
    "fixed",
    "opaque",
]
Role: TypeAlias = Literal["reads", "makes", ""]


@dataclasses.dataclass(frozen=True)
class Piece:
    """Neighbouring elements of an axis that have one origin.

    Args:
        of: Whose elements they are: the path of an entry (``observation/camera``), the units of a
            layer (``hidden_0``), ``output``, ``action``. Elements of the same name and number are
            the same in all weights of a network.
        size: How many there are.
        kind: ``columns`` of an entry, flattened, as `features` gives them; ``channels``, the last
            axis of an entry; ``units`` of a layer; ``outputs`` of the network, and ``actions`` that
            it is told of, of which the policy knows what they are: ``logits`` by choice, ``means``
            and ``deviations`` by dimension of the action; ``fixed`` for what cannot be another
            number; ``opaque`` for what nobody knows.
        names: One for each element; () where nobody named them.
        repeats: How often all elements follow one after the other: once for every place of a
            picture, or for every gate of a memory.
        activation: Of units: what they went through last; empty for none. Of columns: ``symlog``
            where they are read on a logarithmic scale.
        grows: Of units: whether more of them leave the others as they are. Not behind a layer that
            looks at all of them at once, such as LayerNorm.
        predicted: Of columns and channels: whether the network says what they will be, in place
            of reading them.
    """

    of: str
    size: int
    kind: Kind = "units"
    names: tuple[str, ...] = ()
    repeats: int = 1
    activation: str = ""
    grows: bool = True
    predicted: bool = False

    @property
    def total(self) -> int:
        """How many elements of the axis it takes."""
        return self.size * self.repeats

    def inside(self, folder: str) -> Piece:
        """The same within a larger network; what is read from outside keeps its name."""
        outside = self.kind not in ("units", "outputs", "opaque")
        return self if outside else dataclasses.replace(self, of=f"{folder}/{self.of}")


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis of a weight.

    Args:
        name: For people: ``observation``, ``hidden_0``.
        pieces: What it is made of, in order.
        role: ``reads`` for what comes in, ``makes`` for what goes out; empty for neither, such as
            the sides of a convolution. A weight that reads belongs with the ``bias`` beside it,
            which makes the same.
    """

    name: str
    pieces: tuple[Piece, ...]
    role: Role = ""

    @property
    def size(self) -> int:
        """How many elements there are."""
        return sum(piece.total for piece in self.pieces)

    def parts(self) -> Iterator[tuple[Piece, slice]]:
        """Its pieces, each with the places that it takes."""
        return placed(self.pieces)

    def inside(self, folder: str) -> Axis:
        """The same within a larger network."""
        return dataclasses.replace(
            self, pieces=tuple(piece.inside(folder) for piece in self.pieces)
        )


def placed(pieces: Iterable[Piece]) -> Iterator[tuple[Piece, slice]]:
    """Pieces that follow one another, each with the places that it takes.

    Example:
        >>> pieces = Piece("body", 2), Piece("goal", 3)
        >>> [(piece.of, place.start, place.stop) for piece, place in placed(pieces)]
        [('body', 0, 2), ('goal', 2, 5)]
    """
    start = 0
    for piece in pieces:
        yield piece, slice(start, start + piece.total)
        start += piece.total


# A file may describe a space of any size: names are not spelled out for more columns than fit.
_MOST_NAMES = 1_000_000

Axes: TypeAlias = Mapping[str, tuple[Axis, ...]]
"""The axes of every weight, by path."""


def layer_axes(
    path: str, name: str, reads: tuple[Piece, ...], makes: tuple[Piece, ...], window: int = 0
) -> dict[str, tuple[Axis, ...]]:
    """Axes of a layer's kernel ``(…, in, out)`` and bias ``(out,)``.

    Args:
        path: Of the layer; empty for a network that is one.
        name: Of what it reads, for people.
        reads: What comes in.
        makes: What goes out.
        window: Of a convolution: the side of its kernel ``(side, side, in, out)``; 0 for none.
    """
    out = Axis(path or "output", makes, "makes")
    sides = tuple(fixed(side, window) for side in ("height", "width")) if window else ()
    folder = f"{path}/" if path else ""
    return {
        f"{folder}kernel": (*sides, Axis(name, reads, "reads"), out),
        f"{folder}bias": (out,),
    }


def fixed(name: str, size: int) -> Axis:
    """An axis that has to stay as it is."""
    return Axis(name, (Piece(name, size, "fixed"),))


def opaque(path: str, shape: tuple[int, ...]) -> tuple[Axis, ...]:
    """Axes of a weight of which nothing is known but its shape."""
    return tuple(
        Axis(f"{path}/{index}", (Piece(f"{path}/{index}", size, "opaque"),))
        for index, size in enumerate(shape)
    )


def output_pieces(size: int) -> tuple[Piece, ...]:
    """The outputs of a network, which does not know what they are."""
    return (Piece("output", size, "outputs"),)


def column_pieces(space: Space) -> tuple[Piece, ...]:
    """What `features` is made of: one piece for each entry, in their order.

    Example:
        >>> from heredity.spaces import Dict
        >>> space = Dict({"body": Box((2,), names=("x", "v")), "goal": Discrete(3)})
        >>> [(piece.of, piece.size, piece.names) for piece in column_pieces(space)]
        [('observation/body', 2, ('x', 'v')), ('observation/goal', 3, ())]
    """
    return tuple(
        Piece(path, column_count(leaf), "columns", column_names(leaf))
        for path, leaf in leaf_spaces(space).items()
    )


def column_count(leaf: Space) -> int:
    """How many columns of `features` an entry gives.

    Raises:
        UsageError: for a space whose size is not fixed.
    """
    match leaf:
        case Box():
            return math.prod(leaf.concrete_shape)
        case Discrete():
            return leaf.size
        case MultiDiscrete():
            return sum(leaf.nvec)
    raise UsageError(f"a {type(leaf).__name__} has no fixed number of columns")


def column_names(leaf: Space) -> tuple[str, ...]:
    """The names of the columns that an entry gives; () where nobody named them, or of too many.

    Of more than one axis, and of several choices, the place in front tells columns apart.

    Example:
        >>> column_names(Box((2, 2), names=("x", "v")))
        ('0/x', '0/v', '1/x', '1/v')
        >>> column_names(Discrete(2, names=("left", "right")))
        ('left', 'right')
    """
    if column_count(leaf) > _MOST_NAMES:
        return ()
    match leaf:
        case Box() if leaf.names:
            places = [""]
            for size in leaf.concrete_shape[:-1]:
                places = [f"{place}{index}/" for place in places for index in range(size)]
            return tuple(place + name for place in places for name in leaf.names)
        case Discrete():
            return leaf.names
        case MultiDiscrete() if leaf.names:
            pairs = zip(leaf.names, leaf.nvec, strict=True)
            return tuple(f"{name}/{option}" for name, count in pairs for option in range(count))
    return ()
